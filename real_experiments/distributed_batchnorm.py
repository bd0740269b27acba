"""Batch normalisation with the statistics of the whole batch, of which each process has a share.

torch.nn.SyncBatchNorm does the same on GPUs only. This one uses sums over processes and works on any device.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["DistributedBatchNorm2d", "share_batch_statistics", "sum_over_processes"]


def share_batch_statistics(model: nn.Module) -> nn.Module:
    """Replace every BatchNorm2d in ``model`` by one over all processes; parameters, buffers and names stay.

    Returns: the model, or its replacement if it is a BatchNorm2d itself.
    """
    if type(model) is nn.BatchNorm2d:
        return DistributedBatchNorm2d.like(model)
    for name, child in model.named_children():
        setattr(model, name, share_batch_statistics(child))
    return model


class DistributedBatchNorm2d(nn.BatchNorm2d):
    """In training mode, with sums over the samples and pixels of all processes (n in number), for each channel

        m = Σ x / n,   v = Σ (x − m)²/n,   y = (x − m)/√(v + ε) · weight + bias,

    differentiable through m and v across processes. Running statistics move as in ``nn.BatchNorm2d``, v·n/(n−1) being
    the running variance. A process may have no samples. In evaluation mode it is ``nn.BatchNorm2d``.

    Raises: ValueError if the batch has a single value a channel over all processes.
    """

    @classmethod
    def like(cls, other: nn.BatchNorm2d) -> "DistributedBatchNorm2d":
        """A layer that shares the parameters and buffers of ``other``."""
        new = cls(other.num_features, other.eps, other.momentum, other.affine, other.track_running_stats)
        new.weight, new.bias = other.weight, other.bias
        new.running_mean, new.running_var = other.running_mean, other.running_var
        new.num_batches_tracked = other.num_batches_tracked
        new.training = other.training
        return new

    def forward(self, input: Float[Tensor, "B C height width"]) -> Float[Tensor, "B C height width"]:
        if not self.training:
            return super().forward(input)
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        count = x.numel() // x.shape[1] if len(x) else 0
        sums = sum_over_processes(torch.cat([x.sum((0, 2, 3)), x.new_tensor([count])]))
        n = sums[-1].detach()
        if int(n) < 2:
            raise ValueError("batch normalisation in training needs more than one value a channel: use larger batches.")
        mean = sums[:-1] / n
        centred = x - mean[:, None, None]
        # Not Σ x² − n m², which cancels.
        variance = sum_over_processes(centred.square().sum((0, 2, 3))) / n
        self._track(mean.detach(), variance.detach() * n / (n - 1))
        y = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        # No momentum means the plain average over all batches, as in torch.
        rate = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(variance, rate)


def sum_over_processes(value: Tensor) -> Tensor:
    """Σ over all processes, on each; the gradient is the sum of all processes' gradients."""
    total: Tensor = _SumOverProcesses.apply(value)  # type: ignore[no-untyped-call]
    return total


class _SumOverProcesses(torch.autograd.Function):
    """Every process's loss depends on the sum, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return _all_reduced(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _all_reduced(gradients[0])


def _all_reduced(value: Tensor) -> Tensor:
    total = value.contiguous().clone()
    dist.all_reduce(total)
    return total
