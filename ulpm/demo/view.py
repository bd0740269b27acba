"""What the scene shows: classifier rows, features, class means and the shape they should take, on fixed axes.

Both norms grow without bound, so that everything is divided by ρ = √(‖W‖² + ‖H‖²): the scene has √(2K) w_k/ρ and
√(2N) h_i/ρ, whose mean square is 1 where ‖W‖ = ‖H‖. At collapse of balanced classes the two coincide.
"""

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm.geometry import block_state, principal_axes, seli_state
from ulpm.problem import Problem
from ulpm.state import State

__all__ = ["Scene", "closest_rotation", "has_target", "scene_of", "target_state"]

_MOST_FEATURES = 160
_MOST_OF_A_CLASS = 24
# Cosines of antipodes, which no edge of an orthoplex joins, are −1 up to rounding.
_ANTIPODAL = -1 + 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """Marks on p ≤ 3 axes, frame by frame, and the target in the same axes (None where no shape is known).

    ``edges`` are the pairs of classes whose target means are joined by a line.
    """

    rows: Float[Tensor, "F K p"]
    means: Float[Tensor, "F K p"]
    features: Float[Tensor, "F M p"]
    feature_classes: Int[Tensor, " M"]
    target_rows: Float[Tensor, "K p"] | None
    target_means: Float[Tensor, "K p"] | None
    edges: tuple[tuple[int, int], ...]


def scene_of(problem: Problem, W: Float[Tensor, "F K d"], H: Float[Tensor, "F d N"]) -> Scene:
    """The scene of states along a run, on the principal axes of the last classifier, which stay the same."""
    rho = State(W, H).squared_norm.sqrt()[:, None, None].clamp(min=1e-150)
    view = principal_axes(W[-1], H[-1])
    rows = math.sqrt(2 * problem.num_classes) * (W / rho) @ view.T
    features = math.sqrt(2 * problem.num_samples) * (H / rho).mT @ view.T
    means = torch.stack([part.mean(1) for part in torch.split(features, list(problem.class_counts), 1)], 1)
    shown = shown_samples(problem)
    target = target_state(problem, W[-1])
    if target is None:
        return Scene(rows, means, features[:, shown], problem.labels[shown], None, None, ())
    to_axes = closest_rotation(target.W, W[-1]) @ view.T
    first_of_class = torch.searchsorted(problem.labels, torch.arange(problem.num_classes, device="cpu"))
    target_means = math.sqrt(2 * problem.num_samples) * target.H.T[first_of_class]
    return Scene(
        rows,
        means,
        features[:, shown],
        problem.labels[shown],
        math.sqrt(2 * problem.num_classes) * target.W @ to_axes,
        target_means @ to_axes,
        _edges(target_means),
    )


def target_state(problem: Problem, W: Float[Tensor, "K d"]) -> State | None:
    """The shape of largest margin, of norm 1: SELI, which is the simplex for equal counts, where d ≥ K − 1.

    In fewer dimensions the best shape known for an even number of equal classes in d ≥ K/2 is the orthoplex, the block
    state of pairs, paired here as the classifier W is. None elsewhere.
    """
    K, d = problem.num_classes, problem.feature_dim
    if d >= K - 1:
        return seli_state(problem)
    if has_target(problem):
        paired = block_state(problem, block_size=2)
        place = torch.argsort(torch.tensor(opposite_pairs(W), dtype=torch.int64, device="cpu"))
        counts = problem.class_counts[0]
        return State(paired.W[place], paired.H.reshape(d, K, counts)[:, place].reshape(d, -1))
    return None


def has_target(problem: Problem) -> bool:
    """Whether ``target_state`` knows a shape."""
    K, d = problem.num_classes, problem.feature_dim
    return d >= K - 1 or (problem.balanced and K % 2 == 0 and 2 * d >= K)


def opposite_pairs(W: Float[Tensor, "K d"]) -> list[int]:
    """The classes of an even number, pair after pair of opposite ones: the most opposite pair first."""
    directions = W / W.norm(dim=1, keepdim=True)
    cosines = (directions @ directions.T).tolist()
    left = set(range(len(cosines)))
    order: list[int] = []
    while left:
        j, k = min(((j, k) for j in left for k in left if j < k), key=lambda pair: cosines[pair[0]][pair[1]])
        order += [j, k]
        left -= {j, k}
    return order


def closest_rotation(points: Float[Tensor, "K d"], goal: Float[Tensor, "K d"]) -> Float[Tensor, "d d"]:
    """argmin_Q ‖points Q − goal‖ over orthogonal Q.

    Source: Schönemann, "A generalized solution of the orthogonal Procrustes problem", 1966.
    """
    U, _, Vh = torch.linalg.svd(points.T @ goal)
    rotation: Tensor = U @ Vh
    return rotation


def shown_samples(problem: Problem) -> Int[Tensor, " M"]:
    """Which features are drawn: the first of each class, so many that they can be told apart."""
    most = min(_MOST_OF_A_CLASS, max(1, _MOST_FEATURES // problem.num_classes))
    first = 0
    kept = []
    for count in problem.class_counts:
        kept.append(torch.arange(first, first + min(count, most), device="cpu"))
        first += count
    return torch.cat(kept)


def _edges(points: Float[Tensor, "K d"]) -> tuple[tuple[int, int], ...]:
    directions = points / points.norm(dim=1, keepdim=True)
    cosines = (directions @ directions.T).tolist()
    return tuple((j, k) for j in range(len(cosines)) for k in range(j + 1, len(cosines)) if cosines[j][k] > _ANTIPODAL)
