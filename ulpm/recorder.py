"""What is measured at each record of a run, and the table it goes into."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import vector_norm

from ulpm import _checks
from ulpm._versions import versions
from ulpm.distributed import ALONE, Shard
from ulpm.field import LogLossField
from ulpm.metrics.collapse import metrics_at, statistics_of
from ulpm.metrics.floors import feature_size
from ulpm.optimality.certificate import Certificate, certificate_at
from ulpm.problem import Problem, State, checked
from ulpm.trajectory import Snapshots, Status, Trajectory

__all__ = ["Recorder", "describe_run"]

_TRAJECTORY_COLUMNS = ("log_time", "log_loss", "squared_norm", "margin", "feature_size")


class Recorder:
    """Measures states and keeps the results, [records, replicas] in float64, nan where nothing was recorded.

    Invariants are compared with those of the start: balancedness B = WᵀW − HHᵀ and the classifier sum Σ_k w_k.
    """

    def __init__(
        self,
        problem: Problem,
        invariants: dict[str, Tensor],
        snapshots: Snapshots,
        shape: tuple[int, int],
        device: torch.device,
        shard: Shard = ALONE,
    ) -> None:
        """``shape`` is [records, replicas]; see ``for_start`` for a new run."""
        self.table: dict[str, Float[Tensor, "R B"]] = {}
        self.invariants = invariants
        self.snapshots = snapshots
        self._shape = shape
        self._field = LogLossField(problem, device, shard)
        self._shard = shard

    @classmethod
    def for_start(
        cls,
        problem: Problem,
        W: Float[Tensor, "B K d"],
        H: Float[Tensor, "B d N"],
        records: int,
        snapshots: int,
        shard: Shard = ALONE,
    ) -> "Recorder":
        """An empty table for a run from (W, H), with room for ``snapshots`` states evenly spread over its records."""
        kept = Snapshots(
            torch.linspace(0, records - 1, snapshots, dtype=torch.float32, device="cpu").round().long(),
            W.new_full((snapshots, *W.shape), torch.nan),
            H.new_full((snapshots, *H.shape), torch.nan),
        )
        invariants = {"balancedness": _balancedness(W, H, shard), "classifier_sum": W.double().sum(-2)}
        return cls(problem, invariants, kept, (records, W.shape[0]), W.device, shard)

    def record(
        self,
        rows: Int[Tensor, " S"],
        replicas: Int[Tensor, " S"],
        W: Float[Tensor, "S K d"],
        H: Float[Tensor, "S d N"],
        known: dict[str, Float[Tensor, " S"]],
    ) -> None:
        """Measure states of ``replicas`` as their records ``rows``; ``known`` holds log_time, log_loss and margin."""
        rows, replicas = rows.cpu(), replicas.cpu()  # the table is on the host, and what is not takes such indices
        # Inference mode saves a third of the time where a run begins, outside its own; what is kept is a copy.
        with torch.inference_mode():
            measured = self._measured(W.double(), H.double(), replicas)
            names, values = list(measured), torch.stack(list(measured.values())).cpu()
        cells = rows * self._shape[1] + replicas
        for name, value in (known | dict(zip(names, values.clone(), strict=True))).items():
            if name not in self.table:
                self.table[name] = torch.full(self._shape, torch.nan, dtype=torch.float64, device="cpu")
            self.table[name].view(-1)[cells] = value.double().cpu()
        for i, row in enumerate(self.snapshots.records):
            here = (rows == row).nonzero()[:, 0]
            if len(here):
                self.snapshots.W[i, replicas[here]] = W[here]
                self.snapshots.H[i, replicas[here]] = H[here]

    def _measured(
        self, W64: Float[Tensor, "S K d"], H64: Float[Tensor, "S d N"], replicas: Int[Tensor, " S"]
    ) -> dict[str, Float[Tensor, " S"]]:
        """All columns but those that the flow knows anyway."""
        squared_norm = W64.square().sum((-2, -1)) + self._shard.sum(H64.square().sum((-2, -1)))
        # The origin, a critical point, has no scale to compare with; its drift is 0.
        rho = squared_norm.sqrt().clamp(min=1e-150)
        change = _balancedness(W64, H64, self._shard) - self.invariants["balancedness"][replicas]
        classifier_sum = vector_norm(W64.sum(-2) - self.invariants["classifier_sum"][replicas], dim=1)
        statistics, distance_ratio = statistics_of(H64, self._field.labels, W64.shape[-2], self._shard)
        metrics = metrics_at(statistics, distance_ratio, W64, H64, shard=self._shard)
        return {
            "squared_norm": squared_norm,
            "feature_size": feature_size(statistics),
            **{f"metrics.{key}": value for key, value in metrics.items()},
            "invariant_drift.balancedness": vector_norm(change.flatten(1), dim=1) / rho.square(),
            "invariant_drift.classifier_sum": classifier_sum / rho,
            **{f"certificate.{key}": value for key, value in certificate_at(self._field, W64, H64).columns().items()},
        }

    def last(self, replicas: Int[Tensor, " A"]) -> dict[str, float]:
        """The last record of that one of ``replicas`` which is furthest behind."""
        recorded = (~self.table["log_time"].isnan()).sum(0)
        replica = int(replicas[recorded[replicas].argmin()])
        row = int((~self.table["log_time"][:, replica].isnan()).sum()) - 1
        return {name: float(column[row, replica]) for name, column in self.table.items()}

    def group(self, prefix: str) -> dict[str, Float[Tensor, "R B"]]:
        """The columns whose names start with ``prefix``, without it."""
        return {name.removeprefix(prefix): column for name, column in self.table.items() if name.startswith(prefix)}

    def trajectory(
        self,
        problem: Problem,
        W: Float[Tensor, "B K d"],
        H: Float[Tensor, "B d N"],
        status: Sequence[Status],
        stats: Mapping[str, int],
        config: Mapping[str, Any],
    ) -> Trajectory:
        """The finished table as a Trajectory; without its replica axis if ``config["replicas"]`` is None."""
        single = config["replicas"] is None
        # Records are made in order. No copy: tables of many replicas are most of what a run takes.
        reached = int((~self.table["log_time"].isnan().all(1)).sum())

        def shown(table: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: column[:reached, 0] if single else column[:reached] for name, column in table.items()}

        N = problem.num_samples
        H = self._shard.join(H, N)
        kept = Snapshots(self.snapshots.records, self.snapshots.W, self._shard.join(self.snapshots.H, N))
        if single:
            kept = Snapshots(kept.records, kept.W[:, 0], kept.H[:, 0])
        return Trajectory(
            problem=problem,
            **shown({name: self.table[name] for name in _TRAJECTORY_COLUMNS}),
            metrics=shown(self.group("metrics.")),
            invariant_drift=shown(self.group("invariant_drift.")),
            certificate=Certificate.of(problem, **shown(self.group("certificate."))),
            status=status[0] if single else tuple(status),
            stats=dict(stats),
            final_state=State(W[0], H[0]) if single else State(W, H),
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


def _balancedness(
    W: Float[Tensor, "*batch K d"], H: Float[Tensor, "*batch d N"], shard: Shard
) -> Float[Tensor, "*batch d d"]:
    """WᵀW − HHᵀ in float64."""
    W, H = W.double(), H.double()
    return W.mT @ W - shard.sum(H @ H.mT)
