"""By how much the logit of the right class exceeds all others, sample by sample and class by class."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm import _checks
from ulpm.metrics.moments import require_every_class
from ulpm.metrics.tiles import tiles

__all__ = ["class_margins"]

# Products above this have all digits, also of a margin that is much smaller than its logits.
_SMALLEST = 1e-290
_SCALE = "divide W or H by a number, and all margins are divided by it"


def class_margins(
    W: Float[Tensor, "K d"],
    H: Float[Tensor, "d N"],
    labels: Int[Tensor, " N"],
    bias: Float[Tensor, " K"] | None = None,
) -> dict[str, Float[Tensor, ""] | Float[Tensor, " K"] | Float[Tensor, " N"]]:
    """The margins q_i = z_{y_i} − max over j ≠ y_i of z_j, with the logits z = W h_i + bias.

        margin              min over i of q_i
        margin_per_class    min over the samples of each class
        margin_mean         mean over i of q_i
        margins             q_i

    A margin is negative where the prediction is wrong, and grows with the norms of W and H, without a bias in
    proportion to both: compare margins over ‖W‖ ‖H‖. Logits are computed in parts of bounded size.

    Args:
        W: The classifier [K, d], row k is w_k. float32 or float64.
        H: The features [d, N], column i is h_i. float32 or float64.
        labels: The classes y_i [N] in 0 … K−1, in any order.
        bias: b [K], or None.

    Returns:
        A mapping from these keys to float64 tensors in the unit of the logits. They are scalars, but for
        ``margin_per_class`` [K] and ``margins`` [N].

    Raises:
        TypeError: For anything but floating W, H and bias, and integer labels.
        ValueError: For shapes that do not fit, entries that are not finite, a label outside 0 … K−1, fewer than two
            classes, a class without samples, or logits that are too large or too small for float64.

    >>> margins = ulpm.class_margins(torch.eye(2), torch.tensor([[3.0, 1.0], [1.0, 2.0]]), torch.tensor([0, 1]))
    >>> float(margins["margin"]), margins["margin_per_class"].tolist(), margins["margins"].tolist()
    (1.0, [2.0, 1.0], [2.0, 1.0])
    """
    _checks.shape("W", _checks.floating("W", W), None, None)
    _checks.shape("H", _checks.floating("H", H), W.shape[-1], None)
    if W.ndim != 2 or H.ndim != 2 or len(W) < 2:
        raise ValueError(
            f"W and H must have shapes [K ≥ 2, d] and [d, N], but theirs are {list(W.shape)} and {list(H.shape)}."
        )
    _checks.computes_in_float64(H.device)
    labels = _checks.labels("labels", labels, H.shape[1], len(W)).to(H.device)
    require_every_class(labels.bincount(minlength=len(W)).double())
    W, H = W.detach().to(H.device).double(), H.detach().double()
    offset = torch.zeros_like(W[:, 0])
    if bias is not None:
        if _checks.floating("bias", bias).shape != offset.shape:
            raise ValueError(f"bias must have shape [{len(W)}], but its shape is {list(bias.shape)}.")
        offset = bias.detach().to(W)
    _require_numbers(W, H, offset)
    margins = torch.cat([_margins(W, H[:, part], labels[part], offset) for part in tiles(H.shape[1], len(W))])
    if not bool(margins.mean().isfinite()):
        raise ValueError(f"logits W h must be numbers of float64, but they are too large: {_SCALE}.")
    per_class = torch.full_like(offset, torch.inf).scatter_reduce(0, labels, margins, "amin")
    return {
        "margin": margins.min(),
        "margin_per_class": per_class,
        "margin_mean": margins.mean(),
        "margins": margins,
    }


def _require_numbers(W: Tensor, H: Tensor, offset: Tensor) -> None:
    """Raise ValueError if W and H are so small that their products vanish, and with them every margin."""
    if bool(offset.any()):
        return
    sizes = float(W.abs().max()), float(H.abs().max())
    if min(sizes) > 0 and sizes[0] * sizes[1] < _SMALLEST:
        raise ValueError(f"logits W h must be numbers of float64, but they are too small: {_SCALE}.")


def _margins(W: Tensor, H: Tensor, labels: Tensor, offset: Tensor) -> Tensor:
    logits = W @ H + offset[:, None]
    own = logits.gather(0, labels[None])
    margins: Tensor = (own - logits.scatter(0, labels[None], -torch.inf).amax(0))[0]
    return margins
