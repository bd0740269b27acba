"""Is the KKT point near a late state of the flow a local minimum of the margin problem? The second-order test.

    (MNS)   min ½‖Θ‖²  subject to  q_a(Θ) ≥ 1,   Lagrangian Hessian  δ ↦ ‖δ‖² − 2⟨G(λ), δW δH⟩,   a = (sample, wrong
    class)

A late state shows which constraints have multipliers: those with p_a not negligible against the largest. Newton's
method on Θ = Σ λ_a ∇q_a, q_a = 1 makes the point exact. Then, modulo rotations of R^d (which change nothing):

- λ ≥ 0 and the Hessian positive on {δ: ∇q_a·δ = 0 for all a with λ_a > 0}: a strict local minimum;
- multipliers unique, as the ∇q_a of active constraints are independent, and a negative eigenvalue on
  {δ: ∇q_a·δ = 0 for all active a}: a saddle.

Source: Nocedal and Wright, "Numerical Optimization", 2006, chapter 12.
"""

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor

import ulpm
from theory_experiments.numerics.margins import RANK, Margins, row_space

__all__ = ["Ending", "Kind", "classify"]

_CARRIES = 1e-6  # p_a over the largest; above this a constraint has a multiplier
_RESIDUAL = 1e-9  # of the KKT conditions of a point of size 1
_ACTIVE = 1e-7
# Where Newton's method converges slowly, as to points with dependent ∇q_a, an error of 1e-9 in the conditions is
# one of 1e-4 in the point: those ∇q_a then look independent by as much. Truly independent ones had 0.8 or more.
_INDEPENDENT = 1e-2
_CURVATURE = 1e-6  # relative to ‖δ‖², whose curvature is 1

Kind = Literal["minimum", "saddle", "undecided", "unresolved"]


@dataclasses.dataclass(frozen=True)
class Ending:
    """The KKT point nearby: Θ [D] with q_min = 1, its ``value`` ½‖Θ‖², and the second-order test.

    ``residual``: of the KKT conditions. ``curvature``: least eigenvalue of the Lagrangian Hessian where the kind is
    decided, in the ``direction`` [D]. ``unresolved``: Newton's method found no KKT point with these constraints.
    """

    kind: Kind
    value: float
    residual: float
    curvature: float
    point: Tensor
    direction: Tensor


def classify(problem: ulpm.Problem, state: ulpm.State) -> Ending:
    """Newton's method from a single late state, then the second-order test; dense, D³ in time."""
    margins = Margins(problem)
    point = state.vector().double().cpu()
    q = margins.values(point)
    p = (q.min() - q).exp()  # softmax shares of the wrong classes, over the largest
    carrying = (p > _CARRIES).nonzero()[:, 0]
    point = point / q.min().sqrt()
    pull = margins.gradients(point)[carrying].T @ p[carrying]
    multipliers = p[carrying] * (pull @ point) / (pull @ pull)
    point, multipliers, residual = _newton(margins, point, carrying, multipliers)
    q = margins.values(point)
    residual = max(residual, float(1 - q.min()), -float(multipliers.min()))
    if not residual <= _RESIDUAL:
        return Ending("unresolved", math.nan, residual, math.nan, point, torch.zeros_like(point))
    weights = torch.zeros(len(q), dtype=point.dtype)
    weights[carrying] = multipliers
    hessian = margins.lagrangian_hessian(weights)
    curvature, direction = _least(hessian, margins, point, carrying[multipliers > _RESIDUAL])
    if curvature > _CURVATURE:
        kind: Kind = "minimum"
    else:
        active = (q < 1 + _ACTIVE).nonzero()[:, 0]
        curvature, direction = _least(hessian, margins, point, active)
        known = _independent(margins.gradients(point)[active]) and curvature < -_CURVATURE
        kind = "saddle" if known else "undecided"
    return Ending(kind, float(point @ point) / 2, residual, curvature, point, direction)


def _newton(margins: Margins, point: Tensor, carrying: Tensor, multipliers: Tensor) -> tuple[Tensor, Tensor, float]:
    """Solve Θ = Σ λ ∇q, q = 1 for the ``carrying`` constraints; least-norm steps, as rotations make it singular."""
    residual = math.inf
    for _ in range(40):
        gradients = margins.gradients(point)[carrying]
        equations = torch.cat([point - gradients.T @ multipliers, margins.values(point)[carrying] - 1])
        residual = float(equations.abs().max())
        if not 1e-13 < residual < 1e6:
            break
        weights = torch.zeros(len(margins.sample), dtype=point.dtype)
        weights[carrying] = multipliers
        top = torch.cat([margins.lagrangian_hessian(weights), -gradients.T], 1)
        bottom = torch.cat([gradients, point.new_zeros(len(carrying), len(carrying))], 1)
        step = torch.linalg.lstsq(torch.cat([top, bottom]), -equations, rcond=RANK, driver="gelsd").solution
        point, multipliers = point + step[: len(point)], multipliers + step[len(point) :]
    return point, multipliers, residual


def _least(hessian: Tensor, margins: Margins, point: Tensor, rows: Tensor) -> tuple[float, Tensor]:
    """The least eigenvalue, with its vector, on the tangent space of these constraints without rotations."""
    normal = torch.cat([margins.gradients(point)[rows], margins.rotations(point)])
    basis = row_space(normal)
    tangent = torch.linalg.svd(basis, full_matrices=True).Vh[len(basis) :]
    if not len(tangent):
        return math.inf, torch.zeros_like(point)
    values, vectors = torch.linalg.eigh(tangent @ hessian @ tangent.T)
    return float(values[0]), vectors[:, 0] @ tangent


def _independent(rows: Tensor) -> bool:
    """Whether the rows, of norms of about 1, are linearly independent with a safe distance."""
    return len(rows) <= rows.shape[1] and float(torch.linalg.svdvals(rows)[-1]) > _INDEPENDENT
