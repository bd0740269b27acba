"""When a replica leaves the explicit method for the stiff one, and when it comes back.

λ is the largest eigenvalue of −J. The explicit pair is stable to hλ = 3.5. Near that limit it no longer follows the
stiff components: they keep whatever size the error test lets pass. The flow would take them to a balance that falls
with time, and certificates measure it. So a replica is handed over early. The explicit method is charged with steps
that are short enough for those components, h = 1/λ; the stiff method with what its last steps took, over the size that
they have reached.
"""

import dataclasses

import numpy as np
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
    errors of driven stiff components may hold the size anywhere between. Not if ``worthwhile`` explicit steps of hλ =
    ``followed`` will do to the end of the run: the first stiff steps are dear, and only later ones pay for them. From
    there on explicit steps are kept that short, as far as λ is known: longer ones leave stiff components unsettled.

    Back when more than ``trial_steps`` stiff ones in a row would each have cost more than explicit steps of hλ =
    ``followed`` over the same s, even with the size of the next; it is not tried again before J is twice as stiff, or
    after some 70 explicit steps of hλ > ``followed``: each lowers what is asked by a share ``forgetting``, as what made
    stiff steps dear may be a passage, such as the escape from a saddle, after which λ takes as long to double as all
    the time before. A product with J counts as ``product_cost`` evaluations.
    """

    limited: float = 1.5
    patience: int = 2
    nearly: int = 10
    worthwhile: float = 50.0
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
        left: Float[Tensor, " A"],
    ) -> None:
        """Look at an attempted step of the replicas in ``c``, all with one method, and move those that should.

        ``products`` are those of a stiff step, None for an explicit one; ``evaluations`` what a step of the explicit
        and of the stiff method takes; ``left`` how many steps like this one there are to the end.
        """
        # In numpy: its small operations take a third of the time of torch's.
        with np.errstate(all="ignore"):
            h, λ, good, to_go = step_size.numpy(), stiffness.numpy(), accepted.numpy(), left.numpy()
            count, floor, size = c.limited_steps.numpy(), c.stiffness_floor.numpy(), c.step_size.numpy()
            if products is None:
                # An estimate that is not finite says nothing.
                reach = np.where(np.isfinite(λ), h * np.where(np.isfinite(λ), λ, 0.0), 0.0)
                limited, nearly = reach > self.limited, reach > min(self.limited, self.followed)
                floor = np.where(good & nearly, (1 - self.forgetting) * floor, floor)
                asked = λ > floor
                others = np.where(good, -self.nearly, 0)
                steps = np.where(limited & asked, self.nearly, np.where(nearly & asked, 1, others))
                count = np.maximum(count + steps, 0)
                # To the end, in steps of hλ = ``followed``.
                way = to_go * np.maximum(reach / self.followed, 1.0)
                moves = good & nearly & asked & (count >= self.patience * self.nearly) & (way > self.worthwhile)
                # After any step, as sizes may grow fivefold; λ may be 0, or not known.
                followed = np.where((way <= self.worthwhile) & (λ > 0), self.followed / λ, np.inf)
                c.step_size = torch.from_numpy(np.minimum(size, np.where(followed > 0, followed, np.inf)))
            else:
                explicit = evaluations[0] * λ / self.followed
                # The first steps are as short as explicit ones; c.step_size is by now that of the next.
                stiff = (evaluations[1] + self.product_cost * products.numpy()) / np.maximum(h, size)
                count = np.where(good, np.where(stiff > explicit, count + 1, 0), count)
                moves = good & (count > self.trial_steps)
                floor = np.where(moves, 2 * λ, floor)
                # An explicit step as long as the stiff one would only be rejected.
                c.step_size = torch.from_numpy(np.where(moves, np.minimum(size, self.limited / λ), size))
        c.limited_steps, c.stiffness_floor = torch.from_numpy(count), torch.from_numpy(floor)
        if not moves.any():
            return
        moved = torch.from_numpy(moves)
        c.stiff = c.stiff ^ moved
        c.limited_steps = torch.where(moved, 0, c.limited_steps)
        # The last step and its error were those of another method.
        c.previous_step_size = torch.where(moved, c.step_size, c.previous_step_size)
        c.previous_ratio = torch.where(moved, 1.0, c.previous_ratio)
