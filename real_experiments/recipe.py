"""All choices that determine a training run: data, network, optimiser, precision, and epochs of measurement."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import nn

import ulpm
from real_experiments.data import Dataset, load_dataset, subset, unseen
from real_experiments.datasets import DATASETS, find_dataset
from real_experiments.datasets.image_set import Split
from real_experiments.losses import ModelLoss
from real_experiments.models import NETWORKS, build_model, find_network
from ulpm.support import checks, parse_class_counts

__all__ = ["Recipe"]

if TYPE_CHECKING:
    NetworkName = str
    DatasetName = str
else:  # The command line offers what the tables have.
    NetworkName = Literal[tuple(NETWORKS)]
    DatasetName = Literal[tuple(DATASETS)]

_FEWEST_CHANNELS_LAST = 8
# Fields that were not there from the first version on: files of recipes that leave them alone are as they were.
_LATER_FIELDS = ("loss", "label_smoothing", "gamma")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """The default is the recipe of Ji et al. (2022): stochastic gradient descent on the mean cross-entropy with a
    constant learning rate of 0.01, momentum 0.3, batches of 128, no weight decay and no augmentation.

    Raises: ValueError or TypeError with one sentence for a number that makes no sense.
    """

    model: NetworkName = "resnet18"
    """Network."""
    width: int = 64
    """Channels of the first stage; 64 is the published network."""
    bias: bool = False
    """Give the last layer a bias."""
    dataset: DatasetName = "fashion-mnist"
    """Data set; fashion-mnist-sample, 1,000 images, is in the package and needs no download."""
    data: Path | None = None
    """Folder with its published files; by default /usr/share/datasets and the cache, which ULPM_CACHE moves."""
    download: bool = True
    """Download the data set into the cache if it is not on this machine."""
    split: Split = "train"
    """Train on this split of the published images. Choose test if only that split is available."""
    subset: int | None = None
    """Train on this number of images, the same number of each class."""
    class_counts: str | None = None
    """Train on these numbers of images of each class: 200x10, or explicit counts such as 500,500,50."""
    subset_seed: int = 0
    """Seed of the choice of images."""
    test_images: int = 0
    """Measure also on this number of unseen images, the same number of each class (columns test_...)."""
    epochs: int = 200
    """Passes over the training set."""
    seed: int = 0
    """Seed of the initial parameters and of the order of samples."""
    loss: Literal["cross-entropy", "focal", "squared-error"] = "cross-entropy"
    """Loss, whose mean over the batch is minimised; squared-error is half the squared distance to the one-hot label."""
    label_smoothing: float = 0.0
    """With cross-entropy: label smoothing, the share of each label that is spread evenly over all classes."""
    gamma: float = 2.0
    """With focal: weigh −log p of a sample by (1 − p)^gamma."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """Optimiser; Adam and AdamW (Adam with decoupled decay) do not conserve Σ_k w_k."""
    learning_rate: float = 0.01
    """Learning rate, constant."""
    momentum: float = 0.3
    """Momentum of sgd."""
    weight_decay: float = 0.0
    """Weight decay of all parameters, biases and those of batch norm among them, which sgd adds to the gradient as
    torch does; with it Σ_k w_k decays."""
    decoupled_decay: bool = False
    """Shrink the parameters of sgd by the factor 1 − ηλ in each step, outside the momentum."""
    batch_size: int = 128
    """Samples in a batch, over all processes. The last batch may be smaller; a single sample joins the one before."""
    dtype: Literal["float32", "float64"] = "float32"
    """Number format of parameters."""
    bf16: bool = False
    """Train in bfloat16 autocast, except for the last layer and the loss. Measurements stay in float32."""
    tf32: bool = False
    """Let a GPU round the inputs of float32 convolutions to 10 bits."""
    channels_last: bool = True
    """Keep the channels of a pixel together in memory, which is faster; not done below a width of 8."""
    reestimate: bool = True
    """Measure a second time with the batch-norm statistics of the training set (columns reestimated_...)."""
    measurement_batch: int = 500
    """Samples in a batch while measuring."""
    measurements_per_doubling: int = 8
    """After the first 20 epochs, each of which is measured: measurements while the epoch doubles."""
    snapshots_per_doubling: int = 2
    """Snapshots of W and H while the epoch doubles; 0 for those at zero training error and at the end only."""

    def __post_init__(self) -> None:
        for name in ("width", "epochs", "batch_size", "measurement_batch"):
            checks.integer(_option(name), getattr(self, name), 1)
        for name in ("measurements_per_doubling", "snapshots_per_doubling", "seed", "subset_seed", "test_images"):
            checks.integer(_option(name), getattr(self, name), 0)
        checks.real("--learning-rate", self.learning_rate, above=0)
        checks.real("--momentum", self.momentum, minimum=0, below=1)
        checks.real("--weight-decay", self.weight_decay, minimum=0)
        self._check_optimizer()
        self._check_loss()
        find_network(self.model)
        find_dataset(self.dataset).require_split(self.split)
        if max(self.seed, self.subset_seed) >= 2**63:
            raise ValueError("--seed and --subset-seed must be below 2^63.")
        if self.bf16 and self.dtype != "float32":
            raise ValueError("--bf16 keeps its parameters in float32: leave out --dtype float64.")
        if self.subset is not None and self.class_counts is not None:
            raise ValueError("--subset and --class-counts both say how many images to take: give one of them.")

    def _check_optimizer(self) -> None:
        """Raise ValueError for an option of another optimiser, which would otherwise be ignored silently."""
        if self.optimizer not in ("sgd", "adam", "adamw"):
            raise ValueError(f"--optimizer must be sgd, adam or adamw, but it is {self.optimizer!r}.")
        if self.optimizer != "sgd":
            if self.momentum != _field_default("momentum"):
                raise ValueError(f"--momentum is an option of sgd, and --optimizer is {self.optimizer}: leave it out.")
            if self.decoupled_decay:
                raise ValueError(
                    f"--decoupled-decay is an option of sgd, and --optimizer is {self.optimizer}: adamw has it always."
                )
        elif self.decoupled_decay and self.weight_decay == 0:
            raise ValueError("--decoupled-decay says how weight decay acts: give a --weight-decay above 0.")

    def _check_loss(self) -> None:
        """Raise ValueError for a number that makes no sense, or is of another loss."""
        if self.loss not in ("cross-entropy", "focal", "squared-error"):
            raise ValueError(f"--loss must be cross-entropy, focal or squared-error, but it is {self.loss!r}.")
        checks.real("--label-smoothing", self.label_smoothing, minimum=0, below=1)
        checks.real("--gamma", self.gamma, minimum=0)
        for name, loss in (("label_smoothing", "cross-entropy"), ("gamma", "focal")):
            if self.loss != loss and getattr(self, name) != _field_default(name):
                raise ValueError(f"{_option(name)} is an option of {loss}, and --loss is {self.loss}: leave it out.")

    @property
    def model_loss(self) -> ModelLoss:
        """The loss as an object of ``ulpm``."""
        if self.loss == "focal":
            return ulpm.Focal(self.gamma)
        return ulpm.SquaredError() if self.loss == "squared-error" else ulpm.CrossEntropy(self.label_smoothing)

    @classmethod
    def of(cls, other: "Recipe") -> "Recipe":
        """The fields of a recipe from an object that has more."""
        return cls(**{name: getattr(other, name) for name in _names()})

    @classmethod
    def from_json(cls, arguments: Mapping[str, Any]) -> "Recipe":
        """Undo ``to_json``. Raises: TypeError or ValueError if that is not possible."""
        data = arguments.get("data")
        recipe = cls(**{**arguments, "data": None if data is None else Path(data)})
        for name, kind in get_type_hints(cls).items():
            if not _is_of_kind(getattr(recipe, name), kind):
                raise TypeError(f"{_option(name)} cannot be {getattr(recipe, name)!r}.")
        return recipe

    def to_json(self) -> dict[str, Any]:
        """Plain values by name; the path is absolute, since a run may be resumed from another folder."""
        values = {name: getattr(self, name) for name in _names()}
        for name in _LATER_FIELDS:
            if values[name] == _field_default(name):
                del values[name]
        return values | {"data": None if self.data is None else str(self.data.resolve())}

    def deviation(self) -> str:
        """In words, how loss, last layer and optimiser differ from gradient descent on cross-entropy without bias and
        weight decay; empty if they do not.
        """
        words = [] if self.loss == "cross-entropy" else [self.loss.replace("-", " ")]
        if self.loss == "focal":
            words[0] += f" loss of γ = {self.gamma:g}"
        if self.label_smoothing:
            words.append(f"label smoothing {self.label_smoothing:g}")
        if self.bias:
            words.append("bias")
        if self.optimizer != "sgd":
            words.append({"adam": "Adam", "adamw": "AdamW"}[self.optimizer])
        if self.weight_decay:
            words.append(("decoupled " if self.decoupled_decay else "") + f"weight decay {self.weight_decay:g}")
        return ", ".join(words)

    def differences(self, other: "Recipe") -> str:
        """The options in which ``other`` would change numbers up to the epoch that both reach; empty if none."""
        mine, others = ({name: getattr(each, name) for name in _names()} for each in (self, other))
        free = {"epochs", "data", "download"}
        names = [name for name in mine if mine[name] != others[name] and name not in free]
        return ", ".join(f"{_option(name)} {mine[name]} (not {others[name]})" for name in names)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The number format of parameters."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    def load_data(self, device: torch.device) -> Dataset:
        """The training set. Raises: OSError or ValueError with one sentence if it cannot be had."""
        dataset = load_dataset(self.dataset, self.data, str(device), self.download, self.split)
        if self.subset is None and self.class_counts is None:
            return dataset
        counts = None if self.class_counts is None else parse_class_counts(self.class_counts)
        return subset(dataset, self.subset, counts, self.subset_seed)

    def load_unseen(self, dataset: Dataset, device: torch.device) -> Dataset | None:
        """The images of ``test_images``, standardised like the training split; ``dataset`` is the training set.

        None without the option. Raises: as ``load_data``; ValueError if there are too few images.
        """
        if self.test_images == 0:
            return None
        where, download = str(device), self.download
        if self.split == "train" and "test" in find_dataset(self.dataset).splits:
            whole = load_dataset(self.dataset, self.data, where, download, "test", standardised_like="train")
            return unseen(whole, [0] * dataset.num_classes, self.test_images, self.subset_seed)
        whole = load_dataset(self.dataset, self.data, where, download, self.split)
        return unseen(whole, dataset.class_counts, self.test_images, self.subset_seed)

    def build(self, dataset: Dataset, device: torch.device) -> nn.Module:
        """The network for ``dataset``, with the parameters that the seed gives on every device."""
        channels = dataset.images.shape[1]
        model = build_model(self.model, dataset.num_classes, channels, self.width, self.bias, self.seed)
        return model.to(device, self.torch_dtype, memory_format=self.memory_format)  # type: ignore[call-overload,no-any-return]

    @property
    def memory_format(self) -> torch.memory_format:
        """The order of numbers in images and convolutions."""
        # On processors with AVX2 alone, torch 2.13 crashes in the backward pass of ResNet18 with fewer channels.
        wide_enough = self.width >= _FEWEST_CHANNELS_LAST
        return torch.channels_last if self.channels_last and wide_enough else torch.contiguous_format


def _field_default(name: str) -> Any:
    return next(field.default for field in dataclasses.fields(Recipe) if field.name == name)


def _is_of_kind(value: object, kind: Any) -> bool:
    """Whether a value is what an annotation of ``Recipe`` asks for; an int is a float, a bool is neither."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(kind, UnionType):
        return any(_is_of_kind(value, each) for each in get_args(kind))
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _names() -> list[str]:
    return [field.name for field in dataclasses.fields(Recipe)]


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
