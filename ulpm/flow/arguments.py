"""The arguments of a run, checked: where it ends, what it records, and how exact it is."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import _checks
from ulpm.distributed import Shard
from ulpm.flow.memory import check_memory
from ulpm.flow.solver import Solver
from ulpm.problem import Problem
from ulpm.recorder import describe_run
from ulpm.state import State

__all__ = ["Accepted", "Ends", "Sizes", "accepted"]


class Ends(NamedTuple):
    """Where a run ends, as it was given: one of them."""

    log_time: float | None
    log10_time: float | None
    log_loss: float | None


class Sizes(NamedTuple):
    """How exact a run is, how much of it is kept, and how long it may be."""

    rtol: float
    records: int
    snapshots: int
    max_steps: int


class Accepted(NamedTuple):
    """What the arguments come to: facts kept with the result, the end, log t at the start, and times to record at."""

    facts: dict[str, Any]
    kind: Literal["log_time", "log_loss"]
    end: float
    start_time: Float[Tensor, "*batch"]
    save_at: Float[Tensor, " R"] | None


def accepted(
    problem: Problem,
    state: State,
    ends: Ends,
    sizes: Sizes,
    config: Mapping[str, Any] | None,
    start_log_time: float | Tensor | None,
    save_at: Sequence[float] | Tensor | None,
    solver: Solver | None,
    shard: Shard,
) -> Accepted:
    """Raises: TypeError or ValueError as ``gradient_flow`` for arguments that make no sense."""
    kind, end = _end(*ends)
    marks = None if save_at is None else _save_at(save_at, kind, end)
    facts = describe_run(problem, state, sizes.records if marks is None else len(marks) + 2, sizes.snapshots, config)
    least = problem.smallest_loss
    if kind == "log_loss" and least > 0 and end < math.log(least):
        why, way = (
            ("for labels smoothed so much", "ask for a larger one")
            if problem.loss.attained
            else ("in one dimension, where these counts cannot be separated", "use feature_dim of 2 or more")
        )
        raise ValueError(f"log_loss must be at least {math.log(least):.6g} {why}, but {end:g} was given: {way}.")
    if solver is not None and not isinstance(solver, Solver):
        raise TypeError(f"solver must be an ulpm.Solver, but {_checks.shown(solver)} was given.")
    tolerance = _checks.real("rtol", sizes.rtol, above=0, below=1)
    resolution = 8 * torch.finfo(state.W.dtype).eps
    if tolerance < resolution:
        raise ValueError(f"rtol must be at least {resolution:.1g} for {state.W.dtype}, but {sizes.rtol!r} was given.")
    limit = _checks.integer("max_steps", sizes.max_steps, minimum=1)
    check_memory(problem, state, facts["records"], facts["snapshots"], shard)
    facts |= {"method": "gradient flow", kind: end, "rtol": tolerance, "max_steps": limit}
    start_time = _start_time(start_log_time, state)
    if start_log_time is not None:
        facts["start_log_time"] = start_time.tolist() if state.batch_shape else float(start_time)
    if marks is not None:
        facts["save_at"] = marks.tolist()
    return Accepted(facts, kind, end, start_time, marks)


def _start_time(given: float | Tensor | None, state: State) -> Float[Tensor, "*batch"]:
    """log t of each start, in float64 on the host: −inf, which is t = 0, if none is given."""
    if given is None:
        return torch.full(state.batch_shape, -torch.inf, dtype=torch.float64, device="cpu")
    if not isinstance(given, Tensor):
        number = _checks.real("start_log_time", given)
        return torch.full(state.batch_shape, number, dtype=torch.float64, device="cpu")
    _checks.floating("start_log_time", given)
    if given.ndim and given.shape != state.batch_shape:
        raise ValueError(
            f"start_log_time must be one number or have the shape {list(state.batch_shape)} of the replicas, but its "
            f"shape is {list(given.shape)}."
        )
    return given.detach().double().cpu().expand(state.batch_shape).clone()


def _save_at(given: Sequence[float] | Tensor, kind: str, end: float) -> Float[Tensor, " R"]:
    """The log times to record at, without the end, in float64 on the host."""
    if kind != "log_time":
        raise ValueError("save_at are log times: give log_time or log10_time as the end, not log_loss.")
    if isinstance(given, Tensor):
        _checks.has_numbers("save_at", given)
    if isinstance(given, Tensor | np.ndarray):
        given = given.tolist()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise TypeError(f"save_at must be a list of log times, but {_checks.shown(given)} was given.")
    times = [_checks.real(f"save_at[{i}]", time, minimum=-650) for i, time in enumerate(given)]
    if any(later <= earlier for earlier, later in itertools.pairwise(times)) or (times and times[-1] > end):
        raise ValueError(
            f"save_at must rise and not go beyond the end, log t = {end:g}, but {_checks.shown(given)} was given."
        )
    return torch.tensor([time for time in times if time < end], dtype=torch.float64, device="cpu")


def _end(
    log_time: float | None, log10_time: float | None, log_loss: float | None
) -> tuple[Literal["log_time", "log_loss"], float]:
    given = {"log_time": log_time, "log10_time": log10_time, "log_loss": log_loss}
    chosen = {name: _checks.real(name, value) for name, value in given.items() if value is not None}
    if len(chosen) != 1:
        names = " and ".join(chosen) or "none"
        raise ValueError(f"exactly one of log_time, log10_time and log_loss must be given, but got {names}.")
    if "log_loss" in chosen:
        return "log_loss", chosen["log_loss"]
    log_t = chosen["log_time"] if "log_time" in chosen else chosen["log10_time"] * math.log(10)
    # Below, the clock T = t·L would be no normal number.
    return "log_time", _checks.real("log_time", log_t, minimum=-650)
