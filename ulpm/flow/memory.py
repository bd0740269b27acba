"""What a run will need at its peak, said before it starts."""

from pathlib import Path

import torch

from ulpm.flow.cohort import largest_cohort
from ulpm.problem import Problem, State

__all__ = ["KEPT_VECTORS", "RECORD_VECTORS", "WORKING_VECTORS", "available_bytes", "check_memory", "predicted_bytes"]

# Vectors of the size of the state that are alive at once, at most. Of every replica: the start, the same packed, the
# rate and the final state. Of those under way: the stages, points and scratch vector of the workspace (7 + 3 + 1),
# three of conjugate gradients. Of a record, in float64: the state inside a step and what metrics make of it, and two
# copies of a float32 state. An explicit run needs 4 fewer.
KEPT_VECTORS = 4
# Where some replicas wait, they have a state and a rate of their own.
WAITING_VECTORS = 2
WORKING_VECTORS = 14
RECORD_VECTORS = {8: 5, 4: 7}


def predicted_bytes(problem: Problem, state: State, records: int, snapshots: int) -> int:
    """The peak of ``gradient_flow`` from ``state``, its snapshots, tables and invariants included.

    It is right to about a tenth for a run that comes to the stiff method, and a fifth too much for one that does not.
    """
    replicas = max(1, state.batch_shape.numel())
    numbers = problem.num_classes * problem.feature_dim + problem.feature_dim * problem.num_samples
    logits = 12 * problem.num_classes * problem.num_samples
    item = state.W.element_size()
    invariants = 4 * problem.feature_dim**2 * 8
    under_way = largest_cohort(replicas, numbers, state.W.device)
    working = under_way * ((WORKING_VECTORS * item + RECORD_VECTORS[item] * 8) * numbers + logits * item)
    kept = KEPT_VECTORS + (WAITING_VECTORS if under_way < replicas else 0)
    return working + replicas * ((kept + snapshots) * numbers * item + invariants + 30 * records * 8)


def available_bytes(device: torch.device) -> int | None:
    """Memory that is free on ``device`` now; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    table = Path("/proc/meminfo")
    if not table.exists():
        return None
    entries = dict(line.split(":", 1) for line in table.read_text().splitlines() if ":" in line)
    return int(entries["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in entries else None


def check_memory(problem: Problem, state: State, records: int, snapshots: int) -> None:
    """Refuse a run that would not fit. Raises: ValueError that says how much is needed and what would help."""
    needed, free = predicted_bytes(problem, state, records, snapshots), available_bytes(state.W.device)
    if free is not None and needed > free:
        ways = ["float32"] if state.W.dtype == torch.float64 else []
        ways += ["fewer snapshots"] if snapshots else []
        ways += ["fewer replicas"] if state.batch_shape.numel() > 1 else []
        ways += ["fewer records"] if records > 10_000 else []
        ways += ["fewer samples or dimensions", "a device with more memory"]
        raise ValueError(
            f"the run needs about {needed / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are free on "
            f"{state.W.device}: use {', '.join(ways[:-1])} or {ways[-1]}."
        )
