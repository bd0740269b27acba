"""Flows that end at a finite point: where they end, and how fast the distance from there falls.

Without decay the ends form a set of states with the same logits, up to a constant in each column that the loss does
not see. Near the set the distance of the logits from their end falls like e^(−rate·t). The rate is the smallest
nonzero eigenvalue of the Hessian. The zero eigenvalues belong to directions along the set.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.numerics.summaries import line
from theory_experiments.numerics.vectors import unflat

__all__ = ["distances", "fall", "final_distances", "last", "rest_time", "slowest_mode", "straightness"]


def last(values: Float[Tensor, " R *batch"]) -> Float[Tensor, "*batch"]:
    """The last record that each replica reached: a replica that converged has no later records."""
    count = torch.arange(len(values), device=values.device).view(-1, *[1] * (values.ndim - 1))
    index = (count * ~values.isnan()).amax(0)
    found: Tensor = values.gather(0, index[None])[0]
    return found.cpu()


def rest_time(path: ulpm.Trajectory) -> Float[Tensor, "*batch"]:
    """log t at which replicas converged; infinite for those that did not."""
    status = [path.status] if isinstance(path.status, ulpm.Status) else path.status
    rests = torch.tensor([each == ulpm.Status.CONVERGED for each in status]).view(path.log_time.shape[1:])
    return last(path.log_time).where(rests, torch.full((), math.inf, dtype=torch.float64))


def distances(path: ulpm.Trajectory, target: Float[Tensor, "K K"]) -> Float[Tensor, " S *batch"]:
    """Largest distance of a logit, at each snapshot, from ``target`` repeated over the samples.

    Logits are taken minus their column means where the loss does not see these.
    Raises: ValueError for a path without snapshots.
    """
    if path.snapshots is None:
        raise ValueError("the trajectory has no snapshots: ask gradient_flow for as many as records.")
    # The trajectory drops records that no replica reached, but not their snapshots.
    count = len(path.log_time)
    return _distance(path.problem, path.snapshots.W[:count] @ path.snapshots.H[:count], target)


def final_distances(path: ulpm.Trajectory, target: Float[Tensor, "K K"]) -> Float[Tensor, "*batch"]:
    """The same at the end of the run."""
    return _distance(path.problem, path.final_state.W @ path.final_state.H, target)


def fall(distance: Float[Tensor, " R"], high: float, low: float) -> slice:
    """The records from the first with a distance below ``high`` to the last before one below ``low``."""
    above = (distance >= high).nonzero()
    first = int(above[-1]) + 1 if len(above) else 0
    below = (distance[first:] < low).nonzero()
    return slice(first, first + int(below[0]) if len(below) else len(distance))


def straightness(x: Float[Tensor, " R"], y: Float[Tensor, " R"]) -> tuple[float, float]:
    """Slope of the least-squares line, and the root mean square of its residuals; nan for fewer than 5 points."""
    if len(x) < 5:
        return math.nan, math.nan
    slope, intercept = line(x, y)
    return slope, float((y - slope * x - intercept).square().mean().sqrt())


def slowest_mode(problem: ulpm.Problem, state: ulpm.State) -> tuple[float, ulpm.State]:
    """The smallest nonzero eigenvalue of the Hessian at a minimum without decay, and its eigenvector.

    The number of nonzero eigenvalues is that of the coordinates of the logits that the loss sees: N(K − 1), or NK for
    squared error. The Hessian is that of the textbook loss by automatic differentiation.
    """
    K, N = problem.num_classes, problem.num_samples
    squared = isinstance(problem.loss, ulpm.SquaredError)

    def objective(point: Tensor) -> Tensor:
        at = unflat(problem, point)
        Z = (at.W @ at.H).T
        if squared:
            return 0.5 * (Z - torch.nn.functional.one_hot(problem.labels, K)).square().sum()
        smoothing = problem.loss.record()["label_smoothing"]
        total: Tensor = torch.nn.functional.cross_entropy(Z, problem.labels, reduction="sum", label_smoothing=smoothing)
        return total

    Hessian = torch.autograd.functional.hessian(objective, state.vector())  # type: ignore[no-untyped-call]
    values, vectors = torch.linalg.eigh(Hessian)
    slowest = len(values) - N * (K if squared else K - 1)
    return float(values[slowest]), unflat(problem, vectors[:, slowest])


def _distance(
    problem: ulpm.Problem, Z: Float[Tensor, "*batch K N"], target: Float[Tensor, "K K"]
) -> Float[Tensor, "*batch"]:
    target = target.to(Z)
    if problem.loss.conserves_sums:
        Z, target = Z - Z.mean(-2, keepdim=True), target - target.mean(0)
    distance: Tensor = (Z - target[:, problem.labels.to(Z.device)]).abs().amax((-2, -1))
    return distance.cpu()
