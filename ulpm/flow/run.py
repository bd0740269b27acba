"""The gradient flow from a start to an end, recorded: the public entry points."""

import dataclasses
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm import _checks
from ulpm._modes import plain_arithmetic
from ulpm._threads import suitable_threads
from ulpm.distributed import ALONE, Shard
from ulpm.flow.checkpoint import read_checkpoint, write_checkpoint
from ulpm.flow.cohort import largest_cohort
from ulpm.flow.interrupt import deferred_interrupt
from ulpm.flow.loop import FlowLoop
from ulpm.flow.milestones import Milestones
from ulpm.flow.options import Accepted, FlowOptions
from ulpm.flow.progress import ProgressBar, progress_bar
from ulpm.flow.solver import Solver
from ulpm.flow.state import FlowState
from ulpm.flow.sweep import join_replicas, shared_out
from ulpm.flow.system import FlowSystem
from ulpm.problem import Problem
from ulpm.recorder import Recorder
from ulpm.state import State
from ulpm.trajectory import Trajectory

_SMALLEST_SQUARED_NORM = 1e-290
_SECONDS_BETWEEN_MEETINGS = 1.0

NOT_SEPARABLE = (
    "In one dimension at most two classes can be separated: the loss does not go to 0 and no margin becomes positive, "
    "so use feature_dim of 2 or more for neural collapse."
)

__all__ = ["NOT_SEPARABLE", "FlowRun", "gradient_flow", "needs_dimensions", "resume_flow"]


def needs_dimensions(problem: Problem) -> bool:
    """Whether to say ``NOT_SEPARABLE`` of a problem."""
    return problem.has_margins and not (problem.separable or problem.bias)


def gradient_flow(
    problem: Problem,
    state: State,
    *,
    log_time: float | None = None,
    log10_time: float | None = None,
    log_loss: float | None = None,
    start_log_time: float | Tensor | None = None,
    rtol: float = 1e-6,
    records: int = 200,
    save_at: Sequence[float] | Float[Tensor, " R"] | None = None,
    snapshots: int = 0,
    max_steps: int = 100_000,
    solver: Solver | None = None,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 30.0,
    config: Mapping[str, Any] | None = None,
    shard: Shard = ALONE,
) -> Trajectory:
    """Follow dW/dt = −∂Φ/∂W, dH/dt = −∂Φ/∂H (and b) from ``state`` at t = 0 to a time or loss that no float could hold.

    The flow is integrated in rescaled time ds = L dt, where it reads dΘ/ds = −∇ log L, by an explicit Runge–Kutta pair
    of order 5(4) and, where stability limits that, a Rosenbrock–Krylov method of order 4. Each replica is handed over,
    and back, by what the methods cost it.

    Φ is what the problem minimises, by default the summed cross-entropy L. With decay ds = Φ dt, and for squared error
    ds = dt. A flow that has a minimum to come to ends there before, ``Status.CONVERGED``, and the last record says
    when: where less than 1e-3·rtol·ρ seems left of the way and no eigenvalue of the Jacobian is found to be positive.

    The end is reached to round-off: 64 ε relative on the scale of the records, so that log t is right to 1e-12 in
    float64 and 1e-5 in float32. More than two classes in one dimension cannot be separated: a warning says that their
    loss does not go to 0.

    Args:
        problem: What is minimised.
        state: Where to start, in float64 or float32. A state with a replica axis [B, …] is B independent runs, each
            with its own steps and status.
        log_time: The end as log t. Exactly one of the three ends is given.
        log10_time: The end as log10 t.
        log_loss: The end as log L, the logarithm of Φ.
        start_log_time: log t at the start, one number or one a replica, where ``state`` is the end of another run: the
            clock then goes on from there. By default the start is at t = 0.
        rtol: Bounds the local error of (W, H) relative to ρ, and that of log t relative to max(1, log t). Below 1.
            Errors of the result shrink in proportion to it.
        records: How many records to keep, the start and the end included. Those between are even in
            log(1 + log(1 + t)), or in log(1 + log L(0) − log L) if a loss is given.
        save_at: Rising log times [R] between the start and an end that is a time. There is a record at each of these
            instead.
        snapshots: How many whole states to keep, evenly spread over the records.
        max_steps: How many steps a replica may attempt. A run that needs more ends with ``Status.STEP_LIMIT``.
        solver: Other methods than these two (``ulpm.Solver``). A resumed run must be given it again.
        progress: Whether to show a progress bar.
        checkpoint: A file into which the whole run is written, from which ``resume_flow`` can go on.
        checkpoint_seconds: The wall-clock seconds between two checkpoints.
        config: Facts that JSON can hold, such as the seed, to keep with the result.
        shard: That of one of several processes (``ulpm.distributed``), all of which call this with the same arguments.
            Each follows its own columns of H, or its own replicas if there are several, and all return the whole.

    Returns:
        A Trajectory. A replica that could not reach the end says why in its status instead of raising.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a number is out of its range, arguments do not fit together, or the run does not fit into memory.
        OSError: If a checkpoint cannot be written.

    Source: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022.

    >>> problem = ulpm.Problem([5] * 4, feature_dim=20)
    >>> path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=100, records=2)
    >>> print(path.status)
    The requested log time was reached.
    >>> [f"{value:.3f}" for value in path.margin_ratio.tolist()]
    ['-0.528', '0.995']
    """
    options = FlowOptions(
        log_time=log_time,
        log10_time=log10_time,
        log_loss=log_loss,
        start_log_time=start_log_time,
        rtol=rtol,
        records=records,
        save_at=save_at,
        snapshots=snapshots,
        max_steps=max_steps,
        solver=solver,
    )
    run = FlowRun.prepare(problem, state, options, config, shard)
    if needs_dimensions(problem):
        warnings.warn(NOT_SEPARABLE, stacklevel=2)
    return run.finish(progress, checkpoint, checkpoint_seconds)


