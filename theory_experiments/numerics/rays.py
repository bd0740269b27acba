"""The collapsed ray: from a balanced simplex all margins stay equal, q, and the flow is an integral.

    dq/dt = −2q·nK φ′(q)/((K − 1)√n),    L = nK φ(q),    ρ² = 2(K − 1)√n q

φ(q) is the loss of a sample whose K − 1 margins all equal q. For cross-entropy the integral is known:

    t = [Ei(q) − Ei(q₀) + (K − 1) ln(q/q₀)]/(2K√n).

All functions use log t and log φ, which do not overflow. Arrays are numpy, float64.
"""

import dataclasses
import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.special import expi

__all__ = ["CROSS_ENTROPY", "Tail", "cross_entropy_log_time", "cross_entropy_margin", "log_time", "tail"]

_Numbers: TypeAlias = Float[np.ndarray, "..."]
_EXPLICIT = 50.0  # Ei(q) is below 1e21 here, and from here on its asymptotic series is right to rounding
_TERMS = 40
_NODES, _WEIGHTS = np.polynomial.laguerre.laggauss(60)


@dataclasses.dataclass(frozen=True)
class Tail:
    """φ = (1 − p)^γ log(1/p), p = 1/(1 + (K − 1)e^(−q)): cross-entropy for γ = 0, else focal loss. φ ~ e^(−κq)."""

    name: str
    gamma: float

    @property
    def kappa(self) -> float:
        """κ = 1 + γ."""
        return 1 + self.gamma

    def log_loss(self, q: _Numbers, K: int) -> _Numbers:
        """log φ(q)."""
        x = math.log(K - 1) - q
        log_phi: _Numbers = self.gamma * (x - np.logaddexp(0, x)) + _log_softplus(x)
        return log_phi

    def log_minus_slope(self, q: _Numbers, K: int) -> _Numbers:
        """log(−φ′(q)): −φ′ = φ·(γ p + (1 − p)/log(1/p))."""
        x = math.log(K - 1) - q
        p = 1 / (1 + np.exp(x))
        ratio: _Numbers = self.gamma * p + np.exp(x - np.logaddexp(0, x) - _log_softplus(x))
        slope: _Numbers = self.log_loss(q, K) + np.log(ratio)
        return slope

    def shift(self, q: _Numbers, K: int, n: int) -> _Numbers:
        """log q + log(2√n K(K − 1)^γ κ²): the limit of κq − log t."""
        constant = math.log(2 * math.sqrt(n) * K * self.kappa**2) + self.gamma * math.log(K - 1)
        shift: _Numbers = np.log(q) + constant
        return shift


def tail(gamma: float) -> Tail:
    """Focal loss of exponent γ; cross-entropy for γ = 0.

    Source: Lin, Goyal, Girshick, He, Dollár, "Focal Loss for Dense Object Detection", 2017.
    """
    return Tail("cross-entropy" if gamma == 0 else f"focal loss of γ = {gamma:g}", gamma)


CROSS_ENTROPY = tail(0.0)


def cross_entropy_log_time(q: _Numbers, q0: _Numbers | float, K: int, n: int) -> _Numbers:
    """log t at the margin q > q₀ of the ray of cross-entropy, from the closed form."""
    early = np.minimum(q, _EXPLICIT)
    small = np.log(expi(early) - expi(q0) + (K - 1) * np.log(q / q0))
    # q e^(−q) Ei(q) = Σ k!/q^k; the terms subtracted from Ei(q) are below e^(−q) of it.
    late = np.maximum(q, _EXPLICIT)
    terms = np.cumprod(np.arange(1, _TERMS + 1) / late[..., None], -1)
    large = late - np.log(late) + np.log1p(terms.sum(-1))
    rest = (K - 1) * np.log(late / q0) - expi(np.minimum(q0, _EXPLICIT))
    large = large + np.log1p(rest * np.exp(-large))
    log_t: _Numbers = np.where(q < _EXPLICIT, small, large) - math.log(2 * K * math.sqrt(n))
    return log_t


def cross_entropy_margin(log_t: _Numbers, q0: _Numbers | float, K: int, n: int) -> _Numbers:
    """The margin q at ``log_t`` by Newton's method on log t.

    Raises: ArithmeticError if it does not converge.
    """
    constant = math.log(2 * K * math.sqrt(n))
    q = np.maximum(2 * q0, log_t + np.log(np.maximum(log_t, 1)) + constant)
    for _ in range(100):
        found = cross_entropy_log_time(q, q0, K, n)
        slope = (np.exp(q - found - constant) + (K - 1) * np.exp(-found - constant)) / q
        newton: _Numbers = np.maximum(q - (found - log_t) / slope, (q + q0) / 2)
        # q keeps the rounding error of the terms of log t, which the slope divides.
        rounding = np.finfo(float).eps * (q + (np.abs(found) + constant) / slope)
        if bool(np.all(np.abs(newton - q) <= 8 * rounding)):
            return newton
        q = newton
    raise ArithmeticError("the margin of the collapsed ray was not found in 100 steps of Newton's method.")


def log_time(loss: Tail, q: _Numbers, K: int, n: int) -> _Numbers:
    """log t at a margin q ≥ 100 of the ray of any loss, for a start at q₀ ≤ q/2.

    t = (K − 1)/(2√n K) ∫ dq/(−qφ′) by Gauss–Laguerre quadrature. The integrand grows like e^(κq). So the part below
    q/2 is at most e^(−50) of the integral, and the start does not matter.
    """
    below = q[..., None] - _NODES / loss.kappa
    kept = below > q[..., None] / 2
    below = np.where(kept, below, q[..., None])
    top = loss.log_minus_slope(q, K)
    log_ratio = top[..., None] - loss.log_minus_slope(below, K) + _NODES + np.log(q[..., None] / below)
    integral = (np.where(kept, _WEIGHTS * np.exp(log_ratio), 0.0)).sum(-1) / loss.kappa
    log_t: _Numbers = np.log(integral) - top - np.log(q) + math.log((K - 1) / (2 * math.sqrt(n) * K))
    return log_t


def _log_softplus(x: _Numbers) -> _Numbers:
    """log log(1 + e^x) to rounding."""
    return np.where(x < -36, x, np.log(np.log1p(np.exp(np.maximum(x, -36)))))
