"""The slope of a metric in a terminal phase, with a confidence interval that knows neighbours are not independent."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from scipy import stats

__all__ = ["FEWEST", "Slope", "fitted_slope"]

CONFIDENCE = 0.95
BLOCKS = 4
FEWEST = 3 * BLOCKS


@dataclasses.dataclass(frozen=True)
class Slope:
    """The slope of log y against log x and the ends of its 95% confidence interval, from ``points`` points."""

    value: float
    low: float
    high: float
    points: int

    @property
    def verdict(self) -> str:
        """In words, what the interval says of the sign."""
        if self.high < 0:
            return "falls"
        return "rises" if self.low > 0 else "not falling"


def fitted_slope(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> Slope | None:
    """The mean of the least-squares slopes of log y against log x in four blocks of successive points.

    None for fewer than 12 points, a value that is not positive and finite, or a block with one x only.

    Successive measurements err alike, so that the usual interval of a line through all points would be far too narrow;
    and a slope may change on the way. The slopes of separate blocks are nearly independent, whatever the dependence
    within them, and their spread shows both. The interval is theirs: Student's t with 3 degrees of freedom, which is
    valid, if wide, also where the blocks' variances differ.

    Source: Ibragimov, Müller, "t-Statistic Based Correlation and Heterogeneity Robust Inference", 2010.
    """
    if len(x) < FEWEST or not (np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)).all():
        return None
    blocks = zip(np.array_split(np.log(x), BLOCKS), np.array_split(np.log(y), BLOCKS), strict=True)
    slopes = np.array([_least_squares(abscissa, ordinate) for abscissa, ordinate in blocks])
    if not np.isfinite(slopes).all():
        return None
    error = slopes.std(ddof=1) / math.sqrt(BLOCKS)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, BLOCKS - 1)) * error
    mean = float(slopes.mean())
    return Slope(mean, mean - reach, mean + reach, len(x))


def _least_squares(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    x = x - x.mean()
    return float(x @ y / (x @ x)) if np.ptp(x) > 0 else math.nan
