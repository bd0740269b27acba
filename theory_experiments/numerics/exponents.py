"""Exponents of power laws in log t, fitted to each start, with confidence intervals of their mean."""

import dataclasses
import math

from jaxtyping import Float
from scipy.special import stdtrit
from torch import Tensor

__all__ = ["Interval", "confidence", "fitted_exponents"]


@dataclasses.dataclass(frozen=True)
class Interval:
    """mean ± half_width."""

    mean: float
    half_width: float

    def distance(self, value: float) -> float:
        """The distance of ``value`` from the far end of the interval."""
        return abs(self.mean - value) + self.half_width

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.half_width:.1g}".replace("-", "−")


def fitted_exponents(
    log_time: Float[Tensor, "R B"], values: Float[Tensor, "R B"], since: float, until: float = math.inf
) -> Float[Tensor, " B"]:
    """d log value / d log log t of each start, by least squares over records with ``since`` ≤ log t ≤ ``until``.

    nan where a value in that range is not positive. Raises: ValueError if it has fewer than five records.
    """
    late = (log_time.amin(1) >= since) & (log_time.amax(1) <= until)
    if int(late.sum()) < 5:
        raise ValueError(f"an exponent needs at least 5 records from log t = {since:g} on: ask for more or run longer.")
    x, y = log_time[late].log(), values[late].log()
    x = x - x.mean(0)
    return (x * y).sum(0) / x.square().sum(0)


def confidence(samples: Float[Tensor, " B"], level: float = 0.95) -> Interval:
    """The interval that contains the mean of independent normal samples with the given probability (Student, 1908).

    Raises: ValueError for fewer than four samples.
    """
    count = len(samples)
    if count < 4:
        raise ValueError(f"a confidence interval needs at least 4 starts, but {count} were given.")
    quantile = float(stdtrit(count - 1, 0.5 + level / 2))
    return Interval(float(samples.mean()), quantile * float(samples.std()) / math.sqrt(count))
