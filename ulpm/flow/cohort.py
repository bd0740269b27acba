"""The replicas that still run, as a struct of arrays."""

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["Cohort", "largest_cohort"]


# So few that what a step works on stays in the caches of a CPU, and so many that calls cost little beside what they
# do: within 5% of the fastest of 2^15 … 2^25 at K=4 n=5 d=20 and at K=10 n=50 d=64.
_NUMBERS_UNDER_WAY = 2**18


def largest_cohort(replicas: int, numbers: int, device: torch.device) -> int:
    """How many of ``replicas`` states, of so many ``numbers`` each, to have under way at once."""
    return replicas if device.type != "cpu" else min(replicas, max(1, _NUMBERS_UNDER_WAY // numbers))


@dataclasses.dataclass(slots=True)
class Cohort:
    """The replicas that still run, one row each: everything that a step changes.

    The state ``y`` and its ``rate`` are on the device. All else is on the host, in float64, so that decisions about a
    step wait for the device once: ``size`` is ρ = ‖y‖, ``speed`` ‖rate‖ = ‖∇ log L‖ and ``clock`` T = t·L. ``stiff``
    says which method a replica is with; ``limited_steps`` and ``stiffness_floor`` are the memory of HandOver.
    ``still_steps`` counts steps in a row after which hardly anything was left of the way to a minimum, from
    ``still_since`` on the ``way`` in s.
    """

    replicas: Int[Tensor, " A"]
    y: Float[Tensor, "A D"]
    rate: Float[Tensor, "A D"]
    size: Float[Tensor, " A"]
    speed: Float[Tensor, " A"]
    log_loss: Float[Tensor, " A"]
    clock: Float[Tensor, " A"]
    position: Float[Tensor, " A"]
    step_size: Float[Tensor, " A"]
    previous_step_size: Float[Tensor, " A"]
    previous_ratio: Float[Tensor, " A"]
    next_record: Int[Tensor, " A"]
    stiff: Bool[Tensor, " A"]
    limited_steps: Int[Tensor, " A"]
    stiffness_floor: Float[Tensor, " A"]
    failed: Bool[Tensor, " A"]
    still_steps: Int[Tensor, " A"]
    still_since: Float[Tensor, " A"]
    way: Float[Tensor, " A"]

    def take(self, rows: Int[Tensor, " S"]) -> "Cohort":
        """A copy of some rows."""
        return Cohort(**{name: getattr(self, name)[rows] for name in _FIELDS})

    def put(self, rows: Int[Tensor, " S"], part: "Cohort") -> None:
        """Write rows back that ``take`` copied."""
        for name in _FIELDS:
            getattr(self, name)[rows] = getattr(part, name)

    def join(self, other: "Cohort") -> "Cohort":
        """A new cohort of these rows and those of another."""
        return Cohort(**{name: torch.cat([getattr(self, name), getattr(other, name)]) for name in _FIELDS})

    def move(
        self,
        accepted: Bool[Tensor, " A"],
        y: Float[Tensor, "A D"],
        rate: Float[Tensor, "A D"],
        known: dict[str, Tensor],
    ) -> None:
        """Take the accepted replicas to (y, rate), and to what is ``known`` there by the names of the fields.

        ``y`` itself may become the state; ``rate`` is copied.
        """
        if bool(accepted.all()):
            self.y = y
            self.rate.copy_(rate)
            for name, value in known.items():
                setattr(self, name, value)
        elif bool(accepted.any()):
            rows = accepted.to(y.device)[:, None]
            self.y = torch.where(rows, y, self.y)
            self.rate = torch.where(rows, rate, self.rate)
            for name, value in known.items():
                setattr(self, name, torch.where(accepted, value, getattr(self, name)))

    def keep(self, rows: Bool[Tensor, " A"]) -> None:
        """Drop the replicas whose row is False, so that they cost nothing any more."""
        for name in _FIELDS:
            setattr(self, name, getattr(self, name)[rows])


_FIELDS = tuple(field.name for field in dataclasses.fields(Cohort))
