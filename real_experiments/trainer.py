"""Stochastic gradient descent on one network, one batch at a time, without files."""

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from real_experiments.data import Dataset
from real_experiments.distributed_batchnorm import share_batch_statistics
from real_experiments.losses import summed_loss
from real_experiments.measure import (
    Measurement,
    classifier_sum,
    measure_network,
    measure_unseen,
    with_reestimated_batchnorm,
)
from real_experiments.nc0_law import kept_share
from real_experiments.optimizers import make_optimizer
from real_experiments.recipe import Recipe
from real_experiments.schedule import epoch_batches, steps_per_epoch
from real_experiments.training_checkpoint import restore_training, training_state
from ulpm.support import METRICS, Shard

__all__ = ["Diverged", "FullPrecisionLinear", "Trainer"]

_REESTIMATED, _UNSEEN = "reestimated_", "test_"
_TWICE = ("train_loss", "train_error", "log_loss", "squared_norm", "margin", "normalised_margin")


class Diverged(ValueError):
    """The parameters or what the network computes from them are no longer finite."""


class FullPrecisionLinear(nn.Linear):
    """A Linear that stays outside autocast: Σ_k w_k drifts by 5e-4 of ‖W‖ in bfloat16, by 1e-6 in float32."""

    @classmethod
    def like(cls, other: nn.Linear) -> "FullPrecisionLinear":
        """A layer that shares the parameters of ``other``."""
        new = cls(other.in_features, other.out_features, other.bias is not None, device="meta")
        new.weight, new.bias = other.weight, other.bias
        return new

    def forward(self, input: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch K"]:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


class Trainer:
    """A network, its optimiser, and the number of steps taken.

    Each batch is split over the processes. Batch statistics and gradients are those of the whole batch, so any
    number of processes takes the same steps up to rounding.
    """

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        shard: Shard,
        unseen: Dataset | None = None,
    ) -> None:
        """``dataset`` is the training set. ``unseen`` has more images to measure."""
        self.recipe, self.dataset, self.device, self.shard = recipe, dataset, shard.device, shard
        self.unseen = unseen
        self.model = recipe.build(dataset, self.device)
        self.model.classifier = FullPrecisionLinear.like(self.model.classifier)  # type: ignore[arg-type]
        self.network = self.model
        if shard.count > 1:
            self.model = share_batch_statistics(self.model)
            # Buffers need no broadcast: every process computes the same statistics.
            with warnings.catch_warnings():
                # Later versions of torch have another name for it, which earlier ones lack.
                warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
                self.network = DistributedDataParallel(self.model, broadcast_buffers=False)
        self.loss = recipe.model_loss
        self.optimizer = make_optimizer(recipe, self.model)
        self.steps = 0
        self.steps_per_epoch = steps_per_epoch(len(dataset.images), recipe.batch_size)
        self.initial_classifier_sum = classifier_sum(self.model)
        self._batches: tuple[Tensor, ...] = ()
        # Of this process's share of the epoch under way; sums stay on the device, since reading them waits for it.
        self._seen = 0
        self._summed_loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self._wrong = torch.zeros((), dtype=torch.int64, device=self.device)

    @property
    def epoch(self) -> int:
        """Complete epochs."""
        return self.steps // self.steps_per_epoch

    @property
    def at_end_of_epoch(self) -> bool:
        """Whether no epoch is under way."""
        return self.steps % self.steps_per_epoch == 0

    @property
    def flow_time(self) -> float:
        """Time of the summed-loss gradient flow after these steps, η·steps/((1−β)N); nan for Adam."""
        return self.flow_time_per_step * self.steps

    @property
    def flow_time_per_step(self) -> float:
        """η/((1−β)N): momentum β makes a step η/(1−β) long, and the mean loss slows the flow down by N.

        nan for Adam, whose steps follow no gradient flow.
        """
        if self.recipe.optimizer != "sgd":
            return math.nan
        return self.recipe.learning_rate / ((1 - self.recipe.momentum) * len(self.dataset.images))

    def step(self) -> None:
        """One batch. The gradient is that of the mean loss of the whole batch."""
        batch = self.steps % self.steps_per_epoch
        if batch == 0 or not self._batches:
            self._begin_epoch()
        whole = self._batches[batch]
        indices = whole[self.shard.part(len(whole))].to(self.device)
        images = self.dataset.images[indices].to(self.recipe.torch_dtype, memory_format=self.recipe.memory_format)
        labels = self.dataset.labels[indices]
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            logits = self.network(images)
        loss = summed_loss(self.loss, logits, labels)
        # DistributedDataParallel averages over processes what should be summed.
        torch.autograd.backward(loss * (self.shard.count / len(whole)))
        self.optimizer.step()
        self.steps += 1
        self._seen += len(indices)
        self._summed_loss += loss.detach()
        self._wrong += (logits.detach().argmax(1) != labels).sum()

    def running_loss_and_error(self) -> tuple[float, float]:
        """Mean loss and error of the batches of the latest epoch so far, in training mode; it waits for the device."""
        seen = max(self._seen, 1)
        return float(self._summed_loss) / seen, int(self._wrong) / seen

    def measure(self) -> tuple[dict[str, float], Measurement]:
        """A row of metrics.csv without the epoch, and the measurement with running statistics.

        Raises: Diverged if the training did.
        """
        recipe = self.recipe

        def measured(model: nn.Module) -> Measurement:
            return measure_network(
                model,
                self.dataset,
                recipe.measurement_batch,
                self.initial_classifier_sum,
                self.shard,
                kept_share(recipe, self.steps),
                self.loss,
            )

        if not all(bool(torch.isfinite(value).all()) for value in [*self.model.parameters(), *self.model.buffers()]):
            raise Diverged(f"the training diverged by epoch {self.epoch}: lower --learning-rate.")
        try:
            first = measured(self.model)
        except ValueError as error:  # finite parameters, and features that overflow
            raise Diverged(f"the training diverged by epoch {self.epoch}: lower --learning-rate ({error})") from error
        row = {"flow_time": self.flow_time, **first.values}
        if recipe.reestimate:
            again = with_reestimated_batchnorm(self.model, self.dataset, recipe.measurement_batch, self.shard)
            values = measured(again).values
            row |= {_REESTIMATED + name: value for name, value in values.items() if _measured_twice(name)}
        if self.unseen is not None:
            values = measure_unseen(self.model, self.unseen, recipe.measurement_batch, self.shard, self.loss)
            row |= {_UNSEEN + name: value for name, value in values.items()}
        return row, first

    def state(self) -> dict[str, Tensor]:
        """Every tensor of a checkpoint."""
        return {"initial_classifier_sum": self.initial_classifier_sum, **training_state(self.model, self.optimizer)}

    def restore(self, path: Path, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Go back to ``state()`` after ``steps``. Raises: OSError if it is that of another network."""
        if "initial_classifier_sum" not in tensors:
            raise OSError(f"{path} is the checkpoint of another network: it has no initial_classifier_sum.")
        restore_training(path, self.model, self.optimizer, tensors)
        self.initial_classifier_sum = tensors["initial_classifier_sum"].to(self.device)
        self.steps = steps
        self._batches = ()

    def _begin_epoch(self) -> None:
        # Epochs count from 1, and the order of one resumed in its middle is the order that it began with.
        size = len(self.dataset.images)
        self._batches = epoch_batches(size, self.recipe.batch_size, self.recipe.seed, self.epoch + 1)
        self._seen = 0
        self._summed_loss.zero_()
        self._wrong.zero_()
        self.network.train()


@contextlib.contextmanager
def repeatable_convolutions(tf32: bool) -> Iterator[None]:
    """On a GPU: the same algorithms in every run, and float32 that is float32 unless ``tf32``."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
        yield


def _measured_twice(name: str) -> bool:
    """Quantities that do not depend on batch-norm statistics, such as the classifier's drift, are measured once."""
    return name in _TWICE or name in METRICS
