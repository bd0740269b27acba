"""What is solved: the sizes of an unconstrained layer-peeled model, its free variables, and where they may start."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from ulpm import _checks, _memory

__all__ = ["Problem", "State", "checked", "from_features"]


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """The free variables of the model: logits are Z = W H.

    Shapes: classifier ``W`` [..., K, d] (row k is w_k), features ``H`` [..., d, N] with columns sorted by class (labels
    0…0 1…1 …). Leading axes are replicas. float64 or float32, the same for both.

    Raises: TypeError for anything but floating-point tensors, ValueError for NaN, infinity or shapes that do not fit.

    >>> ulpm.State(W=torch.ones(2, 3), H=torch.zeros(3, 4)).squared_norm
    tensor(6.)
    """

    W: Float[Tensor, "*batch K d"]
    H: Float[Tensor, "*batch d N"]

    def __post_init__(self) -> None:
        _checks.shape("W", _checks.floating("W", self.W), None, None)
        _checks.shape("H", _checks.floating("H", self.H), self.W.shape[-1], None)
        if self.W.shape[:-2] != self.H.shape[:-2]:
            raise ValueError(
                f"W and H must have the same leading (replica) axes, "
                f"but these are {list(self.W.shape[:-2])} and {list(self.H.shape[:-2])}."
            )
        if self.W.dtype != self.H.dtype or self.W.device != self.H.device:
            raise ValueError(
                f"W and H must share dtype and device, but W is {self.W.dtype} on {self.W.device} "
                f"and H is {self.H.dtype} on {self.H.device}: convert one with .to(...)."
            )

    @property
    def batch_shape(self) -> torch.Size:
        """The shape of the replica axes; empty for a single state."""
        return self.W.shape[:-2]

    @property
    def squared_norm(self) -> Float[Tensor, "*batch"]:
        """ρ² = ‖W‖_F² + ‖H‖_F²."""
        return self.W.square().sum((-2, -1)) + self.H.square().sum((-2, -1))


@dataclasses.dataclass(frozen=True)
class Problem:
    """An unconstrained layer-peeled model (Ji, Lu, Zhang, Deng, Su, 2022): K classes of n_k free features in R^d.

        L(W, H) = Σ_i [ logsumexp(Z_{:,i}) − Z_{y_i,i} ],   Z = W H   (a sum over the N = Σ n_k samples, not a mean)

    Raises: TypeError if a size is no integer, ValueError for fewer than two classes, an empty class or d < 1.

    >>> problem = ulpm.Problem([50] * 10, feature_dim=64)
    >>> problem.num_samples, problem.balanced
    (500, True)
    >>> round(problem.minimum_norm_value, 6)  # (K − 1)√n
    63.63961
    """

    class_counts: tuple[int, ...]
    feature_dim: int

    def __init__(self, class_counts: Sequence[SupportsIndex], feature_dim: SupportsIndex) -> None:
        if isinstance(class_counts, Tensor):
            _checks.has_numbers("class_counts", class_counts)
        if isinstance(class_counts, np.ndarray | Tensor):
            class_counts = class_counts.tolist()
        if isinstance(class_counts, str) or not isinstance(class_counts, Sequence):
            raise TypeError(
                f"class_counts must be a list of integers such as [50] * 10, but got {_checks.shown(class_counts)}."
            )
        if len(class_counts) < 2:
            raise ValueError(f"a classification problem needs at least 2 classes, but got {len(class_counts)}.")
        counts = tuple(_checks.integer(f"class_counts[{k}]", n, minimum=1) for k, n in enumerate(class_counts))
        object.__setattr__(self, "class_counts", counts)
        object.__setattr__(self, "feature_dim", _checks.integer("feature_dim", feature_dim, minimum=1))

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_counts)

    @property
    def num_samples(self) -> int:
        """N = Σ n_k."""
        return sum(self.class_counts)

    @property
    def balanced(self) -> bool:
        """Whether every class has the same number of samples."""
        return len(set(self.class_counts)) == 1

    @property
    def separable(self) -> bool:
        """Whether some W, H give every sample a positive margin, without which the loss stays away from 0.

        In one dimension w_k h is the largest of all w_j h only if w_k is the largest or the smallest of the w_j, which
        two classes can be. In two or more, w_k = h_k = K different unit vectors separate any number of classes.
        """
        return self.feature_dim > 1 or self.num_classes == 2

    @property
    def smallest_loss(self) -> float:
        """A bound that no loss is below: 0 if the classes are separable.

        Else log 2 for each sample of the K − 2 smallest classes: a sample that another class ties or beats has that.
        """
        return 0.0 if self.separable else math.log(2) * sum(sorted(self.class_counts)[:-2])

    @functools.cached_property
    def labels(self) -> Int[Tensor, " N"]:
        """y = 0…0 1…1 …, the class of each column of H."""
        # Ordinary tensors, whatever is switched on where they are first needed.
        with torch.inference_mode(False):
            counts = torch.tensor(self.class_counts, dtype=torch.int64, device="cpu")
            return torch.repeat_interleave(torch.arange(self.num_classes, device="cpu"), counts)

    @functools.cached_property
    def minimum_norm_value(self) -> float:
        """v* = min ½(‖W‖² + ‖H‖²) over margins ≥ 1: ‖(I − 11ᵀ/K) diag(√n_k)‖_*, which is (K−1)√n when balanced.

        Closed form for d ≥ K − 1 (Thrampoulidis, Kini, Vakilian, Behnia, 2022, for unequal counts). For d < K − 1 the
        optimum cannot be realised in d dimensions and its value is not known in closed form: nan.
        """
        if self.feature_dim < self.num_classes - 1:
            return math.nan
        k = self.num_classes
        logits = (np.eye(k) - np.full((k, k), 1 / k)) * np.sqrt(self.class_counts)
        return float(np.linalg.svd(logits, compute_uv=False).sum())

    def check(self, state: State) -> State:
        """Return ``state`` if its shapes are those of this problem.

        Raises: TypeError if it is no State, ValueError if the shapes differ or its norm overflows.
        """
        if not isinstance(state, State):
            raise TypeError(f"state must be an ulpm.State, but a {type(state).__name__} was given.")
        _checks.shape("W", state.W, self.num_classes, self.feature_dim)
        _checks.shape("H", state.H, self.feature_dim, self.num_samples)
        # |Z| ≤ ρ²/2.
        if not bool(torch.isfinite(state.squared_norm).all()):
            raise ValueError("the state is so large that its logits or its norm overflow: scale it down.")
        return state

    def random_state(
        self,
        seed: SupportsIndex = 0,
        scale: float = 1.0,
        replicas: SupportsIndex | None = None,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> State:
        """Independent entries N(0, scale²/d), so that ‖w_k‖ ≈ ‖h_i‖ ≈ ``scale``.

        ``replicas=B`` adds a leading axis of B different starts. The numbers are drawn in float64 on the CPU and then
        converted, so that a seed means the same start on every device and, up to rounding, in every precision.

        Raises: TypeError or ValueError for a size, scale, dtype or device that makes no sense.
        """
        size = _checks.real("scale", scale, above=0)
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype must be torch.float64 or torch.float32, but {dtype} was given.")
        batch = () if replicas is None else (_checks.integer("replicas", replicas, minimum=1),)
        where = _checks.device(str(device))
        seed_number = _checks.integer("seed", seed, minimum=0)
        if seed_number >= 2**63:
            raise ValueError(f"seed must be below 2^63, but {_checks.shown(seed_number)} was given.")
        generator = torch.Generator("cpu").manual_seed(seed_number)
        spread = size / math.sqrt(self.feature_dim)

        numbers = math.prod(batch) * (self.num_classes + self.num_samples) * self.feature_dim
        _memory.require(numbers * (8 if dtype == torch.float64 else 12), "a start of this size")

        def draw(*shape: int) -> Tensor:
            drawn = torch.randn(*batch, *shape, generator=generator, dtype=torch.float64, device="cpu")
            return drawn.mul_(spread).to(where, dtype)

        return State(draw(self.num_classes, self.feature_dim), draw(self.feature_dim, self.num_samples))


def checked(problem: object) -> Problem:
    """Return ``problem`` if it is one. Raises: TypeError with one sentence otherwise."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be an ulpm.Problem, but a {type(problem).__name__} was given.")
    return problem


