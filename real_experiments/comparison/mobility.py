"""How much faster the features of a network move than free features, and the motion that the model does not allow.

The model conserves ‖H‖² − ‖W‖². If features move c times faster than in the model, ‖H‖² − c‖W‖² is conserved: the gains
of the squared norms have the ratio c, and the ratio of the squared norms tends to c. In the model the gradient of the
features lies in the span of the rows of W, at any c. In a network it does not.
"""

import dataclasses

import torch

import ulpm
from real_experiments.comparison.network_run import NetworkRun

__all__ = ["Mobility", "means_and_outside", "mobility_history"]


@dataclasses.dataclass(frozen=True)
class Mobility:
    """c at one snapshot, read in four ways.

    ratio          ‖H‖²/‖W‖²
    centered       the same of the features about their mean and of the rows about theirs
    gained         the gain of ‖H‖² since the previous snapshot over that of ‖W‖²; None where ‖W‖² did not grow
    class_scatter  standard deviation over the classes of log(Σ_{i∈k} ‖h_i‖²/‖w_k‖²)

    means          ‖M‖, M = [μ_k − μ_G]
    means_outside  ‖P_⊥ M‖, P_⊥ the projection on the complement of the rows of W
    """

    epoch: int
    ratio: float
    centered: float
    gained: float | None
    class_scatter: float
    means: float
    means_outside: float


def means_and_outside(problem: ulpm.Problem, state: ulpm.State) -> tuple[float, float]:
    """‖M‖ and ‖P_⊥ M‖ of a state, with M = [μ_k − μ_G] and P_⊥ the projection on the complement of the rows of W."""
    class_means = torch.stack([part.mean(1) for part in torch.split(state.H, list(problem.class_counts), 1)], 1)
    M = class_means - class_means.mean(1, keepdim=True)
    span = torch.linalg.qr(state.W.mT).Q
    return float(M.norm()), float((M - span @ (span.mT @ M)).norm())


def mobility_history(run: NetworkRun) -> list[Mobility]:
    """One entry a snapshot, oldest first. Raises: OSError if a snapshot is damaged."""
    history: list[Mobility] = []
    before: tuple[float, float] | None = None
    for epoch in run.directory.snapshot_files():
        problem, state = run.state(epoch, torch.device("cpu"))
        W, H = state.W, state.H
        norms = float(W.square().sum()), float(H.square().sum())
        of_samples = H.square().sum(0)
        of_classes = torch.stack([part.sum() for part in torch.split(of_samples, list(problem.class_counts))])
        centered = (H - H.mean(1, keepdim=True)).square().sum() / (W - W.mean(0)).square().sum()
        grown = None if before is None else (norms[0] - before[0], norms[1] - before[1])
        history.append(
            Mobility(
                epoch,
                norms[1] / norms[0],
                float(centered),
                grown[1] / grown[0] if grown is not None and grown[0] > 0 else None,
                float((of_classes / W.square().sum(1)).log().std()),
                *means_and_outside(problem, state),
            )
        )
        before = norms
    return history
