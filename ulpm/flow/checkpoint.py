"""The whole of a run in one file, so that a killed run goes on as if it had never stopped, bit for bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ulpm import _checks, _files
from ulpm.distributed import ALONE, Shard
from ulpm.flow.loop import FlowLoop
from ulpm.flow.solver import Solver
from ulpm.flow.state import FlowState
from ulpm.flow.sweep import own_replicas, shared_out
from ulpm.flow.system import FlowSystem
from ulpm.problem import Problem
from ulpm.recorder import Recorder

__all__ = ["read_checkpoint", "write_checkpoint"]

# Leaves of a FlowState that are on the device, and of these the vectors, whose columns processes share.
_VECTORS = ("cohort.y", "cohort.rate", "waiting.y", "waiting.rate", "final")
_ON_DEVICE = ("invariant.", "snapshots.W", "snapshots.H", "snapshots.b")


def write_checkpoint(path: Path, loop: FlowLoop, state: FlowState, config: Mapping[str, Any]) -> None:
    """Replace ``path`` by ``state``, all columns of it, whatever process holds them.

    The leading process writes.

    Raises: OSError with one sentence if that is not possible.
    """
    problem, layout, tensors = loop.system.problem, loop.system.layout, state.leaves()
    for name in _VECTORS:
        tensors[name] = layout.whole(tensors[name])
    tensors["snapshots.H"] = layout.shard.join(tensors["snapshots.H"], problem.num_samples)
    metadata = {
        "kind": "checkpoint",
        **problem.record(),
        "milestones": state.milestones.kind,
        "columns": list(state.records.table),
        "rtol": loop.rtol,
        "counts": dict(state.counts),
        "status": [status.name for status in state.status],
        "config": dict(config),
    }
    if layout.shard.leads:
        _files.write_tensors(path, tensors, metadata)


def read_checkpoint(
    path: Path, device: str | None = None, shard: Shard = ALONE, solver: Solver | None = None
) -> tuple[FlowLoop, FlowState, dict[str, Any], Shard]:
    """The loop, state and config of a file written by ``write_checkpoint``, on ``device`` or the one that they were on.

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
        problem = Problem.from_record(metadata)
        system = FlowSystem(problem, where, columns, (solver or Solver()).product_dtype)
        own = columns.part(problem.num_samples)
        leaves = {}
        # In the order of the table, which files do not keep.
        for name in [*(f"table.{column}" for column in metadata["columns"]), *tensors]:
            leaf = system.layout.own(tensors[name]) if name in _VECTORS else tensors[name]
            leaf = leaf[..., own] if name == "snapshots.H" else leaf
            leaves[name] = leaf.to(where) if name in _VECTORS or name.startswith(_ON_DEVICE) else leaf
        state = FlowState.from_leaves(leaves, metadata["milestones"], metadata["counts"])
        if [status.name for status in state.status] != metadata["status"]:
            raise ValueError("its statuses do not agree")
        recorder = Recorder(problem, where, columns)
        loop = FlowLoop(system, recorder, metadata["rtol"], state.final.dtype, solver or Solver())
        return loop, own_replicas(loop, state, sweep) if sweep.count > 1 else state, config, sweep
