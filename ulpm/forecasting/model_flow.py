"""The flow of the model that a network is compared with: its start, its end, and the speed of its features.

In a network a step changes the features of all samples of a class together, so features move c times as fast as
free ones would, relative to the classifier. The flow with *feature mobility* c,

    dW/dt = R Hᵀ,   dH/dt = c Wᵀ R,

is the flow of the model itself, seen in other units: W' = c^{1/4} W, H' = c^{−1/4} H and t' = √c t obey the equations
for c = 1, with the same logits, and every metric compared is the same for (W', H') as for (W, H). It keeps
c WᵀW − HHᵀ. From a start that both have outgrown, therefore, ‖H‖² = c ‖W‖²: the mobility can be read off a state.

With decay dW/dt = R Hᵀ − λ_W W and dH/dt = c (Wᵀ R − λ_H H), which minimises the same Φ: in the other units λ_W is
divided by √c and λ_H multiplied by it. A bias has no other unit in which its logits stay the same: it moves √c times as
fast as dW/dt says.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ulpm import _files
from ulpm.flow import gradient_flow
from ulpm.flow.clock import elapsed, log_time_at
from ulpm.forecasting.curves import COMPARED, Curve, flow_curve
from ulpm.objective import log_loss as log_loss_of
from ulpm.problem import Problem
from ulpm.state import State
from ulpm.trajectory import Trajectory

__all__ = ["ModelFlow", "decay_with_mobility", "measured_mobility", "random_start", "with_mobility"]

_RECORDS = 200
_EARLIEST = -600.0


def measured_mobility(state: State) -> float:
    """c = ‖H‖_F²/‖W‖_F², the mobility under which both would have grown from nothing to their present norms.

    Raises: ValueError if W or H is zero.
    """
    squares = {name: float(X.square().sum()) for name, X in (("features", state.H), ("classifier", state.W))}
    for name, square in squares.items():
        if not square:
            raise ValueError(f"the {name} of a snapshot must not be all zero, but one is: give a later snapshot.")
    return squares["features"] / squares["classifier"]


def with_mobility(state: State, mobility: float) -> State:
    """(c^{1/4} W, c^{−1/4} H), from which the model's own flow is that of (W, H) with feature mobility c."""
    return State(state.W * mobility**0.25, state.H * mobility**-0.25, state.b)


def decay_with_mobility(problem: Problem, mobility: float) -> Problem:
    """The problem in these units: Φ is the same at ``with_mobility`` of a state."""
    λ_W, λ_H = problem.weight_decay
    decay = (λ_W * mobility**-0.5, λ_H * mobility**0.5)
    return dataclasses.replace(problem, weight_decay=decay)


def random_start(problem: Problem, like: State, seed: int) -> State:
    """Gaussian W and H with the norms ‖W‖_F and ‖H‖_F of ``like``; a bias is 0."""
    drawn = problem.random_state(seed, device=str(like.W.device))
    W, H = drawn.W * (like.W.norm() / drawn.W.norm()), drawn.H * (like.H.norm() / drawn.H.norm())
    return State(W, H, drawn.b)


