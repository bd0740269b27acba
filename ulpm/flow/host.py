"""The few numbers of a step that the host decides by."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["counted", "on_host", "plus", "quotient", "resolved", "steps_left", "to_host"]


def steps_left(
    before: Float[Tensor, " A"], after: Float[Tensor, " A"], end: Float[Tensor, " A"]
) -> Float[Tensor, " A"]:
    """How many more steps like one from position ``before`` to ``after`` it takes to the ``end``.

    Positions are v = log(1 + q) with q = log(1 + t), or q = log L(0) − log L. Early on, steps add about the same to v.
    Late, steps of one hλ add the same to q, as λ grows in proportion to it: from there, where the end is within 1 of v,
    it takes (e^x − 1)/x times as many, x being the way left.
    """
    done, way = (after - before).numpy(), (end - after).numpy()
    with np.errstate(all="ignore"):
        late = np.minimum(np.maximum(way, 1e-9), 1.0)
        return torch.from_numpy(np.where(done > 0, way / done * (np.expm1(late) / late), np.inf))


def quotient(above: Float[Tensor, " A"], below: Float[Tensor, " A"]) -> Float[Tensor, " A"]:
    """(above/below)², and 0 where nothing is above."""
    numerator = above.numpy()
    with np.errstate(all="ignore"):
        return torch.from_numpy(np.where(numerator > 0, np.square(numerator / below.numpy()), 0.0))


def plus(counts: Mapping[str, int], **more: int) -> dict[str, int]:
    """``counts`` with some raised."""
    return {name: count + more.get(name, 0) for name, count in counts.items()}


def counted(
    counts: Mapping[str, int], accepted: Bool[Tensor, " A"], evaluations: int, products: Float[Tensor, " A"] | None
) -> dict[str, int]:
    """``counts`` with those of an attempted step."""
    good, attempts = int(accepted.sum()), len(accepted)
    return plus(
        counts,
        steps=good,
        rejected_steps=attempts - good,
        field_evaluations=attempts * evaluations,
        jacobian_products=0 if products is None else int(products.sum()),
        loss_evaluations=attempts if products is None else 2 * attempts,
    )


def resolved(size: Float[Tensor, " B"], dtype: torch.dtype) -> Bool[Tensor, " B"]:
    """Whether rounding of margins, at most ερ²/2, is small enough for the residual: 10⁻⁴ in float64, ¼ in float32."""
    epsilon = torch.finfo(dtype).eps
    return (size.square() * epsilon).lt(min(0.25, 6700 * math.sqrt(epsilon)))


def on_host(*vectors: Float[Tensor, " B"]) -> Float[Tensor, "n B"]:
    """Vectors as float64 on the host, by one transfer."""
    return torch.stack(vectors).double().cpu()


def to_host(*vectors: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], ...]:
    """Each of them."""
    return on_host(*vectors).unbind()