def resume_flow(
    checkpoint: str | os.PathLike[str],
    *,
    progress: bool = False,
    checkpoint_seconds: float = 30.0,
    device: str | None = None,
    max_steps: int | None = None,
    solver: Solver | None = None,
    shard: Shard = ALONE,
) -> Trajectory:
    """Go on from a checkpoint that ``gradient_flow`` wrote; on the same machine the result is the same bit for bit.

    Any number of processes may go on with what another number began.

    Args:
        checkpoint: The file. Later checkpoints replace it.
        progress: Whether to show a progress bar.
        checkpoint_seconds: The wall-clock seconds between two checkpoints.
        device: Where to go on; by default where the run was.
        max_steps: Another limit of steps; by default that of the run.
        solver: That of the run, if it had one of its own. Without it the run goes on with the usual one.
        shard: That of one of several processes, as for ``gradient_flow``.

    Returns:
        The Trajectory from the start of the run.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If the device of the run is not here, or a number is out of its range.
        OSError: If the file cannot be read or written.

    >>> import tempfile
    >>> problem = ulpm.Problem([2] * 3, feature_dim=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     start = problem.random_state(seed=0)
    ...     part = ulpm.gradient_flow(problem, start, log_time=9, max_steps=3, checkpoint=f"{folder}/c")
    ...     whole = ulpm.resume_flow(f"{folder}/c", max_steps=1000)
    >>> part.status.name, whole.status.name
    ('STEP_LIMIT', 'LOG_TIME_REACHED')
    """
    loop, state, config, sweep = read_checkpoint(Path(checkpoint), device, shard, solver)
    if max_steps is not None:
        config["max_steps"] = _checks.integer("max_steps", max_steps, minimum=1)
    return FlowRun(loop, state, config, sweep).finish(progress, checkpoint, checkpoint_seconds)


