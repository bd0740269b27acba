"""Error against time beside other solvers, at a time t that they can reach; compared where errors are equal."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from figures import work_precision_figure
from peers import Outcome, scipy_solver, torchdiffeq_dopri5
from report import Goal, Section, Tell, count, table
from timing import Timing, repeat, seconds_text

import ulpm

Solver = Callable[[ulpm.Problem, ulpm.State, float, float], Outcome]


@dataclasses.dataclass(frozen=True)
class Setting:
    """A problem, the time to reach, the tolerances tried, and the rate of gradient descent."""

    K: int
    n: int
    d: int
    end: float
    tolerances: tuple[float, ...]
    learning_rate: float
    repetitions: int


FULL = Setting(10, 50, 64, 1e4, tuple(10.0**-p for p in range(2, 12)), 0.1, 7)
QUICK = Setting(3, 4, 6, 10.0, (1e-3, 1e-5, 1e-7, 1e-9), 0.1, 3)
REFERENCE_RTOL = 1e-12
EQUAL_ERROR = 1e-6


@dataclasses.dataclass(frozen=True)
class Point:
    """A run: its tolerance, time, evaluations, and true errors of (W, H)/ρ and of log L."""

    rtol: float | None
    timing: Timing
    evaluations: int
    state_error: float
    loss_error: float


def ulpm_solver(problem: ulpm.Problem, start: ulpm.State, end: float, rtol: float) -> Outcome:
    """ulpm's flow, with as few records as it can have."""
    path = ulpm.gradient_flow(problem, start, log_time=math.log(end), rtol=rtol, records=2)
    return Outcome(path.final_state, path.stats["field_evaluations"] + path.stats["jacobian_products"])


SOLVERS: dict[str, Solver] = {
    "ulpm": ulpm_solver,
    "scipy RK45": scipy_solver("RK45"),
    "scipy DOP853": scipy_solver("DOP853"),
    "torchdiffeq dopri5": torchdiffeq_dopri5,
}
DESCENT = "gradient descent"


class Errors:
    """True errors against a reference state."""

    def __init__(self, problem: ulpm.Problem, reference: ulpm.State) -> None:
        self._problem, self._reference = problem, reference
        self._log_loss = float(ulpm.log_loss(problem, reference))
        self._size = float(reference.squared_norm.sqrt())

    def of(self, state: ulpm.State) -> tuple[float, float]:
        """‖(W, H) − reference‖/ρ and |log L − reference|."""
        squared = (state.W - self._reference.W).square().sum() + (state.H - self._reference.H).square().sum()
        return float(squared.sqrt()) / self._size, abs(float(ulpm.log_loss(self._problem, state)) - self._log_loss)


def seconds_at(points: Sequence[Point], error: float, kind: str) -> float:
    """Seconds for a given true error, by log-log interpolation between the runs that no other beats in both.

    An error larger than any measured costs what the cheapest run costs; one smaller than any is not reached: nan.
    """
    best: list[tuple[float, float]] = []
    for wrong, seconds in sorted((getattr(point, kind), point.timing.median) for point in points):
        if not best or seconds < best[-1][1]:
            best.append((wrong, seconds))
    if error < best[0][0]:
        return math.nan
    errors, times = np.log(best).T
    return math.exp(np.interp(math.log(error), errors, times))


def measure(setting: Setting, tell: Tell) -> tuple[dict[str, list[Point]], float]:
    """Every run of every method; and how far ulpm at its tightest tolerance is from the reference."""
    problem = ulpm.Problem([setting.n] * setting.K, setting.d)
    start = problem.random_state(seed=0)
    tell(f"reference: DOP853 at rtol {REFERENCE_RTOL:g}")
    errors = Errors(problem, SOLVERS["scipy DOP853"](problem, start, setting.end, REFERENCE_RTOL).state)
    # In rounds, so that what disturbs the machine for a while disturbs every method alike.
    runs = [(name, rtol) for name in SOLVERS for rtol in setting.tolerances]
    seconds: dict[tuple[str, float], list[float]] = {run: [] for run in runs}
    points: dict[str, list[Point]] = {name: [] for name in SOLVERS}
    for solver in SOLVERS.values():
        solver(problem, start, setting.end, setting.tolerances[0])
    for turn in range(setting.repetitions):
        for name, rtol in runs:
            tell(f"{name} at rtol {rtol:.0e}, round {turn + 1} of {setting.repetitions}")
            timing, outcome = repeat(lambda n=name, r=rtol: SOLVERS[n](problem, start, setting.end, r))
            seconds[name, rtol].append(timing.best)
            if turn == setting.repetitions - 1:
                timing = Timing(tuple(seconds[name, rtol]))
                points[name].append(Point(rtol, timing, outcome.evaluations, *errors.of(outcome.state)))
    tell(f"{DESCENT}, rate {setting.learning_rate}")
    steps = round(setting.end / setting.learning_rate)
    timing, path = repeat(
        lambda: ulpm.gradient_descent(problem, start, learning_rate=setting.learning_rate, steps=steps, records=2),
        repetitions=3,
        patience=math.inf,
    )
    points[DESCENT] = [Point(None, timing, steps, *errors.of(path.final_state))]
    return points, min(point.state_error for point in points["ulpm"])


