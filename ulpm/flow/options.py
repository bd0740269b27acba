"""The options of a run in one record, and what they come to once they are checked."""

import dataclasses
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

__all__ = ["Accepted", "FlowOptions"]


class Accepted(NamedTuple):
    """What the arguments come to: facts kept with the result, the end, log t at the start, and times to record at."""

    facts: dict[str, Any]
    kind: Literal["log_time", "log_loss"]
    end: float
    start_time: Float[Tensor, "*batch"]
    save_at: Float[Tensor, " R"] | None


@dataclasses.dataclass(frozen=True)
class FlowOptions:
    """Where a run ends, how exact it is, what it records and by which methods, as ``gradient_flow`` documents it.

    Nothing is checked before ``accepted``, so that any process of several can say what is wrong with its own.
    """

    log_time: float | None = None
    log10_time: float | None = None
    log_loss: float | None = None
    start_log_time: float | Tensor | None = None
    rtol: float = 1e-6
    records: int = 200
    save_at: Sequence[float] | Tensor | None = None
    snapshots: int = 0
    max_steps: int = 100_000
    solver: Solver | None = None

    def accepted(self, problem: Problem, state: State, config: Mapping[str, Any] | None, shard: Shard) -> Accepted:
        """Raises: TypeError or ValueError as ``gradient_flow`` for arguments that make no sense."""
        kind, end = _end(self.log_time, self.log10_time, self.log_loss)
        marks = None if self.save_at is None else _save_at(self.save_at, kind, end)
        facts = describe_run(problem, state, self.records if marks is None else len(marks) + 2, self.snapshots, config)
        least = problem.smallest_loss
        if kind == "log_loss" and least > 0 and end < math.log(least):
            why, way = (
                ("for labels smoothed so much", "ask for a larger one")
                if problem.loss.attained
                else ("in one dimension, where these counts cannot be separated", "use feature_dim of 2 or more")
            )
            raise ValueError(f"log_loss must be at least {math.log(least):.6g} {why}, but {end:g} was given: {way}.")
        if self.solver is not None and not isinstance(self.solver, Solver):
            raise TypeError(f"solver must be an ulpm.Solver, but {_checks.shown(self.solver)} was given.")
        tolerance = _checks.real("rtol", self.rtol, above=0, below=1)
        resolution = 8 * torch.finfo(state.W.dtype).eps
        if tolerance < resolution:
            raise ValueError(
                f"rtol must be at least {resolution:.1g} for {state.W.dtype}, but {self.rtol!r} was given."
            )
        limit = _checks.integer("max_steps", self.max_steps, minimum=1)
        check_memory(problem, state, facts["records"], facts["snapshots"], shard)
        facts |= {"method": "gradient flow", kind: end, "rtol": tolerance, "max_steps": limit}
        start_time = _start_time(self.start_log_time, state)
        if self.start_log_time is not None:
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
