"""The losses of ``ulpm``, of a batch of logits, for autograd: summed over the batch."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

import ulpm

__all__ = ["ModelLoss", "summed_loss"]

ModelLoss = ulpm.CrossEntropy | ulpm.Focal | ulpm.SquaredError


def summed_loss(loss: ModelLoss, logits: Float[Tensor, "B K"], labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Σ_i ℓ(z_i, y_i) with the ℓ of ``loss``, as in ``ulpm.Problem``."""
    if isinstance(loss, ulpm.CrossEntropy):
        return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=loss.label_smoothing)
    if isinstance(loss, ulpm.SquaredError):
        targets = F.one_hot(labels, logits.shape[1]).to(logits)
        return (logits - targets).square().sum() / 2
    minus_log_p = F.cross_entropy(logits, labels, reduction="none")
    # 1 − p is exactly 0 once a sample is far on the right side, where x^γ has an infinite slope for γ < 1.
    missing = (-torch.expm1(-minus_log_p)).clamp(min=torch.finfo(logits.dtype).tiny)
    return (missing**loss.gamma * minus_log_p).sum()
