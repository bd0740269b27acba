"""What is solved: the sizes of a model, its loss, what is paid for norms, and where its free variables may start."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, SupportsIndex

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from ulpm import _checks, _memory
from ulpm.losses import CrossEntropy, LogitLoss, loss_from_record
from ulpm.state import State

__all__ = ["Problem", "checked", "from_features", "typical_length"]

Reduction = Literal["sum", "mean"]

_LEAST_DECAY = 1e-100


@dataclasses.dataclass(frozen=True)
class Problem:
    """A model with K classes of n_k free features in R^d: what is minimised over W, H and, with a ``bias``, b.

        Φ(W, H, b) = L(Z) + ½λ_W‖W‖² + ½λ_H‖H‖²,   Z = W H + b 1ᵀ,   L = Σ_i ℓ(z_i, y_i) or, as "mean", (1/N) Σ_i ℓ

    By default it is the unconstrained layer-peeled model (Ji, Lu, Zhang, Deng, Su, 2022), the sum over the N = Σ n_k
    samples of logsumexp(Z_{:,i}) − Z_{y_i,i}, with neither decay nor bias.

    Args:
        class_counts: The numbers n_k of samples of the K ≥ 2 classes, each at least 1.
        feature_dim: The dimension d ≥ 1 of the features.
        loss: ``ulpm.CrossEntropy()``, the default, ``ulpm.Focal()`` or ``ulpm.SquaredError()``.
        weight_decay: (λ_W, λ_H), each 0 or between 1e-100 and 1e100.
        bias: Whether the logits are W H + b 1ᵀ. The bias is not decayed.
        reduction: "sum" over samples, or "mean", which divides the loss by N and leaves the decay as it is.

    Raises:
        TypeError: If a size is no integer or the loss is no loss.
        ValueError: If a number is out of its range.

    >>> problem = ulpm.Problem([50] * 10, feature_dim=64)
    >>> problem.num_samples, problem.balanced
    (500, True)
    >>> round(problem.minimum_norm_value, 6)  # (K − 1)√n
    63.63961
    >>> decayed = ulpm.Problem([50] * 10, feature_dim=64, weight_decay=(5e-4, 1e-5), reduction="mean")
    >>> decayed.attained
    True
    """

    class_counts: tuple[int, ...]
    feature_dim: int
    loss: LogitLoss
    weight_decay: tuple[float, float]
    bias: bool
    reduction: Reduction

    def __init__(
        self,
        class_counts: Sequence[SupportsIndex],
        feature_dim: SupportsIndex,
        loss: LogitLoss | None = None,
        weight_decay: Sequence[float] = (0.0, 0.0),
        bias: bool = False,
        reduction: Reduction = "sum",
    ) -> None:
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
        loss = CrossEntropy() if loss is None else loss
        if not isinstance(loss, LogitLoss):
            raise TypeError(
                f"loss must be a loss such as ulpm.CrossEntropy() or ulpm.SquaredError(), but {_checks.shown(loss)} "
                "was given."
            )
        object.__setattr__(self, "loss", loss)
        object.__setattr__(self, "weight_decay", _decay(weight_decay))
        if not isinstance(bias, bool | np.bool_):
            raise TypeError(f"bias must be True or False, but {_checks.shown(bias)} was given.")
        object.__setattr__(self, "bias", bool(bias))
        if not isinstance(reduction, str) or reduction not in ("sum", "mean"):
            raise ValueError(f"reduction must be 'sum' or 'mean', but {_checks.shown(reduction)} was given.")
        object.__setattr__(self, "reduction", reduction)

    @property
    def decayed(self) -> bool:
        """Whether anything is paid for norms."""
        return max(self.weight_decay) > 0

    @property
    def attained(self) -> bool:
        """Whether some finite state minimises Φ, so that a flow comes to rest.

        With both decays positive, or a loss that finite logits minimise. Else, as for plain cross-entropy, Φ tends to
        its infimum while norms grow without bound. (With one decay alone they grow, too: what one factor loses the
        other gains.)
        """
        return min(self.weight_decay) > 0 or (self.loss.attained and not self.decayed)

    @property
    def has_margins(self) -> bool:
        """Whether the flow is one of margins that grow for ever: its limit direction is that of the margin problem."""
        return not self.decayed and self.loss.tail is not None

    @property
    def samples_per_unit(self) -> float:
        """What the summed loss is divided by: 1, or N for the mean."""
        return 1.0 if self.reduction == "sum" else float(self.num_samples)

    @property
    def model(self) -> str:
        """What is minimised in words, as in "focal (gamma 2), decay 0.005, 0.001, bias"; "" for the default."""
        if not self.record().keys() - {"class_counts", "feature_dim"}:
            return ""
        numbers = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in vars(self.loss).items() if value)
        words = [self.loss.name + (f" ({numbers})" if numbers else "")]
        words += ["decay {:g}, {:g}".format(*self.weight_decay)] if self.decayed else []
        return ", ".join(words + ["bias"] * self.bias + ["mean"] * (self.reduction == "mean"))

    def record(self) -> dict[str, Any]:
        """The problem as JSON can hold it; what is as by default is left out."""
        record: dict[str, Any] = {"class_counts": self.class_counts, "feature_dim": self.feature_dim}
        if self.loss != CrossEntropy():
            record["loss"] = self.loss.record()
        if self.decayed:
            record["weight_decay"] = self.weight_decay
        if self.bias:
            record["bias"] = True
        if self.reduction != "sum":
            record["reduction"] = self.reduction
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Problem":
        """The problem that ``record`` wrote, among whatever else. Raises: KeyError, TypeError or ValueError if none."""
        given = {name: record[name] for name in ("weight_decay", "bias", "reduction") if name in record}
        loss = loss_from_record(record["loss"]) if "loss" in record else None
        return cls(record["class_counts"], record["feature_dim"], loss, **given)

    @property
    def num_classes(self) -> int:
        """The number K of classes."""
        return len(self.class_counts)

    @property
    def num_samples(self) -> int:
        """The number N = Σ n_k of samples."""
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

        Else, for plain cross-entropy without bias, log 2 for each sample of the K − 2 smallest classes: a sample that
        another class ties or beats has that. Where finite logits minimise the loss, what they have.
        """
        per_sample = self.loss.least(self.num_classes)
        if per_sample == 0 and not (self.separable or self.bias) and self.loss == CrossEntropy():
            return math.log(2) * sum(sorted(self.class_counts)[:-2]) / self.samples_per_unit
        return per_sample * self.num_samples / self.samples_per_unit

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
        optimum cannot be realised in d dimensions and its value is not known in closed form: nan. So it is where
        margins do not grow for ever, as with decay, and the margin problem says nothing.
        """
        if self.feature_dim < self.num_classes - 1 or not self.has_margins:
            return math.nan
        k = self.num_classes
        logits = (np.eye(k) - np.full((k, k), 1 / k)) * np.sqrt(self.class_counts)
        return float(np.linalg.svd(logits, compute_uv=False).sum())

    def check(self, state: State) -> State:
        """Return ``state`` if its shapes are those of this problem.

        Raises:
            TypeError: If it is no State.
            ValueError: If the shapes differ or its norm overflows.
        """
        if not isinstance(state, State):
            raise TypeError(f"state must be an ulpm.State, but a {type(state).__name__} was given.")
        _checks.shape("W", state.W, self.num_classes, self.feature_dim)
        _checks.shape("H", state.H, self.feature_dim, self.num_samples)
        if (state.b is not None) != self.bias:
            raise ValueError(
                "the problem has a bias, but the state has no b: give State(W, H, b)."
                if self.bias
                else "the state has a bias b, but the problem has none: give Problem(..., bias=True)."
            )
        # |WH| ≤ ρ²/2.
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
        """Independent entries N(0, scale²/d), so that ‖w_k‖ ≈ ‖h_i‖ ≈ ``scale``; a bias starts at 0.

        The numbers are drawn in float64 on the CPU and then converted. A seed means the same start on every device and,
        up to rounding, in every precision.

        Args:
            seed: Of the generator, from 0 to 2^63 − 1.
            scale: The typical length of a row of W and of a column of H.
            replicas: B different starts along a leading axis.
            dtype: torch.float64 or torch.float32.
            device: Where the state is put.

        Raises:
            TypeError: If an argument is of another type.
            ValueError: If a number is out of its range, or the device is not there.
        """
        size = _checks.real("scale", scale, above=0)
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype must be torch.float64 or torch.float32, but {_checks.shown(dtype)} was given.")
        batch = () if replicas is None else (_checks.integer("replicas", replicas, minimum=1),)
        where = _checks.device(str(device), dtype)
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

        W, H = draw(self.num_classes, self.feature_dim), draw(self.feature_dim, self.num_samples)
        return State(W, H, W.new_zeros(W.shape[:-1]) if self.bias else None)


def _decay(given: object) -> tuple[float, float]:
    if isinstance(given, Tensor):
        _checks.has_numbers("weight_decay", given)
    if isinstance(given, Tensor | np.ndarray):
        given = given.tolist()
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 2:
        raise TypeError(f"weight_decay must be two numbers, (λ_W, λ_H), but {_checks.shown(given)} was given.")
    λ_W, λ_H = (_one_decay(f"weight_decay[{i}]", number) for i, number in enumerate(given))
    return λ_W, λ_H


def _one_decay(name: str, given: object) -> float:
    """0, or a number whose products and ratios with another such one are far from overflow and underflow."""
    decay = _checks.real(name, given, minimum=0, below=1 / _LEAST_DECAY)
    if 0 < decay < _LEAST_DECAY:
        raise ValueError(f"{name} must be 0 or at least {_LEAST_DECAY:g}, but {_checks.shown(given)} was given.")
    return decay


def checked(problem: object) -> Problem:
    """Return ``problem`` if it is one. Raises: TypeError with one sentence otherwise."""
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be an ulpm.Problem, but a {type(problem).__name__} was given.")
    return problem


def typical_length(features: Float[Tensor, "N d"]) -> float:
    """√(mean ‖h_i‖²), in float64 and for features of any size."""
    h = features.detach().cpu().double()
    largest = float(h.abs().max())
    # A power of two, which changes no digit: squares may over- or underflow.
    unit = 2.0 ** min(max(math.frexp(largest)[1], -1000), 1000)
    return float((h / unit).square().sum(1).mean().sqrt()) * unit


def from_features(
    features: Float[Tensor, "N d"],
    labels: Integer[Tensor, " N"],
    classifier: Float[Tensor, "K d"] | None = None,
    seed: SupportsIndex = 0,
) -> tuple[Problem, State]:
    """The model whose free features start at given ones: images, or the last-layer features of a network.

    Args:
        features: h_i as rows [N, d], in any order. Their dtype is kept.
        labels: y_i [N] in 0 … K−1.
        classifier: w_k as rows [K, d]. By default its entries are drawn from N(0, s²/d) with s² = mean ‖h_i‖², so that
            its rows are as long as the features.
        seed: The seed of that draw.

    Returns:
        The problem, and the state with its columns sorted by class. Within a class they keep their order.

    Raises:
        TypeError: If something is no tensor of the right kind.
        ValueError: For wrong shapes, NaN, a class without samples, or features that are all 0.

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
        size = typical_length(features)
        if size == 0:
            raise ValueError("the features are all 0, so that no classifier of their size can be drawn: give one.")
        classifier = problem.random_state(seed=seed, scale=size).W
    order = torch.argsort(labels, stable=True)
    H = features.index_select(0, order.to(features.device)).T.contiguous()
    return problem, State(classifier.to(H), H)
