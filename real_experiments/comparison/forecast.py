"""How well a flow from a snapshot forecasts the network, compared with the constant baseline."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from real_experiments.comparison.curves import Clock, Curve, available
from real_experiments.training_directory import Row
from ulpm.forecasting import off_by, typical_factor

__all__ = ["PARTED", "Forecast", "forecast", "last_agreement", "typical_factor"]

PARTED = 1.1
"""Two curves have diverged where a metric differs by more than this factor from then on."""


@dataclasses.dataclass(frozen=True)
class Forecast:
    """A forecast of every metric at ``multiple`` times the snapshot's epoch, and the network's measurements there.

    The clock is what the flow is given of the network's future: the loss at that epoch, or only the flow time.
    """

    multiple: int
    epoch: int
    clock: Clock
    measured: dict[str, float]
    forecast: dict[str, float]
    unchanged: dict[str, float]

    def factor(self, name: str) -> float:
        """The error factor ≥ 1 of the forecast of a metric; nan if the flow makes no forecast there."""
        return off_by(self.forecast[name], self.measured[name])

    def unchanged_factor(self, name: str) -> float:
        """The error factor ≥ 1 of the constant baseline."""
        return off_by(self.unchanged[name], self.measured[name])

    @property
    def better(self) -> list[str]:
        """The metrics that the flow forecasts better than the constant baseline."""
        return [name for name in self.measured if self.factor(name) < self.unchanged_factor(name)]


def forecast(rows: Sequence[Row], snapshot: int, flow: Curve, clock: Clock, multiple: int) -> Forecast | None:
    """The forecast of ``flow`` for ``multiple`` times the epoch ``snapshot``; None if the training ended before.

    The network's metrics there lie between two measured epochs and are interpolated in logarithms.
    """
    epoch = multiple * snapshot
    if epoch > rows[-1]["epoch"]:
        return None
    epochs = np.log([row["epoch"] for row in rows])

    def network(name: str) -> float:
        values = np.array([row[name] for row in rows])
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.exp(np.interp(math.log(epoch), epochs, np.log(values))))

    names = available(rows)
    start = next(row for row in rows if row["epoch"] == snapshot)
    return Forecast(
        multiple,
        epoch,
        clock,
        {name: network(name) for name in names},
        flow.at(clock, network(clock)),
        {name: start[name] for name in names},
    )


def last_agreement(rows: Sequence[Row], snapshot: int, flow: Curve, clock: Clock, name: str) -> int:
    """The last measured epoch at which network and flow agree on a metric within the factor ``PARTED``."""
    later = [row for row in rows if row["epoch"] >= snapshot]
    agreeing = [int(row["epoch"]) for row in later if off_by(flow.at(clock, row[clock])[name], row[name]) <= PARTED]
    return max(agreeing, default=snapshot)