def equal_error_rows(points: dict[str, list[Point]], kind: str) -> list[tuple[str, float, dict[str, float]]]:
    """For each error to compare at: whose it is, its value, and the seconds of each method."""
    own = getattr(points[DESCENT][0], kind)
    rows = []
    for name, error in (("", EQUAL_ERROR), (", gradient descent's own", own)):
        seconds = {method: seconds_at(runs, error, kind) for method, runs in points.items()}
        rows.append((name, error, seconds))
    return rows


def compare(points: dict[str, list[Point]]) -> tuple[str, list[Goal]]:
    """The table of times at equal error, in words too, and the goals."""
    rows, sentences, goals = [], [], []
    for kind, what in (("state_error", "(W, H)/ρ"), ("loss_error", "log L")):
        for name, error, seconds in equal_error_rows(points, kind):
            shown = [seconds_text(value) if value == value else "not reached" for value in seconds.values()]
            rows.append((what, f"{error:.1e}{name}", *shown))
            best = min(("scipy RK45", "scipy DOP853"), key=lambda method: seconds[method])
            ratio = seconds[best] / seconds["ulpm"]
            sentences.append(
                f"At an error of {error:.1e} in {what}{name}, ulpm takes {seconds_text(seconds['ulpm'])} and {best}, "
                f"scipy's best, {seconds_text(seconds[best])}: ulpm is {speed(ratio)}."
            )
            if error == EQUAL_ERROR:
                claim = f"time of scipy's best ÷ time of ulpm, at equal error {EQUAL_ERROR:g} in {what}"
                goals += [Goal.at_least(claim, 1.0, ratio), Goal.at_least(f"{claim} (aim)", 2.0, ratio)]
            else:
                ratio = seconds[DESCENT] / seconds["ulpm"]
                sentences.append(f"At that error ulpm is {speed(ratio)} than gradient descent.")
                claim = f"time of gradient descent ÷ time of ulpm, at gradient descent's error in {what}"
                goals.append(Goal.at_least(claim, 100.0, ratio))
    header = ("error in", "equal error", *points)
    return table(header, rows) + "\n\n" + "\n".join(f"- {sentence}" for sentence in sentences), goals


def speed(ratio: float) -> str:
    """A ratio of times in words."""
    return f"{ratio:.3g} times faster" if ratio >= 1 else f"{1 / ratio:.3g} times slower"


def run(quick: bool, tell: Tell) -> Section:
    """Measure and compare."""
    setting = QUICK if quick else FULL
    points, agreement = measure(setting, tell)
    comparison, goals = compare(points)
    rows = [
        (
            name,
            "–" if point.rtol is None else f"{point.rtol:.0e}",
            point.timing,
            count(point.evaluations),
            f"{point.state_error:.1e}",
            f"{point.loss_error:.1e}",
        )
        for name, runs in points.items()
        for point in runs
    ]
    text = TEXT.format(
        K=setting.K,
        n=setting.n,
        d=setting.d,
        end=setting.end,
        reference=REFERENCE_RTOL,
        repetitions=setting.repetitions,
        rate=setting.learning_rate,
        steps=count(round(setting.end / setting.learning_rate)),
        agreement=agreement,
    )
    details = table(("method", "rtol", "time", "evaluations", "error of (W, H)/ρ", "error of log L"), rows)
    text += f"{comparison}\n\n![Error against time](benchmarks-work-precision.png)\n\nEvery run:\n\n{details}"
    title = f"K = {setting.K}, n = {setting.n}, d = {setting.d}, to t = {setting.end:g}"
    figure = work_precision_figure(points, title)
    return Section("Error against work", text, goals, {"benchmarks-work-precision.png": figure})


TEXT = """This section runs K={K} n={n} d={d} from a random start to t = {end:g}, on one thread. Other solvers can still
reach this time. scipy's `solve_ivp` and torchdiffeq's `dopri5` integrate dΘ/dt = −∇L in flow time t. We wrote a field
for them, with logits in a preallocated buffer and residuals summed rather than 1 − softmax. Their `atol` is `rtol` ×
the root mean square of the start's entries. Gradient descent takes {steps} steps of rate {rate:g}. A time is the median
(least–greatest) of {repetitions} rounds, so a disturbance of the machine affects all methods. In a round each method
runs three times in a row at each tolerance, and the fastest run counts. For gradient descent the time is the median of
3 runs. ulpm runs with `records=2`, and its times include recording.

Errors are true errors, ‖(W, H) − reference‖/ρ and abs(log L − reference). The reference is scipy's DOP853 at rtol
{reference:g}. ulpm at its tightest tolerance differs from the reference by {agreement:.0e} in (W, H)/ρ. We compare
times at equal *measured* error. We interpolate in the logarithms of both, between runs that no other run of the method
beats in both time and error. For an error larger than any measured one, we take the time of the cheapest run.

"""
