"""A network's training as a curve that can be compared with a flow of the model."""

from collections.abc import Sequence

import numpy as np

from real_experiments.training_directory import Row
from ulpm.forecasting import CLOCKS, COMPARED, PAPER, Clock, Curve

__all__ = ["CLOCKS", "COMPARED", "PAPER", "Clock", "Curve", "available", "network_curve"]

_ROUNDING = 1e-12


def available(rows: Sequence[Row]) -> tuple[str, ...]:
    """The metrics of COMPARED that a run has measured at each epoch, and that are not zero up to rounding.

    Runs of earlier versions lack some. Of two classes the centred means and rows are a simplex from the start.
    """
    found = {name: [row.get(name, np.nan) for row in rows] for name in COMPARED}
    return tuple(name for name, values in found.items() if np.isfinite(values).all() and max(values) > _ROUNDING)


def network_curve(rows: Sequence[Row]) -> Curve:
    """The measured epochs of a training run, from its metrics.csv."""
    names = available(rows)
    columns = {name: np.array([row[name] for row in rows]) for name in ("train_loss", "flow_time", *names)}
    return Curve(columns["train_loss"], columns["flow_time"], {name: columns[name] for name in names})
