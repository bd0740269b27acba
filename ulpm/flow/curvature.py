"""Whether a point at which a flow hardly moves is a minimum, or a saddle that it has not left yet."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ulpm.flow.system import FlowSystem

__all__ = ["is_saddle"]

_MOST_PRODUCTS = 200
# Of the largest eigenvalue: rounding of a Lanczos process. Of speed/ρ: away from rest, rotations have a curvature.
_ROUNDING, _TURNING = 1e3, 10.0


def is_saddle(
    system: FlowSystem, y: Float[Tensor, "B D"], size: Float[Tensor, " B"], speed: Float[Tensor, " B"]
) -> Bool[Tensor, " B"]:
    """Whether J, the derivative of the flow, is found to have a positive eigenvalue at points of norm ``size``.

    A part of the state along it grows, however small it is and whatever the rest does. By Lanczos's process from a
    vector that is random with a fixed seed, of at most 200 products with J. It keeps three vectors and shows a lower
    bound of the largest eigenvalue, so that a positive one is proof, and none is not.
    """
    linear = system.linearise(y)
    generator = torch.Generator("cpu").manual_seed(0)
    drawn = torch.randn(1, system.layout.numbers, generator=generator, dtype=torch.float64, device="cpu")
    v = system.layout.own(drawn.to(y)).expand_as(y).contiguous()
    v = v / system.layout.norms(v)[0][:, None]
    before, image, beta = torch.zeros_like(v), torch.empty_like(v), torch.zeros_like(v[:, 0])
    diagonal, beside = [], []
    for _ in range(min(_MOST_PRODUCTS, system.layout.numbers)):
        linear.product(v, image)
        w = torch.addcmul(image, beta[:, None], before, value=-1)
        alpha = system.layout.dot(v, w)
        w.addcmul_(alpha[:, None], v, value=-1)
        beta = system.layout.norms(w)[0]
        diagonal.append(alpha)
        beside.append(beta)
        # Where the space is used up, zeros follow, which add the eigenvalue 0.
        before, v = v, torch.where(beta > 0, 1 / beta, 0.0)[:, None] * w
    a, b = torch.stack(diagonal, 1).double().cpu(), torch.stack(beside, 1).double().cpu()[:, :-1]
    found = torch.linalg.eigvalsh(torch.diag_embed(a) + torch.diag_embed(b, 1) + torch.diag_embed(b, -1))
    rounding = _ROUNDING * torch.finfo(y.dtype).eps * found.abs().amax(1)
    positive: Tensor = found[:, -1] > torch.maximum(rounding, _TURNING * speed / size)
    return positive
