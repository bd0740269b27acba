"""What a run will need at its peak, said before it starts."""

import dataclasses

import torch

from ulpm import _memory
from ulpm.distributed import ALONE, Shard
from ulpm.flow.cohort import largest_cohort
from ulpm.flow.landing import landed_at_once
from ulpm.flow.sweep import shared_out
from ulpm.problem import Problem
from ulpm.state import State

__all__ = [
    "KEPT_VECTORS",
    "RECORD_VECTORS",
    "WORKING_VECTORS",
    "PlannedStart",
    "available_bytes",
    "check_memory",
    "predicted_bytes",
]

# Vectors of the size of the state that are alive at once, at most. Of every replica: the start, the same packed, the
# rate and the final state. Of those under way: the stages and images, points and scratch vector of the workspace (8 + 3
# + 1), three of conjugate gradients. Of a record: the state inside a step and what is made of it, and two copies of a
# float32 state; further states where some are found side by side. An explicit run uses 4 fewer, and on a CPU takes no
# more than it uses. Products in another precision take 4 more, which are not counted.
KEPT_VECTORS = 4
# Where some replicas wait, they have a state and a rate of their own.
WAITING_VECTORS = 2
WORKING_VECTORS = 15
RECORD_VECTORS = {8: 4, 4: 6}
# A CPU's allocator keeps pieces between vectors of less than 32 MiB: up to a fifth was measured.
# A tenth is added.
_PIECES = 10
# Numbers of a record, in float64: 30 columns, the marks, and what is at work.
RECORD_NUMBERS = 30 + 7


@dataclasses.dataclass(frozen=True)
class PlannedStart:
    """The size of a start that has not been made yet."""

    replicas: int | None
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, state: "State | PlannedStart") -> "PlannedStart":
        """That of a state."""
        if isinstance(state, PlannedStart):
            return state
        return cls(state.batch_shape.numel() if state.batch_shape else None, state.W.dtype, state.W.device)


def predicted_bytes(
    problem: Problem, state: State | PlannedStart, records: int, snapshots: int, shard: Shard = ALONE
) -> int:
    """The peak of ``gradient_flow`` from ``state`` in this process, its snapshots, tables and invariants included.

    It is right to about a tenth for a run that comes to the stiff method, and a fifth too much for one that does not.
    Several processes share the work out, but each has the whole start and, at the end, the whole result.
    """
    start = PlannedStart.of(state)
    replicas = max(1, start.replicas or 1)
    K, d, N, item = problem.num_classes, problem.feature_dim, problem.num_samples, start.dtype.itemsize
    sweep, columns = shared_out(shard, replicas, N)
    own_replicas, own_samples = -(-replicas // sweep.count), -(-N // columns.count)
    numbers, own_numbers = (K + N) * d, (K + own_samples) * d
    under_way = largest_cohort(own_replicas, numbers, start.device)
    # The end of a run is found on its own. In cohorts of several, these states are small beside the others.
    further = max(0, min(landed_at_once(numbers), records - 2) - 1) if under_way == 1 else 0
    working = (WORKING_VECTORS + further) * item * own_numbers + RECORD_VECTORS[item] * 8 * own_numbers
    working += 12 * K * own_samples * item
    kept = KEPT_VECTORS + (WAITING_VECTORS if under_way < own_replicas else 0) + snapshots
    own = own_replicas * (kept * own_numbers * item + 4 * d**2 * 8 + RECORD_NUMBERS * records * 8)
    vectors = under_way * working + own + _whole_bytes(problem, replicas, records, snapshots, item, sweep, columns)
    # Whole numbers, of which the largest that are asked for are no floating-point numbers.
    return vectors + (vectors // _PIECES if start.device.type == "cpu" else 0)


def _whole_bytes(
    problem: Problem, replicas: int, records: int, snapshots: int, item: int, sweep: Shard, columns: Shard
) -> int:
    """What each of several processes has besides its share: the start, the result, and of a sweep all its tables.

    A checkpoint of a sweep also has the state and rate of each replica, and a copy of those of the ones under way.
    """
    if sweep.count == columns.count == 1:
        return 0
    numbers = (problem.num_classes + problem.num_samples) * problem.feature_dim
    vectors, tables = (2 + snapshots, 0) if sweep.count == 1 else (6 + snapshots, 30 * records * 8)
    return replicas * (vectors * numbers * item + tables + (problem.feature_dim**2 * 8 if tables else 0))


def available_bytes(device: torch.device) -> int | None:
    """Memory that is free on ``device`` now; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return _memory.free_bytes()


def check_memory(
    problem: Problem, state: State | PlannedStart, records: int, snapshots: int, shard: Shard = ALONE
) -> None:
    """Refuse a run that would not fit. Raises: ValueError that says how much is needed and what would help."""
    start = PlannedStart.of(state)
    needed = predicted_bytes(problem, start, records, snapshots, shard)
    if start.device.type == "cpu":
        needed *= shard.neighbours
    if needed < _memory.UNASKED_BYTES:
        return
    free = available_bytes(start.device)
    if free is not None and needed > free:
        ways = ["float32"] if start.dtype == torch.float64 else []
        ways += ["fewer snapshots"] if snapshots else []
        ways += ["fewer replicas"] if (start.replicas or 1) > 1 else []
        ways += ["fewer records"] if records > 10_000 else []
        ways += ["fewer samples or dimensions", "a device with more memory"]
        raise ValueError(
            f"the run needs {_memory.in_words(needed)}, but {_memory.in_words(free)} are free on "
            f"{start.device}: use {', '.join(ways[:-1])} or {ways[-1]}."
        )
