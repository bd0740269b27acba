"""The margins of a point of the margin problem, as functions of the point: values, gradients, Hessians, rotations."""

import torch
from torch import Tensor

import ulpm

__all__ = ["RANK", "Margins", "row_space"]

RANK = 1e-9  # of singular values


class Margins:
    """q_a = Z_{y_i,i} − Z_{j,i} of all pairs a = (i, j ≠ y_i), with derivatives, at points [D]."""

    def __init__(self, problem: ulpm.Problem) -> None:
        self.problem = problem
        pairs = [(i, j) for i, y in enumerate(problem.labels.tolist()) for j in range(problem.num_classes) if j != y]
        self.sample, self.other = torch.tensor(pairs).T
        self.label = problem.labels[self.sample]

    def parts(self, point: Tensor) -> tuple[Tensor, Tensor]:
        """W [K, d] and H [d, N]."""
        K, d = self.problem.num_classes, self.problem.feature_dim
        return point[: K * d].view(K, d), point[K * d :].view(d, -1)

    def values(self, point: Tensor) -> Tensor:
        """q [A]."""
        W, H = self.parts(point)
        Z = W @ H
        return Z[self.label, self.sample] - Z[self.other, self.sample]

    def gradients(self, point: Tensor) -> Tensor:
        """∇q [A, D]."""
        W, H = self.parts(point)
        count = torch.arange(len(self.sample))
        by_W, by_H = W.new_zeros(len(count), *W.shape), W.new_zeros(len(count), *H.shape)
        by_W[count, self.label] = H.T[self.sample]
        by_W[count, self.other] = -H.T[self.sample]
        by_H[count, :, self.sample] = W[self.label] - W[self.other]
        return torch.cat([by_W.flatten(1), by_H.flatten(1)], 1)

    def lagrangian_hessian(self, multipliers: Tensor) -> Tensor:
        """I − Σ λ_a ∇²q_a [D, D]: it depends on the point only through the multipliers."""
        K, d, N = self.problem.num_classes, self.problem.feature_dim, self.problem.num_samples
        G = torch.zeros(K, N, dtype=multipliers.dtype)
        G.index_put_((self.label, self.sample), multipliers, accumulate=True)
        G.index_put_((self.other, self.sample), -multipliers, accumulate=True)
        mixed = torch.einsum("ki,ab->kabi", G, torch.eye(d, dtype=G.dtype)).reshape(K * d, d * N)
        hessian = torch.eye(K * d + d * N, dtype=G.dtype)
        hessian[: K * d, K * d :] -= mixed
        hessian[K * d :, : K * d] -= mixed.T
        return hessian

    def rotations(self, point: Tensor) -> Tensor:
        """An orthonormal basis [r, D] of the directions (WΩ, −ΩH), Ω skew."""
        W, H = self.parts(point)
        d = self.problem.feature_dim
        rows = []
        for a in range(d):
            for b in range(a):
                skew = torch.zeros(d, d, dtype=point.dtype)
                skew[a, b], skew[b, a] = 1.0, -1.0
                rows.append(torch.cat([(W @ skew).flatten(), (-skew @ H).flatten()]))
        return row_space(torch.stack(rows)) if rows else point.new_zeros(0, len(point))


def row_space(rows: Tensor) -> Tensor:
    """An orthonormal basis of the span of the rows."""
    _, values, Vh = torch.linalg.svd(rows, full_matrices=False)
    basis: Tensor = Vh[values > RANK]
    return basis
