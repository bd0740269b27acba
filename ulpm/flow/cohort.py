"""The replicas that still run, as a struct of arrays."""

import dataclasses

from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["Cohort"]


@dataclasses.dataclass
class Cohort:
    """The replicas that still run, one row each: everything that a step changes.

    ``stiff`` says which method a replica is with; ``limited_steps`` and ``stiffness_floor`` are the memory of HandOver.
    """

    replicas: Int[Tensor, " A"]
    y: Float[Tensor, "A D"]
    rate: Float[Tensor, "A D"]
    log_loss: Float[Tensor, " A"]
    position: Float[Tensor, " A"]
    step_size: Float[Tensor, " A"]
    previous_ratio: Float[Tensor, " A"]
    next_record: Int[Tensor, " A"]
    stiff: Bool[Tensor, " A"]
    limited_steps: Int[Tensor, " A"]
    stiffness_floor: Float[Tensor, " A"]
    failed: Bool[Tensor, " A"]

    def take(self, rows: Int[Tensor, " S"]) -> "Cohort":
        """A copy of some rows."""
        return Cohort(**{field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(self)})

    def put(self, rows: Int[Tensor, " S"], part: "Cohort") -> None:
        """Write rows back that ``take`` copied."""
        for field in dataclasses.fields(self):
            getattr(self, field.name)[rows] = getattr(part, field.name)

    def keep(self, rows: Bool[Tensor, " A"]) -> None:
        """Drop the replicas whose row is False, so that they cost nothing any more."""
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name)[rows])
