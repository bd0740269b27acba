"""All that evolves in a run, as one value: it is stepped, divided among processes, put together, saved and loaded."""

import dataclasses
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm.flow.cohort import Cohort
from ulpm.flow.milestones import Milestones
from ulpm.recorder import Records
from ulpm.trajectory import Status

__all__ = ["COUNTS", "FlowState"]

COUNTS = ("attempts", "steps", "rejected_steps", "field_evaluations", "jacobian_products", "loss_evaluations")
_STATUSES = list(Status)


@dataclasses.dataclass(frozen=True)
class FlowState:
    """A run between two steps.

    Replicas are in the ``cohort`` that is under way, or ``waiting`` for room in it, or have ended: then ``final``
    [B, D] and ``codes`` [B], the number of their Status, say where and why. ``milestones`` and ``records`` are of all
    replicas; ``counts`` are totals.

    A step makes a new state and uses the old one up: vectors are too large to keep both.
    """

    cohort: Cohort
    waiting: Cohort
    final: Float[Tensor, "B D"]
    codes: Int[Tensor, " B"]
    milestones: Milestones
    records: Records
    counts: Mapping[str, int]

    @property
    def status(self) -> list[Status]:
        """That of each replica."""
        return [_STATUSES[code] for code in self.codes.tolist()]

    @property
    def running(self) -> bool:
        """Whether any replica is still on its way."""
        return self.cohort.replicas.shape[0] > 0

    @property
    def fraction_done(self) -> float:
        """The share of its way to the last milestone that a replica has gone, on average."""
        c, marks = self.cohort, self.milestones.marks
        first, last = marks[0, c.replicas], marks[-1, c.replicas]
        gone = ((c.position - first) / (last - first)).sum()
        return 1 - (len(c.replicas) + len(self.waiting.replicas) - float(gone)) / len(self.codes)

    def ended(self, endings: Mapping[Status, Bool[Tensor, " A"]], reached: Status | None = None) -> "FlowState":
        """Without rows of the cohort that have ended. One that ``reached`` its last milestone was left there already.

        Any other is left where it is.
        """
        c, codes = dataclasses.replace(self.cohort), self.codes.clone()
        for status, rows in endings.items():
            if status is not reached and bool(rows.any()):
                self.final[c.replicas[rows].to(c.y.device)] = c.y[rows.to(c.y.device)]
            codes[c.replicas[rows]] = _STATUSES.index(status)
        c.keep(~torch.stack(list(endings.values())).any(0))
        return dataclasses.replace(self, cohort=c, codes=codes)

    def leaves(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        groups = {"cohort": vars_of(self.cohort), "waiting": vars_of(self.waiting), "table": self.records.table}
        groups |= {"snapshots": vars_of(self.records.snapshots), "invariant": self.records.invariants}
        found = {f"{group}.{name}": leaf for group, leaves in groups.items() for name, leaf in leaves.items()}
        own = {"final": self.final, "codes": self.codes}
        return found | own | {"marks": self.milestones.marks, "start_log_loss": self.milestones.start_log_loss}

    @classmethod
    def from_leaves(cls, leaves: Mapping[str, Tensor], kind: str, counts: Mapping[str, int]) -> "FlowState":
        """The state with these ``leaves``. Raises: KeyError or TypeError if some are missing."""

        def group(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): leaf for name, leaf in leaves.items() if name.startswith(prefix)}

        milestones = Milestones(kind, leaves["marks"], leaves["start_log_loss"])  # type: ignore[arg-type]
        return cls(
            cohort=Cohort(**group("cohort.")),
            waiting=Cohort(**group("waiting.")),
            final=leaves["final"],
            codes=leaves["codes"],
            milestones=milestones,
            records=Records.from_leaves(group("table."), group("snapshots."), group("invariant."), milestones.marks),
            counts=dict(counts),
        )

    def with_replicas(
        self, change: Callable[[Tensor, int], Tensor], cohort: Cohort, waiting: Cohort, counts: Mapping[str, int]
    ) -> "FlowState":
        """The state of more or fewer replicas: ``change`` does that to a tensor along an axis."""
        leaves = {
            name: leaf if (axis := _replica_axis(name)) is None else change(leaf, axis)
            for name, leaf in self.leaves().items()
            if not name.startswith(("cohort.", "waiting."))
        }
        for which, rows in (("cohort", cohort), ("waiting", waiting)):
            leaves |= {f"{which}.{name}": leaf for name, leaf in vars_of(rows).items()}
        return self.from_leaves(leaves, self.milestones.kind, counts)


def _replica_axis(name: str) -> int | None:
    if name == "snapshots.records":
        return None
    return 1 if name == "marks" or name.startswith(("table.", "snapshots.")) else 0


def vars_of(value: object) -> dict[str, Tensor]:
    """The tensors of a dataclass by the names of its fields."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}  # type: ignore[arg-type]
    return {name: leaf for name, leaf in fields.items() if leaf is not None}
