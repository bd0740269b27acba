"""Families of directions in which the loss goes to zero, to compare with one direction.

Random points hardly ever separate the samples. So each family is built such that most of its members do, and we drop
the others.
"""

import math

import torch
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.directions import block_directions, near, separating
from theory_experiments.numerics.vectors import kept, unflat

__all__ = ["separating_directions"]

_MEMBERS = 10  # of a sampled family, for each start of the configuration
_RECORDS = 40  # of each flow


def separating_directions(
    problem: ulpm.Problem, reference: Tensor, starts: int, seed: int, device: str, work: Work
) -> dict[str, Tensor]:
    """Families of separating directions [B, D] by name; ``reference`` [D], of norm 1, is the direction to compare with.

    We stop ``starts`` flows, computed on ``device``, at 40 times each. The other families have some ten members for
    each start.
    """
    generator = torch.Generator().manual_seed(seed)
    size = _MEMBERS * starts
    start = problem.random_state(seed=seed, replicas=starts, device=device)
    # Any point of any path is a valid comparison, so a rough tolerance is enough.
    path = work.flow(problem, start, log_time=1e3, rtol=1e-4, records=_RECORDS, snapshots=_RECORDS)
    families = {
        "flows stopped early": kept(path).flatten(0, 1),
        "perturbed frames": near(reference, torch.logspace(-5, 0, size, dtype=torch.float64), generator),
        "random classifier, fitted features": _fitted_features(problem, size, generator),
        "random features, fitted classifier": _fitted_classifier(problem, size, generator),
        "unequal norms": _unequal_norms(problem, reference, size),
        "one row tilted": _one_row_tilted(problem, reference, size, generator),
    }
    if problem.feature_dim >= problem.num_classes - 1:
        families["SELI of other counts"] = _seli_of_other_counts(problem, size, generator)
    blocks = block_directions(problem)
    if len(blocks):
        sizes = torch.cat([torch.zeros(1, dtype=torch.float64), torch.logspace(-4, 0, size, dtype=torch.float64)])
        families["block points"] = torch.cat([near(block, sizes, generator) for block in blocks])
    families = {name: separating(problem, points) for name, points in families.items()}
    families["mixtures"] = separating(problem, _mixtures(reference, families, size, generator))
    return families


def _fitted_features(problem: ulpm.Problem, size: int, generator: torch.Generator) -> Tensor:
    """Gaussian classifiers, with the smallest features whose margins are all equal, and noise within classes."""
    K, d, N = problem.num_classes, problem.feature_dim, problem.num_samples
    W = torch.randn(size, K, d, generator=generator, dtype=torch.float64)
    # Gaps do not depend on Σ w_k: W and its centred part C W need the same features.
    features = torch.linalg.pinv(W - W.mean(1, keepdim=True)) @ _centring(K)
    return _with_noise(problem, W, features, N, generator)


def _fitted_classifier(problem: ulpm.Problem, size: int, generator: torch.Generator) -> Tensor:
    """Gaussian class means, with the smallest classifiers whose margins are all equal, and noise within classes."""
    K, d, N = problem.num_classes, problem.feature_dim, problem.num_samples
    means = torch.randn(size, d, K, generator=generator, dtype=torch.float64)
    means = means - means.mean(2, keepdim=True)
    return _with_noise(problem, _centring(K) @ torch.linalg.pinv(means), means, N, generator)


def _with_noise(problem: ulpm.Problem, W: Tensor, means: Tensor, N: int, generator: torch.Generator) -> Tensor:
    """Balanced norms, and features that scatter about their class means by up to a tenth of their size."""
    H = means[:, :, problem.labels]
    share = 0.1 * torch.rand(len(H), 1, 1, generator=generator, dtype=H.dtype)
    noise = torch.randn(H.shape, generator=generator, dtype=H.dtype)
    H = H + share * H.norm(dim=(1, 2), keepdim=True) * noise / math.sqrt(noise[0].numel())
    return _balanced(W, H)


def _balanced(W: Tensor, H: Tensor) -> Tensor:
    """‖W‖ = ‖H‖: among multiples of the two, this has the smallest norm for given logits."""
    return ulpm.State(W / W.norm(dim=(1, 2), keepdim=True), H / H.norm(dim=(1, 2), keepdim=True)).vector()


def _unequal_norms(problem: ulpm.Problem, reference: Tensor, size: int) -> Tensor:
    """The reference with W multiplied and H divided by factors from 1/10 to 10."""
    state, factors = unflat(problem, reference), torch.logspace(-1, 1, size, dtype=torch.float64)[:, None, None]
    return ulpm.State(state.W * factors, state.H / factors).vector()


def _one_row_tilted(problem: ulpm.Problem, reference: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """The reference with one row of W rotated towards a random direction, by angles of up to 90 degrees."""
    state = unflat(problem, reference)
    W = state.W.expand(size, -1, -1).clone()
    rows = torch.arange(size) % problem.num_classes
    row = W[torch.arange(size), rows]
    towards = torch.randn(row.shape, generator=generator, dtype=row.dtype)
    length = row.norm(dim=1, keepdim=True).clamp(min=1e-100)
    towards = towards - (towards * row).sum(1, keepdim=True) / length.square() * row
    towards = towards * length / towards.norm(dim=1, keepdim=True).clamp(min=1e-100)
    angles = torch.linspace(1e-3, math.pi / 2, size, dtype=row.dtype)[:, None]
    W[torch.arange(size), rows] = angles.cos() * row + angles.sin() * towards
    return ulpm.State(W, state.H.expand(size, -1, -1)).vector()


def _seli_of_other_counts(problem: ulpm.Problem, size: int, generator: torch.Generator) -> Tensor:
    """The optimal geometry for other class counts, random from 1 to 100, used for these counts."""
    points = []
    for _ in range(size):
        counts = torch.randint(1, 101, (problem.num_classes,), generator=generator).tolist()
        other = ulpm.Problem(counts, problem.feature_dim)
        state = ulpm.seli_state(other)
        first = torch.tensor([0, *counts[:-1]]).cumsum(0)
        points.append(_balanced(state.W[None], state.H[:, first][:, problem.labels][None]))
    return torch.cat(points)


def _mixtures(reference: Tensor, families: dict[str, Tensor], size: int, generator: torch.Generator) -> Tensor:
    """Convex combinations of the reference with members of all families, and of these with each other."""
    members = torch.cat(list(families.values()))
    if not len(members):
        return reference[None]
    one, other = (members[torch.randint(len(members), (size,), generator=generator)] for _ in range(2))
    weight = torch.rand(size, 1, generator=generator, dtype=reference.dtype)
    return torch.cat([weight * reference + (1 - weight) * one, weight * one + (1 - weight) * other])


def _centring(K: int) -> Tensor:
    """C = I − 11ᵀ/K."""
    return torch.eye(K, dtype=torch.float64) - 1 / K
