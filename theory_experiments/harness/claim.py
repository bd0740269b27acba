"""A claim: a measured number, a bound, and the reason for the bound."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["Claim", "Comparator"]

Comparator = Literal["<=", ">="]


@dataclasses.dataclass(frozen=True)
class Claim:
    """measured ≤ bound, or measured ≥ bound.

    ``statement`` names the quantity, its units, and the range of the worst case. ``reason`` says where the bound comes
    from: a tolerance, a theorem or the size of a correction, never the measured value.

    Raises: ValueError for another comparator, a bound that is not finite, or a missing statement or reason.
    """

    statement: str
    measured: float
    comparator: Comparator
    bound: float
    reason: str

    def __post_init__(self) -> None:
        if self.comparator not in ("<=", ">="):
            raise ValueError(f'a claim compares by "<=" or ">=", but {self.comparator!r} was given.')
        if not math.isfinite(self.bound):
            raise ValueError(f"the bound of a claim must be finite, but {self.bound!r} was given.")
        if not self.statement.strip() or not self.reason.strip():
            raise ValueError("a claim needs a statement and a reason for its bound, but one of them is empty.")

    @property
    def holds(self) -> bool:
        """Whether the measured value satisfies the bound; nan never does."""
        # Comparisons with nan are false.
        return self.measured <= self.bound if self.comparator == "<=" else self.measured >= self.bound

    def to_json(self) -> dict[str, Any]:
        """The fields and ``holds``; a measured value that is not finite is a string, as JSON has no such number."""
        measured = self.measured if math.isfinite(self.measured) else str(self.measured)
        return {**dataclasses.asdict(self), "measured": measured, "holds": self.holds}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Claim":
        """The claim that ``to_json`` wrote. Other entries are ignored, and ``holds`` is computed again."""
        values = {field.name: entry[field.name] for field in dataclasses.fields(cls)}
        return cls(**{**values, "measured": float(values["measured"])})