@dataclasses.dataclass(frozen=True, eq=False)
class ModelFlow:
    """A flow to compare with a network, from ``state`` at the network's flow time ``starts_at``."""

    name: str
    problem: Problem
    state: State
    mobility: float
    starts_at: float

    @property
    def start(self) -> State:
        """The state in the units in which its flow is the model's own."""
        return with_mobility(self.state, self.mobility)

    @property
    def own_problem(self) -> Problem:
        """The problem in these units."""
        return decay_with_mobility(self.problem, self.mobility)

    def follow(
        self,
        log_loss: float,
        flow_time: float,
        file: Path | None,
        rtol: float,
        progress: bool,
        recorded_at: Sequence[float] = (),
    ) -> Trajectory:
        """The flow until both log L and the flow time t have been passed; kept in ``file``, if one is given, and
        read from it again.

        With decay, where log L comes to rest, until the flow time alone. Times and states are those in the units of
        ``start``: see ``curve`` and ``network_state``. Where the flow time is the end, there are records at the rising
        flow times ``recorded_at``, too.

        Raises: OSError if the file is damaged or cannot be written, ValueError if the flow does not get there.
        """
        facts: dict[str, object] = {"start": _identity(self.start), "ends_at": [log_loss, flow_time], "tolerance": rtol}
        if recorded_at:
            facts["recorded_at"] = list(recorded_at)
        return self._kept(file, facts, lambda: self._run(log_loss, flow_time, rtol, progress, facts, recorded_at))

    def curve(self, path: Trajectory, ends_at: float = 0.0) -> Curve:
        """What ``follow`` returned, on the network's clocks; a flow at rest stays there until ``ends_at``."""
        return flow_curve(path, self.mobility, self.starts_at, ends_at)

    def network_state(self, state: State) -> State:
        """A state of the flow in the network's units."""
        return with_mobility(state, 1 / self.mobility)

    def state_at_loss(self, log_loss: float, file: Path | None, rtol: float, progress: bool) -> State:
        """Where the flow is when log L is ``log_loss``, in the units of ``start``; the start if it is there already.

        Kept in ``file``, if one is given. Raises: as ``follow``.
        """
        if float(log_loss_of(self.problem, self.start)) <= log_loss:
            return self.start
        facts: dict[str, object] = {"start": _identity(self.start), "log_loss": log_loss, "tolerance": rtol}

        def run() -> Trajectory:
            config = {"comparison": facts}
            return gradient_flow(
                self.problem, self.start, log_loss=log_loss, rtol=rtol, records=2, progress=progress, config=config
            )

        return self._kept(file, facts, run).final_state

    def _kept(self, file: Path | None, facts: dict[str, object], run: Callable[[], Trajectory]) -> Trajectory:
        """The result of ``run``, or the stored result of an earlier call with the same facts."""
        if file is not None and file.exists():
            path = Trajectory.load(file)
            same = path.problem == self.own_problem and path.config.get("comparison") == facts
            if path.finished and same and set(COMPARED) <= set(path.metrics):
                return path
        path = run()
        if not path.finished:
            raise ValueError(f"the flow {self.name} ended early: {path.status}")
        if file is not None:
            path.save(file)
            _files.remove_leftovers(file)
        return path

    def _run(
        self,
        log_loss: float,
        flow_time: float,
        rtol: float,
        progress: bool,
        facts: dict[str, object],
        recorded_at: Sequence[float],
    ) -> Trajectory:
        problem, start = self.own_problem, self.start
        log_time = self._log_time(flow_time)
        config = {"comparison": facts}
        if not problem.decayed and float(log_loss_of(problem, start)) > log_loss:
            path = gradient_flow(problem, start, log_loss=log_loss, rtol=rtol, progress=progress, config=config)
            if not path.finished or float(path.log_time[-1]) >= log_time:
                return path
        # Before the earliest, the flow is still at its start to every digit.
        asked = [time for time in map(self._log_time, recorded_at) if _EARLIEST < time < log_time]
        save_at = sorted({*_usual_log_times(log_time), *asked}) if asked else None
        return gradient_flow(
            problem, start, log_time=log_time, rtol=rtol, save_at=save_at, progress=progress, config=config
        )

    def _log_time(self, flow_time: float) -> float:
        """log of the flow's own time, which passes √c times as fast, at the network's."""
        return math.log(max(flow_time - self.starts_at, 1e-300)) + math.log(self.mobility) / 2


def _usual_log_times(end: float) -> list[float]:
    """Between the start and the end, even in log(1 + log(1 + t)), as ``gradient_flow`` records by itself."""
    last = elapsed(torch.tensor(end, dtype=torch.float64, device="cpu"))
    marks = torch.linspace(0, 1, _RECORDS, dtype=torch.float64, device="cpu")[1:-1] * last
    times: list[float] = log_time_at(marks).tolist()
    return times


def _identity(state: State) -> list[float]:
    """Numbers that tell one start from another."""
    weights = torch.linspace(1, 2, state.H.numel(), dtype=state.H.dtype, device=state.H.device)
    bias = [] if state.b is None else state.b.tolist()
    of_features = [float(state.H.norm()), float(weights @ state.H.flatten())]
    return [float(state.W.norm()), *of_features, *state.W[0, :4].tolist(), *bias]
