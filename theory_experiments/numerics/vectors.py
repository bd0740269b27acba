"""States as points of R^D: (W, H), flattened and concatenated."""

from torch import Tensor

import ulpm

__all__ = ["kept", "unflat"]


def unflat(problem: ulpm.Problem, points: Tensor) -> ulpm.State:
    """The state whose vectors are ``points`` [..., D]."""
    K, d, N = problem.num_classes, problem.feature_dim, problem.num_samples
    batch = points.shape[:-1]
    return ulpm.State(points[..., : K * d].reshape(*batch, K, d), points[..., K * d :].reshape(*batch, d, N))


def kept(path: ulpm.Trajectory) -> Tensor:
    """The vectors [S, ..., D] of a trajectory's snapshots, on the CPU.

    Raises: ValueError if it has none.
    """
    if path.snapshots is None:
        raise ValueError("the trajectory has no snapshots: ask gradient_flow for as many as records.")
    return ulpm.State(path.snapshots.W, path.snapshots.H).vector().cpu()
