"""The slope of a metric in a terminal phase, with a confidence interval that knows neighbours are not independent."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float
from scipy import stats

__all__ = ["FEWEST", "Slope", "fitted_slope"]

CONFIDENCE = 0.95
FEWEST = 12  # points: the curve takes four numbers, and what is left must tell its noise
_DEGREE = 3
_LARGEST_MEMORY = 0.95


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
    """The least-squares slope of log y against log x, which is one of a curve: its mean slope over the phase.

    None for fewer than 12 points, a value that is not positive and finite, or one x only.

    Successive measurements err alike, so that the usual interval would be far too narrow; and a slope that changes on
    the way is no noise. So the noise is what is left of log y beside a cubic in log x, taken for an autoregression
    u_i = φ u_{i−1} + ε_i. Its φ comes from the residuals, corrected for the four numbers of the cubic and raised by one
    standard error 1/√n; its variance from uᵀu/tr(M Φ), where M makes the residuals and Φ_{ij} = φ^{|i−j|}. With the
    weights w of the slope its error is √(wᵀ Φ w) times that; the interval is Student's t with n − 5 degrees of freedom.
    """
    n = len(x)
    if n < FEWEST or not (np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)).all() or np.ptp(x) == 0:
        return None
    abscissa, ordinate = np.log(x), np.log(y)
    centred = abscissa - abscissa.mean()
    weights = centred / (centred @ centred)
    slope = float(weights @ ordinate)
    scaled = 2 * (abscissa - abscissa.min()) / np.ptp(abscissa) - 1
    basis = np.linalg.qr(np.polynomial.legendre.legvander(scaled, _DEGREE))[0]
    residual_maker = np.eye(n) - basis @ basis.T
    noise = residual_maker @ ordinate
    power, numbers = float(noise @ noise), _DEGREE + 1
    memory = float(noise[1:] @ noise[:-1]) / power if power > 0 else 0.0
    memory = (n * memory + numbers) / (n - numbers) + 1 / math.sqrt(n)
    correlations = min(max(memory, 0.0), _LARGEST_MEMORY) ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    variance = power / np.trace(residual_maker @ correlations)
    error = math.sqrt(variance * float(weights @ correlations @ weights))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - numbers - 1)) * error
    return Slope(slope, slope - reach, slope + reach, n)
