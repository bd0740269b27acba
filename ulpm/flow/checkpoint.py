"""The whole of a run in one file, so that a killed run goes on as if it had never stopped, bit for bit."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ulpm import _checks, _files
from ulpm.distributed import ALONE, Shard
from ulpm.flow.cohort import Cohort
from ulpm.flow.loop import FlowLoop
from ulpm.flow.milestones import Milestones
from ulpm.flow.sweep import own_replicas, shared_out
from ulpm.flow.system import FlowSystem
from ulpm.problem import Problem
from ulpm.recorder import Recorder
from ulpm.trajectory import Snapshots, Status

__all__ = ["read_checkpoint", "write_checkpoint"]


def write_checkpoint(path: Path, loop: FlowLoop, config: Mapping[str, Any]) -> None:
    """Replace ``path`` by the present state of ``loop``, all columns of it, whatever process holds them.

    The leading process writes.

    Raises: OSError with one sentence if that is not possible.
    """
    recorder, milestones, system = loop.recorder, loop.milestones, loop.system
    cohorts = {"cohort": loop.cohort, "waiting": loop.waiting}
    names = [field.name for field in dataclasses.fields(Cohort)]
    tensors = {f"{which}.{name}": getattr(cohort, name) for which, cohort in cohorts.items() for name in names}
    tensors |= {f"table.{name}": column for name, column in recorder.table.items()}
    tensors |= {f"snapshots.{f.name}": getattr(recorder.snapshots, f.name) for f in dataclasses.fields(Snapshots)}
    tensors |= {f"invariant.{name}": value for name, value in recorder.invariants.items()}
    for name in [f"{which}.{vector}" for which in cohorts for vector in ("y", "rate")]:
        tensors[name] = system.whole(tensors[name])
    tensors["snapshots.H"] = system.shard.join(tensors["snapshots.H"], system.problem.num_samples)
    tensors |= {
        "final": system.whole(loop.final),
        "marks": milestones.marks,
        "start_log_loss": milestones.start_log_loss,
    }
    metadata = {
        "kind": "checkpoint",
        "class_counts": loop.system.problem.class_counts,
        "feature_dim": loop.system.problem.feature_dim,
        "milestones": milestones.kind,
        "columns": list(recorder.table),
        "rtol": loop.rtol,
        "counts": loop.counts,
        "status": [status.name for status in loop.status],
        "config": dict(config),
    }
    if system.shard.leads:
        _files.write_tensors(path, tensors, metadata)


def read_checkpoint(
    path: Path, device: str | None = None, shard: Shard = ALONE
) -> tuple[FlowLoop, dict[str, Any], Shard]:
    """The loop and config of a file written by ``write_checkpoint``, on ``device`` or the one that they were on.

    By however many processes it was written, each now takes its share, of the replicas if there are several: the last
    result says of which processes this is one then.

    Raises: OSError with one sentence if the file cannot be read, is damaged, or is no checkpoint; ValueError if its
    device is not here or there are more processes than it has work for.
    """
    tensors, metadata = _files.read_tensors(path)
    if metadata.get("kind") != "checkpoint":
        raise OSError(f"{path} holds a {metadata.get('kind')}, not a checkpoint.")
    with _files.understanding(path, "a checkpoint"):
        config = dict(metadata["config"])
        name, replicas, samples = device or config["device"], len(metadata["status"]), sum(metadata["class_counts"])
    where = shard.device if shard.count > 1 else _checks.device(name)
    config["device"] = str(where)
    sweep, columns = shared_out(shard, replicas, samples)
    with _files.understanding(path, "a checkpoint"):
        loop = _restored(tensors, metadata, where, columns)
        return own_replicas(loop, sweep) if sweep.count > 1 else loop, config, sweep


def _restored(tensors: dict[str, Tensor], metadata: dict[str, Any], where: torch.device, shard: Shard) -> FlowLoop:

    def group(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    problem = Problem(metadata["class_counts"], metadata["feature_dim"])
    system = FlowSystem(problem, where, shard)
    milestones = Milestones(metadata["milestones"], tensors["marks"], tensors["start_log_loss"])

    def cohort(which: str) -> Cohort:
        fields = group(f"{which}.")
        return Cohort(**fields | {name: system.own(fields[name]).to(where) for name in ("y", "rate")})

    snapshots, final = group("snapshots."), system.own(tensors["final"]).to(where)
    snapshots["H"] = snapshots["H"][..., shard.part(problem.num_samples)]
    snapshots |= {name: snapshots[name].to(where) for name in ("W", "H")}
    invariants = {name: value.to(where) for name, value in group("invariant.").items()}
    recorder = Recorder(problem, invariants, Snapshots(**snapshots), (len(milestones.marks), len(final)), where, shard)
    recorder.table = {name: tensors[f"table.{name}"] for name in metadata["columns"]}
    loop = FlowLoop(system, milestones, recorder, cohort("cohort"), cohort("waiting"), final, metadata["rtol"])
    loop.counts = metadata["counts"]
    loop.status = [Status[name] for name in metadata["status"]]
    return loop
