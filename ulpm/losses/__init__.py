"""Losses of logits Z and labels y, one a file: a new one is its file and a line in ``LOSSES``."""

from collections.abc import Mapping
from typing import Any

from ulpm.losses.base import LogitLoss, LogOddsLoss, LossAt
from ulpm.losses.cross_entropy import CrossEntropy
from ulpm.losses.focal import Focal
from ulpm.losses.squared_error import SquaredError

__all__ = ["LOSSES", "CrossEntropy", "Focal", "LogOddsLoss", "LogitLoss", "LossAt", "SquaredError", "loss_from_record"]

LOSSES: dict[str, type[LogitLoss]] = {
    "cross-entropy": CrossEntropy,
    "focal": Focal,
    "squared-error": SquaredError,
}


def loss_from_record(record: Mapping[str, Any]) -> LogitLoss:
    """The loss that ``record()`` described. Raises: ValueError, TypeError or KeyError for what describes none."""
    numbers = dict(record)
    return LOSSES[numbers.pop("name")](**numbers)
