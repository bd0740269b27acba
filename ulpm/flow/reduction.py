"""The Jacobian of the flow on the subspace that it acts on, whose vectors are far shorter where d is large.

Let R be the scaled residual, W = L Q and R = M P, where Q [K, d] and P [r, N] have orthonormal rows; r is K, or K − 1
where columns of R sum to 0. The H-part of J v is Vᵀ R + Wᵀ dR = Qᵀ(Lᵀ dR) + (MᵀV)ᵀP. Of an H-part u of v only W u =
L (Q u) and R uᵀ = M (P uᵀ) enter J v. So J maps vectors whose H-part is

    u = QᵀA + BᵀP,    A [K, N],  B [r, d] with B Qᵀ = 0,    ‖u‖² = ‖A‖² + ‖B‖²,

to such vectors, and all that is orthogonal to them to zero. On them, in the coordinates (V, A, B) of length
Kd + rd + KN in place of Kd + dN, inner products stay what they are, and with C = MᵀV Qᵀ:

    dZ = V H + L A,    J (V, A, B) = (dR Hᵀ + M((P Aᵀ) Q + B), Lᵀ dR + CᵀP, MᵀV − C Q)

Two products of the size K·d·N are left of six. A system with σI − J is solved outside of the subspace by 1/σ.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.flow.vectors import single
from ulpm.losses import LossAt
from ulpm.objective import Objective, add_matmul, matmul
from ulpm.state import Factors

__all__ = ["Reduction", "worthwhile"]

# Whole vectors at least so many times longer, and so long. An iteration in coordinates launches some ten kernels more,
# which on an accelerator take as long as ten passes over vectors of some 2²¹ numbers (a reckoning, not a measurement).
_SHORTER = 2.5
_LONG = {"cpu": 2**14}


def worthwhile(objective: Objective) -> bool:
    """Whether coordinates are so much fewer, and vectors so long, that solves with J take less time by them."""
    problem = objective.problem
    K, d, N = problem.num_classes, problem.feature_dim, problem.num_samples
    whole, few = K * d + d * N, 2 * K * d + K * N
    long = _LONG.get(objective.labels.device.type, 2**21)
    return objective.shard.count == 1 and not problem.decayed and whole >= max(long, _SHORTER * few)


class Reduction:
    """J at one point, without weight decay, of one process that holds all samples. Vectors are y = (W, b, H)."""

    def __init__(self, objective: Objective, at: Factors, loss: LossAt) -> None:
        self._objective, self._at, self._loss = objective, at, loss
        Q, T = torch.linalg.qr(at.W.mT)
        self._Q, self._L = Q.mT.contiguous(), T.mT
        R, zero_sums = loss.residual, objective.problem.loss.conserves_sums
        # Where columns of R sum to 0, the last row follows from the others, and a direction of rounding from all.
        P, S = torch.linalg.qr((R[..., :-1, :] if zero_sums else R).mT)
        self._P, M = P.mT.contiguous(), S.mT
        # So that columns of M sum to 0 as well: Σ_k w_k is conserved to rounding by that.
        self._M = torch.cat([M, -M.sum(-2, keepdim=True)], -2) if zero_sums else M
        K, d, N = at.W.shape[-2], at.W.shape[-1], at.H.shape[-1]
        self._shape, self._rank = (K, d, N), self._P.shape[-2]
        self._split = K * d + (0 if at.b is None else K)

    def coordinates(self, y: Float[Tensor, "B D"]) -> Float[Tensor, "B reduced"]:
        """Those of the part of y in the subspace."""
        K, d, N = self._shape
        out = y.new_empty(len(y), self._split + self._rank * d + K * N)
        out[:, : self._split] = y[:, : self._split]
        H = self._features(y)
        _, _, A, B = self._parts(out)
        matmul(self._Q, H, A)
        B.copy_(self._P @ H.mT - (self._P @ A.mT) @ self._Q)
        return out

    def complete(
        self,
        x: Float[Tensor, "B reduced"],
        coordinates: Float[Tensor, "B reduced"],
        y: Float[Tensor, "B D"],
        scale: Float[Tensor, " B"],
        out: Float[Tensor, "B D"],
    ) -> None:
        """Write into ``out`` the vector of coordinates x in the subspace, which is ``scale`` · y outside of it.

        ``coordinates`` are those of y.
        """
        torch.mul(y, scale[:, None], out=out)
        out[:, : self._split] = x[:, : self._split]
        _, _, A, B = self._parts(torch.addcmul(x, coordinates, scale[:, None], value=-1))
        left, right = torch.cat([self._Q, B], -2).mT, torch.cat([A, self._P], -2)
        add_matmul(self._features(out), left, right)

    def product(self, v: Float[Tensor, "B reduced"], out: Float[Tensor, "B reduced"]) -> None:
        """Write J v into ``out``."""
        at, Q, P, L, M = self._at, self._Q, self._P, self._L, self._M
        V, b, A, B = self._parts(v)
        V_out, b_out, A_out, B_out = self._parts(out)
        dZ = add_matmul(V @ at.H, L, A)
        if b is not None:
            dZ.add_(b[..., None])
        dR = self._objective.residual_tangent(self._loss, dZ)
        add_matmul(matmul(dR, at.H.mT, V_out), M, (P @ A.mT @ Q).add_(B))
        if b_out is not None:
            torch.sum(dR, -1, out=b_out)
        turned = M.mT @ V
        within = turned @ Q.mT
        add_matmul(matmul(L.mT, dR, A_out), within.mT, P)
        torch.sub(turned, within @ Q, out=B_out)

    def _features(self, y: Float[Tensor, "B D"]) -> Tensor:
        """The view H [*B, d, N] of whole vectors, without the axis of a single replica."""
        H = single(y)[..., self._split :]
        return H.view(*H.shape[:-1], *self._shape[1:])

    def _parts(self, v: Float[Tensor, "B reduced"]) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Views V [*B, K, d], b [*B, K], A [*B, K, N] and B [*B, r, d], without the axis of a single replica."""
        (K, d, N), r = self._shape, self._rank
        v = single(v)
        V, b, B, A = v.split_with_sizes((K * d, self._split - K * d, r * d, K * N), -1)
        batch = v.shape[:-1]
        return V.view(*batch, K, d), b if b.shape[-1] else None, A.view(*batch, K, N), B.view(*batch, r, d)
