"""What a flow conserves exactly, or what decays in it at a known rate whatever else happens.

With Φ = L(WH + b1ᵀ) + ½λ_W‖W‖² + ½λ_H‖H‖² and the residual R = −∂L/∂Z, dW/dt = RHᵀ − λ_W W and dH/dt = WᵀR − λ_H H:

    balancedness     B = WᵀW − HHᵀ:      dB/dt = −2λ B   if λ_W = λ_H = λ, whatever the loss
    classifier_sum   s = Σ_k w_k:        ds/dt = −λ_W s  if the columns of R sum to 0, as those of a softmax do
    bias_sum         Σ_k b_k:            constant        under the same condition

B takes d²N multiplications, and all else of a record a few times KdN. Where that is much, the drift of B is estimated
from its images of 16 vectors s of random signs, the same in every record and run: the mean of ‖Δs‖² is ‖Δ‖² in
expectation, with a relative standard deviation of at most √(2/16), so that ‖Δ‖ is off by 18% at most in that sense,
and by far less if Δ has many directions. Each image has all digits.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vector_norm

from ulpm.distributed import ALONE, Shard
from ulpm.problem import Problem
from ulpm.state import Factors

__all__ = ["Invariant", "invariants_of"]


# Above so many multiplications B takes longer than all else of a record.
_MOST = 2**26
_DIRECTIONS = 16


@dataclasses.dataclass(frozen=True)
class Invariant:
    """A quantity ``of`` a point that is its start times e^{−``rate``·t}; it scales like ρ to the ``degree``.

    A symmetric matrix may have its product with vectors, the rows of a matrix, ``along`` which alone it is followed.
    """

    key: str
    of: Callable[[Factors, Shard], Tensor]
    rate: float
    degree: int
    along: Callable[[Factors, Shard, Tensor], Tensor] | None = None

    def drift(
        self,
        at: Factors,
        start: Tensor,
        log_time: Float[Tensor, " S"],
        rho: Float[Tensor, " S"],
        shard: Shard = ALONE,
    ) -> Float[Tensor, " S"]:
        """How far it is from where it should be, relative to ρ^degree, or an estimate of that."""
        if self.rate:
            decay = torch.exp(-self.rate * torch.exp(log_time.to(start)))
            start = start * decay.view(-1, *[1] * (start.ndim - 1))
        if self.along is None:
            change = self.of(at, shard) - start
        else:
            signs = _signs(start.shape[-1], start.device)
            change = (self.along(at, shard, signs) - signs @ start) / float(_DIRECTIONS**0.5)
        moved: Tensor = vector_norm(change.flatten(1), dim=1)
        return moved / (rho.square() if self.degree == 2 else rho)


def invariants_of(problem: Problem) -> list[Invariant]:
    """Those of a problem's flow."""
    λ_W, λ_H = problem.weight_decay
    found = []
    if λ_W == λ_H:
        large = problem.feature_dim**2 * problem.num_samples > _MOST
        along = _balancedness_along if large else None
        found.append(Invariant("balancedness", _balancedness, 2 * λ_W, 2, along))
    if problem.loss.conserves_sums:
        found.append(Invariant("classifier_sum", _classifier_sum, λ_W, 1))
        found += [Invariant("bias_sum", _bias_sum, 0.0, 1)] if problem.bias else []
    return found


def _balancedness(at: Factors, shard: Shard = ALONE) -> Float[Tensor, "*batch d d"]:
    W, H = at.W.double(), at.H.double()
    return W.mT @ W - shard.all_reduce(H @ H.mT)


def _balancedness_along(at: Factors, shard: Shard, vectors: Float[Tensor, "m d"]) -> Float[Tensor, "*batch m d"]:
    W, H = at.W.double(), at.H.double()
    return vectors @ W.mT @ W - shard.all_reduce(vectors @ H @ H.mT)


@functools.lru_cache(maxsize=1)
def _signs(dim: int, device: torch.device) -> Float[Tensor, "m d"]:
    """±1, in float64."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_DIRECTIONS, dim))
    return torch.from_numpy(signs).to(device)


def _classifier_sum(at: Factors, shard: Shard = ALONE) -> Float[Tensor, "*batch d"]:
    return at.W.double().sum(-2)


def _bias_sum(at: Factors, shard: Shard = ALONE) -> Float[Tensor, "*batch 1"]:
    assert at.b is not None
    return at.b.double().sum(-1, keepdim=True)
