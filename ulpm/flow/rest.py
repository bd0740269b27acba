"""When a flow that has a minimum has come to rest there."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ulpm.flow.cohort import Cohort
from ulpm.flow.curvature import is_saddle
from ulpm.flow.system import FlowSystem

__all__ = ["at_rest", "minima", "nearly_there", "note_rest"]

# A flow has come to rest when so many steps in a row, while s doubles, say that no more than this share of rtol·ρ is
# left of the way. ρ is taken for 0.01 at least, where logits are below 1e-4: the minimum may be 0.
_STILL_STEPS, _LEFT, _SMALL_NORM = 3, 1e-3, 1e-2
# Linear solves err by far less than they may.
_NOISE = 0.1


def at_rest(c: Cohort) -> Bool[Tensor, " A"]:
    """Which replicas seem to have been at rest for long enough."""
    return (c.still_steps >= _STILL_STEPS) & (c.way >= 2 * c.still_since)


def note_rest(
    c: Cohort, accepted: Bool[Tensor, " A"], still: Bool[Tensor, " A"], step_size: Float[Tensor, " A"]
) -> None:
    """Keep in ``c`` for how long replicas have been at rest, after a step that found them ``still`` or not."""
    c.way = torch.where(accepted, c.way + step_size, c.way)
    c.still_steps = torch.where(accepted, torch.where(still, c.still_steps + 1, 0), c.still_steps)
    c.still_since = torch.where(accepted & ~still, c.way, c.still_since)


def nearly_there(
    c: Cohort,
    h: Float[Tensor, " A"],
    size: Float[Tensor, " A"],
    speed: Float[Tensor, " A"],
    moved: Float[Tensor, " A"],
    stiffness: Float[Tensor, " A"],
    rtol: float,
    krylov_share: float,
) -> Bool[Tensor, " A"]:
    """Whether what is left of the way to a critical point is below the tolerance, as it looks after a step.

    Near one, speed falls like e^{−rs}, and ∫ speed ds is speed/r. Where speed is no more than the errors of linear
    solves and rounding make, it need not fall, and what the step ``moved`` by is what is left. A slower part may
    hide behind a faster one; so a replica counts as at rest only once s has doubled since this was last denied.
    """
    epsilon = torch.finfo(c.y.dtype).eps
    falling = speed < c.speed
    rate = torch.where(falling & (speed > 0), (c.speed / speed).log() / h, torch.inf)
    left = torch.where(falling, speed / rate, torch.inf)
    noise = (_NOISE * krylov_share * rtol + 64 * epsilon) * stiffness.nan_to_num(0, 0) * size
    left = torch.where(speed <= noise, torch.minimum(moved, left), left)
    tolerance = max(_LEFT * rtol, 64 * epsilon)
    return left <= tolerance * size.clamp(min=_SMALL_NORM)


def minima(system: FlowSystem, c: Cohort, resting: Bool[Tensor, " A"]) -> Bool[Tensor, " A"]:
    """Which of those that seem to be at rest are at a minimum. For the others s has to double again."""
    rows = resting.nonzero()[:, 0]
    size = c.size[rows].clamp(min=_SMALL_NORM)
    saddle = is_saddle(system, c.y[rows.to(c.y.device)], size, c.speed[rows])
    leaving = torch.zeros_like(resting).index_put_((rows,), saddle)
    c.still_steps = torch.where(leaving, 0, c.still_steps)
    c.still_since = torch.where(leaving, c.way, c.still_since)
    return resting & ~leaving
