"""Other intervals of a slope, which cover too rarely or are too wide. ``coverage`` compares ``SlopeError`` with them.

Each takes abscissae [n] and series [R, n], and returns the ends of the interval for the least-squares slope, [R] each.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from real_experiments.comparison.slopes import CONFIDENCE, SlopeError

__all__ = ["OTHERS", "Ends"]

Ends = tuple[np.ndarray, np.ndarray]
_TAIL = (1 + CONFIDENCE) / 2
_BLOCK, _DRAWS = 4, 199


def independent(abscissa: Float[np.ndarray, " n"], series: Float[np.ndarray, "R n"]) -> Ends:
    """The textbook interval: residuals of a cubic fit, modelled as independent noise."""
    error = SlopeError(abscissa)
    spread = np.sqrt(np.square(series @ error.rest).sum(-1) / error.freedom * (error.weights @ error.weights))
    return _around(error.slope(series), spread * float(stdtrit(error.freedom, _TAIL)))


def plugged_in(abscissa: Float[np.ndarray, " n"], series: Float[np.ndarray, "R n"]) -> Ends:
    """Generalised least squares with the φ of largest restricted likelihood, and Student's t with ν − 1."""
    error = SlopeError(abscissa)
    means, scales, likelihoods = error.given_memory(series)
    rows, best = np.arange(len(series)), likelihoods.argmax(-1)
    reach = scales[rows, best] * float(stdtrit(error.freedom - 1, _TAIL))
    return _around(error.slope(series) - means[rows, best], reach)


def robust(abscissa: Float[np.ndarray, " n"], series: Float[np.ndarray, "R n"]) -> Ends:
    """The Bartlett kernel over all lags (Kiefer and Vogelsang 2005), with the critical value of independent noise."""
    error = SlopeError(abscissa)

    def spread(values: np.ndarray) -> np.ndarray:
        scores = (values @ error.rest) @ error.rest.T * error.weights
        lags = np.abs(np.subtract.outer(np.arange(len(abscissa)), np.arange(len(abscissa))))
        return np.asarray(np.sqrt(np.einsum("ri,ij,rj->r", scores, 1 - lags / len(abscissa), scores)))

    noise = np.random.default_rng(0).standard_normal((4000, len(abscissa)))
    critical = np.quantile(np.abs(error.slope(noise)) / spread(noise), CONFIDENCE)
    return _around(error.slope(series), critical * spread(series))


def blocks(abscissa: Float[np.ndarray, " n"], series: Float[np.ndarray, "R n"]) -> Ends:
    """The moving-block bootstrap: residuals drawn again in blocks of 4, scaled for the numbers that a cubic takes."""
    error, n = SlopeError(abscissa), len(abscissa)
    residuals = (series @ error.rest) @ error.rest.T * np.sqrt(n / error.freedom)
    generator = np.random.default_rng(0)
    starts = generator.integers(0, n - _BLOCK + 1, (_DRAWS, -(-n // _BLOCK)))
    places = (starts[:, :, None] + np.arange(_BLOCK)).reshape(_DRAWS, -1)[:, :n]
    drawn = np.stack([residuals[:, each] @ error.weights for each in places], -1)
    low, high = np.quantile(drawn, [1 - _TAIL, _TAIL], axis=-1)
    return error.slope(series) - high, error.slope(series) - low


def _around(middle: np.ndarray, reach: np.ndarray) -> Ends:
    return middle - reach, middle + reach


OTHERS: dict[str, Callable[[np.ndarray, np.ndarray], Ends]] = {
    "independent noise": independent,
    "φ of largest likelihood": plugged_in,
    "kernel of all lags": robust,
    "blocks of 4 drawn again": blocks,
}
