"""The schedule of a training run: the samples of each batch, and the epochs of measurements."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["epoch_batches", "log_spaced_epochs", "measured_epochs", "snapshot_epochs", "steps_per_epoch"]

_EACH_EPOCH_UNTIL = 20


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """The number of batches of an epoch, the last and smaller one included; see ``epoch_batches``."""
    return len(_boundaries(num_samples, batch_size)) + 1


def epoch_batches(num_samples: int, batch_size: int, seed: int, epoch: int) -> tuple[Int[Tensor, " B"], ...]:
    """The sample indices of each batch of an epoch: every sample once, in an order that only (seed, epoch) determines.

    The last batch may be smaller, with one exception: a single remaining sample joins the batch before it, since one
    sample has no batch statistics (its variance is 0 where a map is one pixel wide).
    With ``batch_size=1`` every batch is a single sample, as asked.
    """
    order = torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(num_samples))
    return order.tensor_split(_boundaries(num_samples, batch_size))


def measured_epochs(epochs: int, per_doubling: int = 8) -> list[int]:
    """Each of the first 20 epochs, then ``per_doubling`` of them whenever the epoch doubles, and the last."""
    return sorted({*range(1, min(_EACH_EPOCH_UNTIL, epochs) + 1), *log_spaced_epochs(epochs, per_doubling), epochs})


def snapshot_epochs(epochs: int, per_doubling: int = 2) -> list[int]:
    """``per_doubling`` epochs whenever the epoch doubles, and the last."""
    return sorted({*log_spaced_epochs(epochs, per_doubling), epochs})


def log_spaced_epochs(epochs: int, per_doubling: int) -> list[int]:
    """Epochs from 1 to ``epochs``, ``per_doubling`` of them whenever the epoch doubles; none if that is 0.

    From 16 on 2e is among them if e is. Those of a divisor of ``per_doubling`` are among those of ``per_doubling``.
    """
    if per_doubling == 0:
        return []
    exponents = range(per_doubling * epochs.bit_length() + 1)
    return sorted({e for j in exponents if (e := _rounded_power(j, per_doubling)) <= epochs})


def _rounded_power(j: int, per_doubling: int) -> int:
    """2^(j/per_doubling), rounded between 16 and 32 and doubled from there on."""
    doublings = max(j // per_doubling - 4, 0)
    return round(2 ** (j / per_doubling - doublings)) << doublings


def _boundaries(num_samples: int, batch_size: int) -> list[int]:
    """Where one batch ends and the next begins."""
    inner = list(range(batch_size, num_samples, batch_size))
    single_left_over = bool(inner) and batch_size > 1 and num_samples - inner[-1] == 1
    return inner[:-1] if single_left_over else inner
