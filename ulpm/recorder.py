"""What is measured at each record of a run, and the table it goes into."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ulpm import _checks
from ulpm._versions import versions
from ulpm.distributed import ALONE, Shard
from ulpm.invariants import invariants_of
from ulpm.losses import LossAt
from ulpm.metrics.class_statistics import members, statistics_of
from ulpm.metrics.evaluation import ClassifiedSamples
from ulpm.metrics.floors import feature_size
from ulpm.objective import Objective
from ulpm.optimality.certificate import Certificate, certificate_at, has_certificate
from ulpm.problem import Problem, checked
from ulpm.state import Factors, State
from ulpm.trajectory import Snapshots, Status, Trajectory

__all__ = ["Recorder", "Records", "describe_run"]

_TRAJECTORY_COLUMNS = ("log_time", "log_loss", "squared_norm", "margin", "feature_size", "log_penalty")


@dataclasses.dataclass(frozen=True)
class Records:
    """What has been recorded: columns [records, replicas] in float64 on the host, nan where nothing was, and snapshots.

    ``invariants`` are those at the start. Columns are written once and shared by one value and the next.
    """

    table: Mapping[str, Float[Tensor, "R B"]]
    snapshots: Snapshots
    invariants: Mapping[str, Tensor]
    shape: tuple[int, int]

    @classmethod
    def from_leaves(
        cls,
        table: Mapping[str, Tensor],
        snapshots: Mapping[str, Tensor],
        invariants: Mapping[str, Tensor],
        marks: Float[Tensor, "R B"],
    ) -> "Records":
        """From tensors by name."""
        return cls(table, Snapshots(**snapshots), invariants, (len(marks), marks.shape[1]))

    def last(self, replicas: Int[Tensor, " A"]) -> dict[str, float]:
        """The last record of that one of ``replicas`` which is furthest behind."""
        recorded = (~self.table["log_time"].isnan()).sum(0)
        replica = int(replicas[recorded[replicas].argmin()])
        row = int((~self.table["log_time"][:, replica].isnan()).sum()) - 1
        return {name: float(column[row, replica]) for name, column in self.table.items()}

    def group(self, prefix: str) -> dict[str, Float[Tensor, "R B"]]:
        """The columns whose names start with ``prefix``, without it."""
        return {name.removeprefix(prefix): column for name, column in self.table.items() if name.startswith(prefix)}


class Recorder:
    """Measures states of a problem, and writes them into Records.

    Invariants (``ulpm.invariants``) are compared with those of the start.
    """

    def __init__(self, problem: Problem, device: torch.device, shard: Shard = ALONE) -> None:
        self._shard = shard
        self._objective = Objective(problem, device, shard)
        self._invariants = invariants_of(problem)
        self._certified = has_certificate(problem)
        # One process has whole classes, in order.
        even = shard.count == 1 and len(set(problem.class_counts)) == 1
        self._members = members(self._objective.labels, problem.num_classes, shard, even)

    def begin(self, at: Factors, records: int, snapshots: int) -> Records:
        """An empty table for a run from ``at``, replicas first.

        It has room for ``snapshots`` states evenly spread over its records.
        """

        def room(part: Tensor) -> Tensor:
            return part.new_full((snapshots, *part.shape), torch.nan)

        kept = Snapshots(
            torch.linspace(0, records - 1, snapshots, dtype=torch.float32, device="cpu").round().long(),
            room(at.W),
            room(at.H),
            None if at.b is None else room(at.b),
        )
        invariants = {invariant.key: invariant.of(at, self._shard) for invariant in self._invariants}
        return Records({}, kept, invariants, (records, len(at.W)))

    def record(
        self,
        records: Records,
        rows: Int[Tensor, " S"],
        replicas: Int[Tensor, " S"],
        at: Factors,
        known: dict[str, Float[Tensor, " S"]],
        products: Float[Tensor, "S K n"] | None = None,
        loss: LossAt | None = None,
    ) -> Records:
        """``records`` with those of ``replicas`` in ``rows``; ``known`` holds log_time, log_loss and margin.

        The ``products`` W H of the states ``at`` and their ``loss`` save computing them again.
        """
        rows, replicas = rows.cpu(), replicas.cpu()  # the table is on the host, and what is not takes such indices
        # Inference mode saves a third of the time where a run begins, outside its own; what is kept is a copy.
        with torch.inference_mode():
            precise = Factors(at.W.double(), at.H.double(), None if at.b is None else at.b.double())
            if at.W.dtype != torch.float64:
                products, loss = None, None
            products = precise.W @ precise.H if products is None else products
            log_time = known["log_time"]
            measured, plain, careful_metrics = self._measured(records, precise, replicas, log_time, products, loss)
            # One transfer from a device, which says as well whether the metrics are right.
            *columns, right = torch.stack([*measured.values(), plain.expand_as(measured["squared_norm"])]).cpu()
            if not bool(right.all()):
                measured |= careful_metrics()
                columns = list(torch.stack(list(measured.values())).cpu())
            values = {name: column.clone() for name, column in zip(measured, columns, strict=True)}
        cells = rows * records.shape[1] + replicas
        table = dict(records.table)
        for name, value in (known | values).items():
            if name not in table:
                table[name] = torch.full(records.shape, torch.nan, dtype=torch.float64, device="cpu")
            table[name].view(-1)[cells] = value.double().cpu()
        for i, row in enumerate(records.snapshots.records):
            here = (rows == row).nonzero()[:, 0]
            if len(here):
                for name, part in at._asdict().items():
                    if part is not None:
                        getattr(records.snapshots, name)[i, replicas[here]] = part[here]
        return dataclasses.replace(records, table=table)

    def _measured(
        self,
        records: Records,
        at: Factors,
        replicas: Int[Tensor, " S"],
        log_time: Float[Tensor, " S"],
        products: Float[Tensor, "S K n"],
        loss: LossAt | None,
    ) -> tuple[dict[str, Float[Tensor, " S"]], Bool[Tensor, ""], Callable[[], dict[str, Float[Tensor, " S"]]]]:
        """All columns but those that the flow knows anyway; whether metrics are right, and how to get right ones.

        Only the last, which are wanted where rounding may hide a difference of class means, waits for a device.
        """
        W64, H64, b64 = at
        statistics, distance_ratio = statistics_of(H64, *self._members, self._shard)
        squared_norm = W64.square().sum((-2, -1)) + statistics.squared_sizes @ statistics.counts
        # The origin, a critical point, has no scale to compare with; its drift is 0.
        rho = squared_norm.sqrt().clamp(min=1e-150)
        drifts = {}
        for invariant in self._invariants:
            start = records.invariants[invariant.key]
            start = start if len(start) == 1 else start[replicas]
            drifts[invariant.key] = invariant.drift(at, start, log_time, rho, self._shard)
        samples = ClassifiedSamples(statistics, distance_ratio, W64, H64, b64, shard=self._shard, products=products)
        metrics, plain = samples.plain_metrics()
        certificate = certificate_at(self._objective, at, loss, products).columns() if self._certified else {}

        def named(metrics: dict[str, Tensor]) -> dict[str, Tensor]:
            return {f"metrics.{key}": value for key, value in metrics.items()}

        measured = {
            "squared_norm": squared_norm,
            "feature_size": feature_size(statistics),
            **({"log_penalty": self._objective.log_penalty(at)} if self._objective.problem.decayed else {}),
            **named(metrics),
            **{f"invariant_drift.{key}": value for key, value in drifts.items()},
            **{f"certificate.{key}": value for key, value in certificate.items()},
        }
        return measured, plain, lambda: named(samples.metrics())

    def trajectory(
        self,
        records: Records,
        final: Factors,
        status: Sequence[Status],
        stats: Mapping[str, int],
        config: Mapping[str, Any],
    ) -> Trajectory:
        """The finished records as a Trajectory; without its replica axis if ``config["replicas"]`` is None."""
        single = config["replicas"] is None
        # Records are made in order. No copy: tables of many replicas are most of what a run takes.
        problem = self._objective.problem
        reached = int((~records.table["log_time"].isnan().all(1)).sum())

        def shown(table: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: column[:reached, 0] if single else column[:reached] for name, column in table.items()}

        N, kept = problem.num_samples, records.snapshots
        if not bool((kept.records < reached).all()):
            there = kept.records < reached
            parts = {name: part[there] for name, part in vars(kept).items() if part is not None}
            kept = dataclasses.replace(kept, **parts)
        kept = dataclasses.replace(kept, H=self._shard.join(kept.H, N))
        end = State(final.W, self._shard.join(final.H, N), final.b)
        if single:
            end = end[0]
            kept = Snapshots(kept.records, kept.W[:, 0], kept.H[:, 0], None if kept.b is None else kept.b[:, 0])
        certificate = shown(records.group("certificate."))
        return Trajectory(
            problem=problem,
            **shown({name: records.table[name] for name in _TRAJECTORY_COLUMNS if name in records.table}),
            metrics=shown(records.group("metrics.")),
            invariant_drift=shown(records.group("invariant_drift.")),
            certificate=Certificate.of(problem, **certificate) if certificate else None,
            status=status[0] if single else tuple(status),
            stats=dict(stats),
            final_state=end,
            config=dict(config),
            snapshots=kept if len(kept.records) else None,
        )


def describe_run(
    problem: Problem, state: State, records: int, snapshots: int, config: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The facts about a run that its file keeps, whatever its method.

    Raises: TypeError or ValueError if the start or the numbers of records and snapshots make no sense.
    """
    checked(problem).check(state)
    _checks.computes_in_float64(state.W.device)
    if len(state.batch_shape) > 1:
        raise ValueError(f"a state may have one replica axis, but its leading axes are {list(state.batch_shape)}.")
    try:
        kept = json.loads(json.dumps({} if config is None else dict(config)))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"config must hold what JSON can: numbers, strings, lists and dictionaries ({error})."
        ) from error
    return {
        **kept,
        "records": _checks.integer("records", records, minimum=2),
        "snapshots": _checks.integer("snapshots", snapshots, minimum=0),
        "replicas": state.batch_shape[0] if state.batch_shape else None,
        "dtype": str(state.W.dtype).removeprefix("torch."),
        "device": str(state.W.device),
        "versions": versions(),
    }
