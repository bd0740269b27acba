"""The distance of points to the convex hull of the others, between two bounds that prove it.

Wolfe's algorithm keeps a few vertices whose affine hull has its nearest point inside their convex hull. It adds the
vertex that lies farthest towards the point until none lies closer than the hull found. Problems run side by side.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm.metrics.tiles import tiles

__all__ = ["distances_to_hulls"]

# Of points of length one.
_GAP = 1e-13


def distances_to_hulls(
    points: Float[Tensor, "K d"], chosen: Int[Tensor, " C"]
) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
    """Lower and upper bounds of ‖x_k − conv{x_j : j ≠ k}‖ for the chosen points k, all of length about one.

    Any convex combination c of the others gives both: with r = x_k − c the distance is at most ‖r‖, and as the plane
    orthogonal to r separates, at least ⟨r, x_k⟩/‖r‖ − max over j ≠ k of ⟨r, x_j⟩/‖r‖.
    """
    K, d = points.shape
    lower, upper = torch.zeros_like(points[chosen, 0]), torch.full_like(points[chosen, 0], torch.inf)
    centred = points - points[:1]
    simplex = d + 1 >= K and int(torch.linalg.matrix_rank(centred)) == K - 1
    for part in tiles(len(chosen), max(K, min(d + 1, K - 1) * d)):
        problems = _Problems(points, chosen[part], simplex)
        for _ in range(20 * min(d + 1, K) + 100):
            if not problems.step():
                break
        lower[part], upper[part] = problems.lower, problems.upper
    return lower, upper


class _Problems:
    """Some of the problems: the vertices each of them uses, up to ``width``, with convex weights."""

    def __init__(self, points: Tensor, targets: Tensor, simplex: bool) -> None:
        self.points, self.targets = points, targets
        self.lower = points.new_zeros(len(targets))
        self.upper = points.new_full((len(targets),), torch.inf)
        # The length at the last minimiser of a whole hull, which each following one must undercut.
        self.reached = points.new_full((len(targets),), torch.inf)
        self.open = torch.arange(len(targets), device=points.device)
        if simplex:
            # Independent points: those of a simplex whose vertices are all needed, as near collapse.
            others = torch.arange(len(points) - 1, device=points.device).expand(len(targets), -1)
            self.vertices = others + (others >= targets[:, None])
        else:
            squares = torch.cdist(points[targets], points, compute_mode="donot_use_mm_for_euclid_dist")
            squares.scatter_(1, targets[:, None], torch.inf)
            self.vertices = squares.argmin(1, keepdim=True)
        self.weights = torch.full_like(self.vertices, 1, dtype=points.dtype) / self.vertices.shape[1]
        self.used = torch.ones_like(self.vertices, dtype=torch.bool)

    def step(self) -> bool:
        """One step of all open problems, and whether one is open still."""
        target = self.points[self.targets[self.open]]
        corners = self.points[self.vertices] - target[:, None]
        affine = _affine_minimiser(corners, self.used)
        solved = affine.isfinite().all(1)
        affine = torch.where(solved[:, None], affine, self.weights)
        inside = (affine >= 0).all(1)
        # Towards the affine minimiser, as far as the weights stay convex; a vertex of weight 0 is dropped.
        falling = affine < self.weights
        share = torch.where(falling, self.weights / (self.weights - affine), torch.inf)
        share = torch.where(affine < 0, share, torch.inf).amin(1).clamp(max=1.0)
        moved = (self.weights + share[:, None] * (affine - self.weights)).clamp_min(0.0)
        leaving = torch.where(affine < 0, self.weights / (self.weights - affine) <= share[:, None], False)
        moved = torch.where(leaving, 0.0, moved)
        self.weights = torch.where(inside[:, None], affine, moved)
        self.weights = self.weights / self.weights.sum(1, keepdim=True)
        self.used = self.used & ~(leaving & ~inside[:, None]) & (self.weights > 0)
        done = self._bound(corners, target, inside) | ~solved
        self._keep(~done)
        return len(self.open) > 0

    def _bound(self, corners: Tensor, target: Tensor, inside: Tensor) -> Bool[Tensor, " B"]:
        """Tighten the bounds; add a vertex where the affine minimiser is convex; which problems are done."""
        residual = -(self.weights[:, None] @ corners)[:, 0]
        length = residual.square().sum(1).sqrt()
        scores = residual @ self.points.mT
        scores.scatter_(1, self.targets[self.open, None], -torch.inf)
        vertex = scores.max(1).indices
        # From differences of points, so that close ones cost no digits.
        to_best = target - self.points[vertex]
        lower = torch.where(length > 0, (residual * to_best).sum(1) / length, 0.0).clamp_min(0.0)
        before = self.reached[self.open]
        self.reached[self.open] = torch.where(inside, torch.minimum(before, length), before)
        self.upper[self.open] = torch.minimum(self.upper[self.open], length)
        self.lower[self.open] = torch.minimum(torch.maximum(self.lower[self.open], lower), self.upper[self.open])
        known = ((self.vertices == vertex[:, None]) & self.used).any(1)
        stuck = inside & (known | (length >= before * (1 - 1e-15)))
        self._add(vertex, inside & ~known)
        return (self.upper[self.open] - self.lower[self.open] <= _GAP) | stuck

    def _add(self, vertex: Tensor, wanted: Tensor) -> None:
        if bool((self.used.all(1) & wanted).any()):
            self.vertices = torch.nn.functional.pad(self.vertices, (0, 1))
            self.weights = torch.nn.functional.pad(self.weights, (0, 1))
            self.used = torch.nn.functional.pad(self.used, (0, 1))
        slot = self.used.long().argmin(1, keepdim=True)
        old = self.vertices.gather(1, slot)[:, 0], self.used.gather(1, slot)[:, 0]
        self.vertices.scatter_(1, slot, torch.where(wanted, vertex, old[0])[:, None])
        self.used.scatter_(1, slot, (old[1] | wanted)[:, None])

    def _keep(self, kept: Tensor) -> None:
        self.open, self.vertices = self.open[kept], self.vertices[kept]
        self.weights, self.used = self.weights[kept], self.used[kept]


def _affine_minimiser(corners: Float[Tensor, "B m d"], used: Bool[Tensor, "B m"]) -> Float[Tensor, "B m"]:
    """Weights of sum 1 of the used corners whose combination is shortest; not finite where there are many such."""
    kept = used.to(corners)
    corners = corners * kept[..., None]
    corners = corners / corners.abs().amax((1, 2), keepdim=True)
    gram = corners @ corners.mT + kept[:, :, None] * kept[:, None, :] + torch.diag_embed(1 - kept)
    solution, _ = torch.linalg.solve_ex(gram, kept)
    solution = solution * kept
    weights: Tensor = solution / solution.sum(1, keepdim=True)
    return weights
