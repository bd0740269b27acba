"""What a run leaves behind: records of a trajectory, why it ended, and the files it is kept in."""

import csv
import dataclasses
import enum
import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ulpm import _display, _files
from ulpm._extras import needs
from ulpm.floors import certificate_floors, log_loss_floor, metric_floors
from ulpm.invariants import invariants_of
from ulpm.optimality.certificate import Certificate
from ulpm.problem import Problem
from ulpm.state import State

if TYPE_CHECKING:
    import xarray

__all__ = ["Snapshots", "Status", "Trajectory"]


class Status(enum.StrEnum):
    """Why a run, or one replica of it, ended. The value is the sentence to show.

    >>> print(ulpm.Status.LOG_TIME_REACHED)
    The requested log time was reached.
    """

    RUNNING = "The run has not ended yet."
    LOG_TIME_REACHED = "The requested log time was reached."
    LOG_LOSS_REACHED = "The requested log loss was reached."
    CONVERGED = "The flow has come to rest: what is left of its way to a minimum is below the tolerance."
    STEPS_TAKEN = "All requested steps of gradient descent were taken."
    STATIONARY = "The start is a critical point of the loss: the flow does not move."
    STEP_LIMIT = "The step limit was reached before the end: raise max_steps, or ask for an earlier end."
    STEP_TOO_SMALL = (
        "The step size fell below the resolution of the number format: raise rtol, or use float64 instead of float32."
    )
    UNRESOLVED = (
        "The logits outgrew what the number format resolves: ask for an earlier end, or lower the scale of the start "
        "or the learning rate."
    )
    NOT_FINITE = "The state stopped being finite: lower the learning rate."


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshots:
    """Whole states kept along a run. A snapshot that a replica did not reach is nan.

    Attributes:
        records: At which records [S].
        W: [S, ..., K, d].
        H: [S, ..., d, N].
        b: [S, ..., K], or None without a bias.

    >>> problem = ulpm.Problem([2] * 3, feature_dim=4)
    >>> path = ulpm.gradient_flow(problem, problem.random_state(), log_time=3, records=9, snapshots=3)
    >>> path.snapshots.records, path.snapshots.W.shape
    (tensor([0, 4, 8]), torch.Size([3, 3, 4]))
    """

    records: Int[Tensor, " S"]
    W: Float[Tensor, "S *batch K d"]
    H: Float[Tensor, "S *batch d N"]
    b: Float[Tensor, "S *batch K"] | None = None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Trajectory:
    """Records along a gradient flow or descent.

    What is recorded is a float64 tensor [records(, replicas)]. Records that a replica did not reach are nan; rows that
    none reached are left out. A replica that came to rest has its last record there, at its own time.

    Attributes:
        problem: What was followed.
        log_time: log t in flow time; −inf at t = 0.
        log_loss: log Φ of what the problem minimises, by default log L of the summed loss.
        squared_norm: ρ² = ‖W‖² + ‖H‖².
        margin: q_min.
        feature_size: √(mean ‖h_i‖²) over √(mean ‖μ_k − μ_G‖²), by which the rounding of features shows in metrics.
        metrics: A tensor for each key of ``neural_collapse``.
        invariant_drift: "balancedness": ‖B − B(0)‖_F/ρ², B = WᵀW − HHᵀ; "classifier_sum": ‖Σ_k w_k − (Σ_k w_k)(0)‖/ρ.
            With decay, from the start times e^{−2λt} and e^{−λ_W t}. Where d²N > 2²⁶ the first is an estimate, off by
            18% at most in the sense of a standard deviation.
        status: Why the run ended, or a tuple with one Status for each replica.
        stats: Totals over the run and its replicas.
        final_state: The state at the end.
        config: Method, tolerance, versions and what else the run was given.
        snapshots: Whole states, or None.
        certificate: Bounds of the optimum and the KKT residuals of every record, None where nothing proves them.
        log_penalty: log(½λ_W‖W‖² + ½λ_H‖H‖²), None without decay.

    >>> problem = ulpm.Problem([2] * 3, feature_dim=4)
    >>> path = ulpm.gradient_flow(problem, problem.random_state(), log_time=3, records=4)
    >>> path.log_time.shape, path.finished, sorted(path.invariant_drift)
    (torch.Size([4]), True, ['balancedness', 'classifier_sum'])
    >>> list(path.columns())[:5]
    ['log_time', 'log_loss', 'squared_norm', 'margin', 'nc0']
    """

    problem: Problem
    log_time: Float[Tensor, " R *batch"]
    log_loss: Float[Tensor, " R *batch"]
    squared_norm: Float[Tensor, " R *batch"]
    margin: Float[Tensor, " R *batch"]
    feature_size: Float[Tensor, " R *batch"]
    metrics: Mapping[str, Float[Tensor, " R *batch"]]
    invariant_drift: Mapping[str, Float[Tensor, " R *batch"]]
    status: Status | tuple[Status, ...]
    stats: Mapping[str, int]
    final_state: State
    config: Mapping[str, Any]
    snapshots: Snapshots | None = None
    certificate: Certificate | None = None
    log_penalty: Float[Tensor, " R *batch"] | None = None

    def __repr__(self) -> str:
        return _display.as_text(self._facts(), self._shown())

    def _repr_html_(self) -> str:
        return _display.as_html(self._facts(), self._shown())

    def _facts(self) -> dict[str, str]:
        """What a reader asks of a run first."""
        problem, times = self.problem, self.log_time.reshape(len(self.log_time), -1)
        # nan where a replica has ended before, and −∞ at the start
        end = times.where(~times.isnan(), -torch.inf).amax(0) / math.log(10)
        model = f", {problem.model}" if problem.model else ""
        replicas = "" if self.log_time.ndim == 1 else f"{self.log_time.shape[1]} replicas, "
        statuses = [self.status] if isinstance(self.status, Status) else list(dict.fromkeys(self.status))
        return {
            "Trajectory": f"{_display.class_sizes(problem.class_counts)}, d = {problem.feature_dim}{model}",
            "status": " ".join(statuses),
            "end": f"log10 t = {_display.span(end.tolist())}, {replicas}{len(self.log_time)} records",
        }

    def _shown(self) -> dict[str, Float[Tensor, " R *batch"]]:
        """The columns that tell most."""
        metrics = {name: self.metrics[name] for name in _SHOWN if name in self.metrics}
        margin = {"margin_ratio": self.margin_ratio} if self.problem.has_margins else {}
        return {"log_loss": self.log_loss, **metrics, **margin}

    @property
    def finished(self) -> bool:
        """Whether every replica reached the end that was asked for, or came to rest before."""
        good = {Status.LOG_TIME_REACHED, Status.LOG_LOSS_REACHED, Status.CONVERGED, Status.STEPS_TAKEN}
        return good.issuperset([self.status] if isinstance(self.status, Status) else self.status)

    @property
    def margin_ratio(self) -> Float[Tensor, " R *batch"]:
        """γ/γ*, the normalised margin q_min/ρ² over its largest possible value 1/(2v*); nan where v* is unknown."""
        return 2 * self.problem.minimum_norm_value * self.margin / self.squared_norm

    @property
    def floors(self) -> dict[str, Float[Tensor, " R *batch"]]:
        """Of each metric, the gap and the two KKT residuals, the value below which a record may be more than 2% off.

        By the tolerance of the run and by its number format: formulas in ``ulpm.floors``. Figures and tables mark what
        is below, and no exponent is measured there. Those of the gap and the residuals are known for the margin problem
        alone. Where squared error falls to 0, "log_loss" is that of ``log_loss``.
        """
        rtol, epsilon = float(self.config.get("rtol", 0.0)), torch.finfo(self.final_state.W.dtype).eps
        K, d = self.problem.num_classes, self.problem.feature_dim
        nc0 = self.metrics.get("nc0", torch.zeros_like(self.feature_size))
        of_metrics = metric_floors(self.feature_size, nc0, self.margin, K, d, rtol, epsilon)
        found = {name: floor for name, floor in of_metrics.items() if name in self.metrics}
        if not (self.problem.loss.logarithmic or self.problem.decayed):
            of_sum = log_loss_floor(self.squared_norm, self.problem.num_samples, rtol, epsilon)
            found["log_loss"] = of_sum - (
                math.log(self.problem.num_samples) if self.problem.reduction == "mean" else 0.0
            )
        if self.certificate is None or not self.problem.has_margins:
            return found
        stationarity = self.certificate.stationarity
        return found | certificate_floors(self.squared_norm, self.margin, stationarity, rtol, epsilon)

    def columns(self) -> dict[str, Float[Tensor, " R *batch"]]:
        """Every recorded quantity by name, in the order of tables."""
        return {
            "log_time": self.log_time,
            "log_loss": self.log_loss,
            "squared_norm": self.squared_norm,
            "margin": self.margin,
            **({} if self.log_penalty is None else {"log_penalty": self.log_penalty}),
            **self.metrics,
            **{f"{name}_drift": values for name, values in self.invariant_drift.items()},
            **({} if self.certificate is None else self.certificate.columns()),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything as one safetensors file with JSON metadata, replacing an older one only when complete.

        Raises:
            OSError: If that is not possible.
        """
        tensors = {name: getattr(self, name) for name in _SERIES}
        if self.log_penalty is not None:
            tensors["log_penalty"] = self.log_penalty
        tensors |= {f"metrics.{name}": values for name, values in self.metrics.items()}
        tensors |= {f"invariant_drift.{name}": values for name, values in self.invariant_drift.items()}
        if self.certificate is not None:
            tensors |= {f"certificate.{name}": values for name, values in self.certificate.columns().items()}
        for group, value in (("final_state", self.final_state), ("snapshots", self.snapshots)):
            parts = {} if value is None else {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            tensors |= {f"{group}.{name}": part for name, part in parts.items() if part is not None}
        status = [self.status] if isinstance(self.status, Status) else self.status
        metadata = {
            "kind": "trajectory",
            **self.problem.record(),
            "metrics": list(self.metrics),
            "status": [entry.name for entry in status],
            "stats": dict(self.stats),
            "config": dict(self.config),
        }
        _files.write_tensors(Path(path), tensors, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trajectory":
        """Read a file written by ``save``; tensors come on the CPU.

        Raises:
            OSError: If the file cannot be read, is damaged, or is no trajectory.
        """
        tensors, metadata = _files.read_tensors(Path(path))
        if metadata.get("kind") != "trajectory":
            raise OSError(f"{path} holds a {metadata.get('kind')}, not a trajectory.")
        with _files.understanding(Path(path), "a trajectory"):
            return cls._restored(tensors, metadata)

    @classmethod
    def _restored(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> "Trajectory":
        def group(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        status = tuple(Status[name] for name in metadata["status"])
        snapshots, certificate = group("snapshots."), group("certificate.")
        problem = Problem.from_record(metadata)
        # A file has its tensors in an order of its own.
        drifts, order = group("invariant_drift."), [invariant.key for invariant in invariants_of(problem)]
        path = cls(
            problem=problem,
            **{name: tensors[name] for name in _SERIES},
            metrics={name: tensors[f"metrics.{name}"] for name in metadata["metrics"]},
            invariant_drift={name: drifts[name] for name in dict.fromkeys((*order, *drifts)) if name in drifts},
            status=status[0] if tensors["log_time"].ndim == 1 else status,
            stats=dict(metadata["stats"]),
            final_state=problem.check(State(**group("final_state."))),
            config=dict(metadata["config"]),
            snapshots=Snapshots(**snapshots) if snapshots else None,
            certificate=Certificate.of(problem, **certificate) if certificate else None,
            log_penalty=tensors.get("log_penalty"),
        )
        for name, column in (path.columns() | path.floors).items():
            if column.dtype != torch.float64 or column.shape != path.log_time.shape:
                raise ValueError(f"{name} is {column.dtype} of shape {list(column.shape)}")
        return path

    def to_csv(self, file: str | os.PathLike[str] | io.TextIOBase) -> None:
        """Write a table with a row a record (and replica): columns record, replica if there are any, then ``columns``.

        Raises:
            OSError: If the file cannot be written.
        """
        if not isinstance(file, str | os.PathLike):
            self._write_rows(file)
            return

        def write(temporary: Path) -> None:
            with temporary.open("w", newline="", encoding="utf-8") as text:
                self._write_rows(text)

        _files.replace_file(Path(file), write)

    def _write_rows(self, file: io.TextIOBase | TextIO) -> None:
        """Some records at a time: as Python's numbers and as text, all would take several times their memory."""
        table = csv.writer(file, lineterminator="\n")
        columns = self.columns()
        batched = self.log_time.ndim > 1
        table.writerow(["record", *(["replica"] if batched else []), *columns])
        replicas = self.log_time.shape[1] if batched else 1
        at_once = max(1, _ROWS_AT_ONCE // replicas)
        for first in range(0, len(self.log_time), at_once):
            some = [column[first : first + at_once] for column in columns.values()]
            values = torch.stack(some, -1).reshape(-1, len(columns)).tolist()
            for i, row in enumerate(values, first * replicas):
                table.writerow([i // replicas, *([i % replicas] if batched else []), *row])

    def to_xarray(self) -> "xarray.Dataset":
        """An xarray.Dataset with ``columns`` as variables on the dimensions record (and replica).

        Raises:
            ImportError: If xarray is not installed.
        """
        with needs("to_xarray"):
            import xarray
        dimensions = ("record", "replica")[: self.log_time.ndim]
        columns = {name: (dimensions, values.numpy(force=True)) for name, values in self.columns().items()}
        return xarray.Dataset(columns, attrs={"class_counts": self.problem.class_counts, **_plain(self.config)})


_SHOWN = ("nc1_distance", "nc2_angle_means", "nc3_duality")
_ROWS_AT_ONCE = 4096
_SERIES = ("log_time", "log_loss", "squared_norm", "margin", "feature_size")


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that a data set's attributes can hold."""
    return {name: value for name, value in config.items() if isinstance(value, str | int | float)}
