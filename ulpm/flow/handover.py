"""When a replica leaves the explicit method for the stiff one, and when it comes back.

λ is the largest eigenvalue of −J. The explicit pair is stable to hλ = 3.5. Near that limit it no longer follows the
stiff components: they keep whatever size the error test lets pass. The flow would take them to a balance that falls
with time, and certificates measure it. So a replica is handed over early. The explicit method is charged with steps
that are short enough for those components, h = 1/λ; the stiff method with what its last steps took, over the size that
they have reached.
"""

import dataclasses

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ulpm.flow.cohort import Cohort

__all__ = ["HandOver"]


@dataclasses.dataclass(frozen=True)
class HandOver:
    """Moves replicas between the methods by what a unit of s costs with each; evaluations are those of one step.

    To the stiff method after a step of hλ > ``limited``, once such attempts, accepted or not, are ahead of other steps
    by ``patience``, counted from when they were last behind: sizes may go round in circles at the limit of stability,
    some short and some rejected. A step of hλ > ``followed`` only counts as 1/``nearly`` of one that is limited: the
    errors of driven stiff components may hold the size anywhere between. Back when more than ``trial_steps`` stiff ones
    in a row would each have cost more than explicit steps of hλ = ``followed`` over the same s, even with the size of
    the next; it is not tried again before J is twice as stiff, or after some 70 explicit steps of hλ > ``followed``:
    each lowers what is asked by a share ``forgetting``, as what made stiff steps dear may be a passage, such as the
    escape from a saddle, after which λ takes as long to double as all the time before. A product with J counts as
    ``product_cost`` evaluations.
    """

    limited: float = 1.5
    patience: int = 2
    nearly: int = 10
    trial_steps: int = 3
    followed: float = 1.0
    product_cost: float = 1.5
    forgetting: float = 0.01

    def __call__(
        self,
        c: Cohort,
        accepted: Bool[Tensor, " A"],
        step_size: Float[Tensor, " A"],
        stiffness: Float[Tensor, " A"],
        products: Float[Tensor, " A"] | None,
        evaluations: tuple[int, int],
    ) -> None:
        """Look at an attempted step of the replicas in ``c``, all with one method, and move those that should.

        ``products`` are those of a stiff step, None for an explicit one; ``evaluations`` what a step of the explicit
        and of the stiff method takes.
        """
        if products is None:
            # An estimate that is not finite says nothing.
            reach = torch.where(torch.isfinite(stiffness), step_size * stiffness, 0.0)
            limited, nearly = reach > self.limited, reach > min(self.limited, self.followed)
            c.stiffness_floor = torch.where(
                accepted & nearly, (1 - self.forgetting) * c.stiffness_floor, c.stiffness_floor
            )
            asked = stiffness > c.stiffness_floor
            others = torch.where(accepted, -self.nearly, 0)
            steps = torch.where(limited & asked, self.nearly, torch.where(nearly & asked, 1, others))
            c.limited_steps = (c.limited_steps + steps).clamp(min=0)
            moves = accepted & nearly & asked & (c.limited_steps >= self.patience * self.nearly)
        else:
            explicit = evaluations[0] * stiffness / self.followed
            # The first steps are as short as explicit ones; c.step_size is by now that of the next.
            longer = torch.maximum(step_size, c.step_size)
            stiff = (evaluations[1] + self.product_cost * products) / longer
            c.limited_steps = torch.where(
                accepted, torch.where(stiff > explicit, c.limited_steps + 1, 0), c.limited_steps
            )
            moves = accepted & (c.limited_steps > self.trial_steps)
            c.stiffness_floor = torch.where(moves, 2 * stiffness, c.stiffness_floor)
            # An explicit step as long as the stiff one would only be rejected.
            c.step_size = torch.where(moves, torch.minimum(c.step_size, self.limited / stiffness), c.step_size)
        if not bool(moves.any()):
            return
        c.stiff = c.stiff ^ moves
        c.limited_steps = torch.where(moves, 0, c.limited_steps)
        # The last step and its error were those of another method.
        c.previous_step_size = torch.where(moves, c.step_size, c.previous_step_size)
        c.previous_ratio = torch.where(moves, 1.0, c.previous_ratio)
