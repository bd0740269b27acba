"""Critical points of the loss on a sphere ‖W‖² + ‖H‖² = ρ², of any index, found by minimising the tangential gradient.

With F = −∇ log L, m = ⟨F, Θ⟩/ρ² and the tangential force r = F − mΘ, the points are the zeros of r. Its derivative
along the sphere is the symmetric A = −Π(∇² log L + mI)Π. So V = ½‖r‖² has the gradient A r, whatever the signs of the
eigenvalues of A: saddles attract like minima do. We take Levenberg–Marquardt steps, (A² + λI)δ = −A r with λ
proportional to V. These converge quadratically even where the zeros form a manifold, as they do here by the rotations
of R^d (Yamashita and Fukushima, "On the rate of convergence of the Levenberg–Marquardt method", 2001).

Everything is dense, [D, D] a point, and follows the definition of the loss. So it is an oracle for the package, which
uses Hessian–vector products only.
"""

import dataclasses

import torch
from torch import Tensor

import ulpm

__all__ = ["Landscape", "critical_points", "landscape", "on_sphere"]

_SHRINK, _GROW = 0.2, 4.0  # of the damping, after a step that lowers V and one that does not


@dataclasses.dataclass(frozen=True)
class Landscape:
    """log L to second order on spheres, at a batch of points [B, D]; all divided by L.

    ``force`` r [B, D], ``share`` ‖r‖/‖F‖, ``multiplier`` m, ``operator_norm`` ‖R‖_op/L. ``values`` (rising) and
    ``vectors`` are the eigenvalues and eigenvectors of the tangential Hessian −A [B, D, D]; the normal has the
    eigenvalue 0.
    """

    log_loss: Tensor
    force: Tensor
    share: Tensor
    multiplier: Tensor
    operator_norm: Tensor
    values: Tensor
    vectors: Tensor

    @property
    def least_curvature(self) -> Tensor:
        """The least eigenvalue of the tangential Hessian; at most 0, since the eigenvalue of the normal counts."""
        return self.values[:, 0]


def landscape(problem: ulpm.Problem, points: Tensor) -> Landscape:
    """See :class:`Landscape`; points [B, D] on the CPU, with margins below some 700.

    With C_i = (diag(p_i) − p_i p_iᵀ)/L and dZ = δW H + W δH for a tangent (δW, δH), divided by L,
        δ²L = Σ_i dZ_iᵀ C_i dZ_i − 2⟨R, δW δH⟩,    ∇² log L = ∇²L/L − F Fᵀ .
    """
    K, d, N = problem.num_classes, problem.feature_dim, problem.num_samples
    W, H = points[:, : K * d].view(-1, K, d), points[:, K * d :].reshape(-1, d, N)
    log_loss, P, R = _softmax(problem, W @ H)
    force = torch.cat([(R @ H.mT).flatten(1), (W.mT @ R).flatten(1)], 1)
    # −p_j p_k off the diagonal, and rows of sum 0: 1 − p would lose digits.
    products = P.mT[..., :, None] * P.mT[..., None, :] * (1 - torch.eye(K, dtype=W.dtype))
    C = (torch.diag_embed(products.sum(-1)) - products) / log_loss.exp()[:, None, None, None]  # [B, N, K, K]
    # dZ of sample i is linear in the D coordinates: its matrix [B, N, K, D] gives the first term.
    rows = torch.einsum("kl,zai->zikla", torch.eye(K, dtype=W.dtype), H).flatten(3)
    columns = torch.einsum("zka,ij->zikaj", W, torch.eye(N, dtype=W.dtype)).flatten(3)
    dZ = torch.cat([rows, columns], 3)
    hessian = dZ.flatten(1, 2).mT @ (C @ dZ).flatten(1, 2)
    mixed = torch.einsum("zki,ab->zkabi", R, torch.eye(d, dtype=W.dtype)).flatten(3).flatten(1, 2)
    hessian[:, : K * d, K * d :] -= mixed
    hessian[:, K * d :, : K * d] -= mixed.mT
    square = points.square().sum(1)
    m = (force * points).sum(1) / square
    normal = points / square.sqrt()[:, None]
    r = force - m[:, None] * points
    # On tangents F is r. The Hessian of log L has a term F Fᵀ, ∇²L/L has none; at r = 0 they agree.
    identity = torch.eye(points.shape[1], dtype=W.dtype)
    curvature = hessian + m[:, None, None] * identity - force[:, :, None] * force[:, None, :]
    projection = identity - normal[:, :, None] * normal[:, None, :]
    values, vectors = torch.linalg.eigh(projection @ curvature @ projection)
    norms = torch.linalg.matrix_norm(R, 2)
    return Landscape(log_loss, r, r.norm(dim=1) / force.norm(dim=1), m, norms, values, vectors)


def _softmax(problem: ulpm.Problem, Z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log L [B], P and R/L [B, K, N], from gaps and not from 1 − P."""
    labels = problem.labels.expand(len(Z), 1, Z.shape[2])
    gaps = (Z - Z.gather(1, labels)).scatter(1, labels, -torch.inf)
    log_loss = torch.nn.functional.softplus(gaps.logsumexp(1)).sum(1).log()
    P = Z.softmax(1)
    wrong = P.scatter(1, labels, 0.0)
    R = (-wrong).scatter(1, labels, wrong.sum(1, keepdim=True))
    return log_loss, P, R / log_loss.exp()[:, None, None]


def critical_points(problem: ulpm.Problem, starts: Tensor, iterations: int) -> Tensor:
    """The points after ``iterations`` steps from ``starts`` [B, D], each on the sphere of its start."""
    rho = starts.norm(dim=1, keepdim=True)
    y, here = starts, landscape(problem, starts)
    damping = torch.ones(len(starts), dtype=starts.dtype)
    for _ in range(iterations):
        components = (here.vectors.mT @ here.force[:, :, None])[:, :, 0]
        # In the eigenbasis A is −values. For small λ this solves Aδ + r = 0.
        size = damping * here.force.square().sum(1)
        step = here.values * components / (here.values.square() + size[:, None])
        trial = y + (here.vectors @ step[:, :, None])[:, :, 0]
        trial = trial * rho / trial.norm(dim=1, keepdim=True)
        there = landscape(problem, trial)
        better = there.force.norm(dim=1) < here.force.norm(dim=1)
        y = torch.where(better[:, None], trial, y)
        here = Landscape(
            **{
                field.name: torch.where(
                    better.view(-1, *[1] * (getattr(here, field.name).ndim - 1)),
                    getattr(there, field.name),
                    getattr(here, field.name),
                )
                for field in dataclasses.fields(Landscape)
            }
        )
        damping = torch.where(better, _SHRINK * damping, _GROW * damping).clamp(1e-6, 1e12)
    return y


def on_sphere(points: Tensor, rho: float) -> Tensor:
    """The points scaled to norm ρ."""
    scaled: Tensor = points * (rho / points.norm(dim=-1, keepdim=True))
    return scaled