def from_features(
    features: Float[Tensor, "N d"],
    labels: Integer[Tensor, " N"],
    classifier: Float[Tensor, "K d"] | None = None,
    seed: SupportsIndex = 0,
) -> tuple[Problem, State]:
    """The model whose free features start at given ones: images, or the last-layer features of a network.

    Shapes: ``features`` [N, d], a row a sample, in any order; ``labels`` [N] in 0 … K−1; ``classifier`` [K, d]. Without
    a classifier one is drawn with entries N(0, s²/d), s² = mean ‖h_i‖², so that its rows are as long as the features.
    Columns of the state are sorted by class and keep their order within a class. The features' dtype is kept.

    Raises: TypeError or ValueError for wrong types, shapes, NaN, a class without samples or features that are all 0.

    >>> problem, state = ulpm.from_features(torch.eye(3), torch.tensor([1, 0, 1]))
    >>> problem.class_counts
    (1, 2)
    >>> state.H
    tensor([[0., 1., 0.],
            [1., 0., 0.],
            [0., 0., 1.]])
    """
    features = _checks.shape("features", _checks.floating("features", features), None, None)
    if features.ndim != 2:
        raise ValueError(f"features must have shape [N, d], but it is {list(features.shape)}: flatten each sample.")
    num_samples, feature_dim = features.shape
    if classifier is not None:
        classifier = _checks.shape("classifier", _checks.floating("classifier", classifier), None, feature_dim)
        if classifier.ndim != 2:
            raise ValueError(f"classifier must have shape [K, {feature_dim}], but it is {list(classifier.shape)}.")
    # With more classes than samples one would be empty: N is a bound of K that no honest labels exceed.
    bound = num_samples if classifier is None else classifier.shape[-2]
    labels = _checks.labels("labels", labels, num_samples, bound)
    num_classes = int(labels.max()) + 1 if classifier is None else bound
    counts = torch.bincount(labels, minlength=num_classes).tolist()
    if num_samples and counts[0] == 0 and all(counts[1:]):
        raise ValueError(
            "class 0 has no samples, but all others have: renumber the labels from 0 if they count from 1."
        )
    if 0 in counts:
        raise ValueError(f"class {counts.index(0)} has no samples: drop its classifier row or renumber the labels.")
    problem = Problem(counts, feature_dim)
    if classifier is None:
        size = float(features.detach().double().square().sum(1).mean().sqrt())
        if size == 0:
            raise ValueError("the features are all 0, so that no classifier of their size can be drawn: give one.")
        classifier = problem.random_state(seed=seed, scale=size, device=str(features.device)).W
    order = torch.argsort(labels, stable=True)
    H = features.index_select(0, order.to(features.device)).T.contiguous()
    return problem, State(classifier.to(H), H)
