"""The slope of a metric in a terminal phase, with a confidence interval that knows neighbours are not independent."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float
from scipy import special

__all__ = ["CONFIDENCE", "FEWEST", "INTERVALS", "Slope", "SlopeError", "fitted_slope"]

INTERVALS = (
    "Intervals are meant to hold the slope 95% of the time. They take what a cubic in log epoch leaves for noise that "
    "each measurement passes on to the next with a share φ, and φ is not known. In simulations with φ from 0 to 0.95 "
    "they hold it 94% to 100% of the time, most often where φ is small: with so few epochs, they are then wider than "
    "they would have to be (`python -m real_experiments coverage`)."
)

CONFIDENCE = 0.95
FEWEST = 12  # points: the curve takes four numbers, and what is left must tell its noise
_DEGREE = 3
# Few residuals tell little of φ, so an interval that trusts an estimate of it is too narrow when φ is large. These
# weights were chosen by simulation: at φ = 0.95 and few points the coverage is close to 95% (``coverage``).
_MEMORIES = np.linspace(0.0, 0.98, 25)
_WEIGHTS = np.full(25, 0.3 / 25) + np.eye(25)[-1] * 0.7
_HALVINGS = 40


@dataclasses.dataclass(frozen=True)
class Slope:
    """The slope of log y against log x and the ends of its confidence interval, from ``points`` points."""

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


class SlopeError:
    """What the residuals of a curve say of the error of its least-squares slope, at fixed abscissae.

    y = f + u, where f is a cubic in the abscissa and u_i = φ u_{i−1} + ε_i is stationary Gaussian noise of covariance
    σ² Φ, Φ_{ij} = φ^{|i−j|}. The slope is wᵀy, so that its error is wᵀu. Let the columns of N be an orthonormal basis
    of what a cubic leaves, z = Nᵀy = Nᵀu the ν = n − 4 residuals, and C = NᵀΦN. Given z and φ, with the prior 1/σ,

        wᵀu ~ m + s t_ν,   m = bᵀz,   s² = (zᵀC⁻¹z/ν) (wᵀΦw − bᵀCb),   b = C⁻¹NᵀΦw,

    and φ has the likelihood |C|^{−1/2} (zᵀC⁻¹z)^{−ν/2}. It is not estimated but summed over, with the weight 0.3 spread
    evenly over 0 … 0.98 and 0.7 at 0.98: where the residuals cannot tell φ, the interval is that of a large φ.
    """

    def __init__(self, abscissa: Float[np.ndarray, " n"]) -> None:
        n = len(abscissa)
        centred = abscissa - abscissa.mean()
        self.weights = centred / (centred @ centred)
        scaled = 2 * (abscissa - abscissa.min()) / np.ptp(abscissa) - 1
        rotation = np.linalg.qr(np.polynomial.legendre.legvander(scaled, _DEGREE), mode="complete")[0]
        self.rest = rotation[:, _DEGREE + 1 :]
        self.freedom = n - _DEGREE - 1
        self._whiteners, self._means, self._variances, self._log_norms = [], [], [], []
        for memory in _MEMORIES:
            correlations = memory ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
            root = np.linalg.cholesky(self.rest.T @ correlations @ self.rest)
            whitener = np.linalg.solve(root, self.rest.T)  # |whitener y|² = zᵀC⁻¹z
            shared = whitener @ correlations @ self.weights
            self._whiteners.append(whitener)
            self._means.append(shared)
            self._variances.append(self.weights @ correlations @ self.weights - shared @ shared)
            self._log_norms.append(-np.log(np.diag(root)).sum())

    def slope(self, y: Float[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch"]:
        """The least-squares slope wᵀy."""
        return np.asarray(y @ self.weights)

    def given_memory(
        self, y: Float[np.ndarray, "*batch n"]
    ) -> tuple[Float[np.ndarray, "*batch F"], Float[np.ndarray, "*batch F"], Float[np.ndarray, "*batch F"]]:
        """m, s and the logarithm of the likelihood for each φ of the grid. z must not vanish."""
        white = np.einsum("fvn,...n->...fv", np.array(self._whiteners), y)
        powers = np.square(white).sum(-1)
        means = np.einsum("fv,...fv->...f", np.array(self._means), white)
        scales = np.sqrt(powers / self.freedom * np.array(self._variances))
        return means, scales, np.array(self._log_norms) - self.freedom / 2 * np.log(powers)

    def reach(self, y: Float[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch"]:
        """h with P(|wᵀu| ≤ h | z) = 95%, half the width of the interval; 0 where z vanishes."""
        exact = np.square(y @ self.rest).sum(-1) == 0
        noisy = np.where(exact[..., None], self.rest[:, 0], y)
        means, scales, likelihoods = self.given_memory(noisy)
        weights = np.log(_WEIGHTS) + likelihoods
        weights = np.exp(weights - weights.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        # The reach of the sum over φ is not above the largest of a single φ.
        quantile = float(special.stdtrit(self.freedom, (1 + CONFIDENCE) / 2))
        low, high = np.zeros(means.shape[:-1]), (np.abs(means) + quantile * scales).max(-1)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            ends = middle[..., None]
            inside = special.stdtr(self.freedom, (ends - means) / scales)
            inside -= special.stdtr(self.freedom, (-ends - means) / scales)
            enough = (weights * inside).sum(-1) >= CONFIDENCE
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return np.where(exact, 0.0, high)


def fitted_slope(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> Slope | None:
    """The least-squares slope of log y against log x, which is one of a curve: its mean slope over the phase.

    None for fewer than 12 points, a value that is not positive and finite, or one x only.

    Successive measurements err alike, so that the usual interval would be far too narrow; and a slope that changes on
    the way is no noise. So the interval is that of ``SlopeError``: noise is what a cubic in log x leaves, taken for an
    autoregression of unknown φ. In simulations it covers the slope 94% of the time or more for φ from 0 to 0.95: about
    95% where the noise remembers much, and more where it does not but few points cannot show that (``coverage``).
    """
    n = len(x)
    if n < FEWEST or not (np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)).all() or np.ptp(x) == 0:
        return None
    error, ordinate = _at(tuple(float(each) for each in x)), np.log(y)
    slope, reach = float(error.slope(ordinate)), float(error.reach(ordinate))
    return Slope(slope, slope - reach, slope + reach, n)


@functools.lru_cache(maxsize=64)
def _at(x: tuple[float, ...]) -> SlopeError:
    """All metrics of a network are measured at the same epochs."""
    return SlopeError(np.log(np.array(x)))