@dataclasses.dataclass
class FlowRun:
    """A flow that is ready to go: its state, at the start or at a checkpoint, and the facts kept with its result.

    ``sweep`` says of which processes this is one, if they share the replicas out.
    """

    loop: FlowLoop
    state: FlowState
    config: Mapping[str, Any]
    sweep: Shard = ALONE

    @classmethod
    def prepare(
        cls,
        problem: Problem,
        state: State,
        options: FlowOptions,
        config: Mapping[str, Any] | None = None,
        shard: Shard = ALONE,
    ) -> "FlowRun":
        """Check the arguments of ``gradient_flow`` and record the start. Nothing is written anywhere."""
        # Memory that is free is not the same number everywhere.
        checked = shard.together(lambda: options.accepted(problem, state, config, shard))
        replicas = checked.facts["replicas"] or 1
        sweep, columns = shared_out(shard, replicas, problem.num_samples)
        if sweep.count > 1:
            # Of a sweep each process sees the starts of its own replicas only.
            own = sweep.part(replicas)
            state, checked = state[own], checked._replace(start_time=checked.start_time[own])
        loop, begun = sweep.together(lambda: _started(problem, state, checked, options.solver or Solver(), columns))
        return cls(loop, begun, checked.facts, sweep)

    def finish(
        self, progress: bool, checkpoint: str | os.PathLike[str] | None, checkpoint_seconds: float
    ) -> Trajectory:
        """Run to the end, with checkpoints by the wall clock, and one when interrupted or out of steps."""
        progress = _checks.flag("progress", progress)
        seconds = _checks.real("checkpoint_seconds", checkpoint_seconds, above=0)
        file = None if checkpoint is None else Path(checkpoint)
        threads, leads = suitable_threads(self.state.final), self.sweep.leads and self.loop.system.layout.shard.leads
        # Inference mode saves a seventh of the time of a small problem; what leaves it must be ordinary tensors.
        with (
            torch.inference_mode(),
            plain_arithmetic(self.state.final.device),
            threads,
            progress_bar(progress and leads) as bar,
            deferred_interrupt() as interrupted,
        ):
            self._go(bar, file, seconds, interrupted)
        whole = self._whole()
        stats = {name: count for name, count in whole.counts.items() if name != "attempts"}
        final = self.loop.system.layout.unpack(whole.final)
        return self.loop.recorder.trajectory(whole.records, final, whole.status, stats, self.config)

    def save(self, checkpoint: Path) -> None:
        """Replace ``checkpoint`` by the present state of the run; every process takes part.

        Raises: OSError with one sentence if that is not possible.
        """
        whole = self._whole()
        if self.sweep.leads:
            write_checkpoint(checkpoint, self.loop, whole, self.config)

    def step(self) -> None:
        """Attempt one step of every running replica."""
        self.state = self.loop.step(self.state)

    def _whole(self) -> FlowState:
        """The state of all replicas, wherever they are."""
        return self.state if self.sweep.count == 1 else join_replicas(self.loop, self.state, self.sweep)

    def _go(
        self, bar: ProgressBar | None, checkpoint: Path | None, seconds: float, interrupted: Callable[[], bool]
    ) -> None:
        together = self.sweep if self.sweep.count > 1 else self.loop.system.layout.shard
        most = self.config["max_steps"] * self.loop.cohorts(self.state)
        due = time.monotonic() + seconds

        def under_way() -> bool:
            """Whether there is something left that may be done."""
            return self.state.running and self.state.counts["attempts"] < most

        while True:
            late, out_of_steps = time.monotonic() >= due, self.state.running and not under_way()
            # What a clock or a person says, all processes must be told.
            stop, late, going, out_of_steps = together.any(interrupted(), late, under_way(), out_of_steps)
            if checkpoint is not None and (stop or (late and going) or (out_of_steps and not going)):
                self.save(checkpoint)
            if late:
                due = time.monotonic() + seconds
            if stop:
                raise KeyboardInterrupt
            if not going:
                if self.state.running:
                    self.state = self.loop.stop(self.state)
                return
            # One step where processes share a replica, of replicas that nobody else waits for as many as are made until
            # all meet again, and of one process alone all until the next checkpoint.
            until = due if together.count == 1 else time.monotonic()
            if self.sweep.count > 1:
                until += _SECONDS_BETWEEN_MEETINGS
            while under_way():
                self.step()
                if bar is not None:
                    bar.update(self.state)
                if time.monotonic() >= until or interrupted():
                    break


def _started(
    problem: Problem, state: State, checked: Accepted, solver: Solver, shard: Shard
) -> tuple[FlowLoop, FlowState]:
    """A run at its start, which is recorded."""
    facts = checked.facts
    with plain_arithmetic(state.W.device):
        system = FlowSystem(problem, state.W.device, shard, solver.product_dtype)
        y = system.layout.pack(state)
        parts = torch.split(y, largest_cohort(len(y), system.layout.numbers, y.device))
        log_loss = torch.cat([system.loss(part).log_loss for part in parts])
        # A loss that is attained may be 0.
        known = torch.isfinite(log_loss) | ((log_loss == -torch.inf) & problem.attained)
        if not bool((known & torch.isfinite(state.squared_norm)).all()):
            what = "so large that its logits, its norm or what decay makes of it overflow: scale it, or the decay, down"
            plain = "so large that its logits or its norm overflow: scale it down"
            raise ValueError(f"the start is {what if problem.decayed else plain}.")
        if bool((state.squared_norm < _SMALLEST_SQUARED_NORM).any()):
            nonzero = state.W.abs().amax((-2, -1)) + state.H.abs().amax((-2, -1)) > 0
            if bool((nonzero & (state.squared_norm < _SMALLEST_SQUARED_NORM)).any()):
                raise ValueError("the start is so small that its norm underflows: scale it up.")
        start_time = checked.start_time.reshape(-1)
        milestones = Milestones.until(
            checked.kind, checked.end, facts["records"], log_loss, start_time, checked.save_at
        )
        loop = FlowLoop(system, Recorder(problem, y.device, shard), facts["rtol"], y.dtype, solver)
        clock = loop.clock.start(start_time, log_loss.double().cpu())
        return loop, loop.start(milestones, y, clock, facts["snapshots"])
