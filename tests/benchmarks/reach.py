"""How late a time is reached, at what cost, and how well the result keeps the invariants and the known limits."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from unittest import mock

import torch
from report import Goal, Section, Tell, count, table
from spectrum import spectra_text
from timing import Timing, repeat, seconds_text

import ulpm
import ulpm.flow.krylov


@dataclasses.dataclass(frozen=True)
class Case:
    """A balanced problem, how far to follow it, and how precisely."""

    K: int
    n: int
    d: int
    log_time: float
    horizon: str
    rtol: float

    @property
    def sizes(self) -> str:
        """The problem in words."""
        return f"K={self.K} n={self.n} d={self.d}"


@dataclasses.dataclass(frozen=True)
class Reached:
    """A case, its run, its times, and the iterations of every linear solve (the largest over replicas)."""

    case: Case
    path: ulpm.Trajectory
    timing: Timing
    iterations: list[int]

    @property
    def evaluations(self) -> int:
        """Field evaluations and Jacobian products."""
        return self.path.stats["field_evaluations"] + self.path.stats["jacobian_products"]

    @property
    def mean_iterations(self) -> float:
        """Of the linear solves; 0 without any."""
        return sum(self.iterations) / max(1, len(self.iterations))

    @property
    def norm_error(self) -> float:
        """ρ²/log t ÷ 2v* − 1 at the end."""
        limit = 2 * self.path.problem.minimum_norm_value
        return float(self.path.squared_norm[-1] / self.path.log_time[-1]) / limit - 1

    @property
    def rate_error(self) -> float:
        """L·t·log t ÷ (v*/2) − 1 at the end."""
        log_t = float(self.path.log_time[-1])
        log_value = float(self.path.log_loss[-1]) + log_t + math.log(log_t)
        return math.exp(log_value - math.log(self.path.problem.minimum_norm_value / 2)) - 1

    def row(self) -> tuple[str, ...]:
        """A line of the table."""
        stats, drift = self.path.stats, self.path.invariant_drift["balancedness"]
        return (
            self.case.sizes,
            self.case.horizon,
            f"{self.case.rtol:.0e}",
            str(self.timing),
            f"{count(stats['steps'])} ({stats['rejected_steps']})",
            f"{count(stats['field_evaluations'])} + {count(stats['jacobian_products'])}",
            f"{self.mean_iterations:.1f} / {max(self.iterations, default=0)}",
            f"{drift.max():.0e} / {drift[-1]:.0e}",
            f"{self.norm_error:.1e}",
            f"{self.rate_error:.1e}",
        )


def powers(exponent: int) -> tuple[float, str]:
    """log t and the words for t = 10^(10^exponent)."""
    return 10.0**exponent * math.log(10), f"10^(10^{exponent})"


FULL = [
    Case(*sizes, *powers(exponent), rtol)
    for sizes in ((10, 50, 64), (4, 5, 20))
    for exponent in (3, 6)
    for rtol in (1e-4, 1e-6, 1e-8)
]
MANY_CLASSES = Case(100, 20, 128, 1e4, "e^10000", 1e-4)
FEW_CLASSES = Case(10, 50, 64, *powers(6), 1e-4)
TARGET = Case(10, 50, 64, *powers(6), 1e-6)
QUICK_TARGET = Case(4, 5, 20, *powers(2), 1e-4)
QUICK = [QUICK_TARGET]
REFERENCE_RTOL = 1e-9


@contextlib.contextmanager
def watched_solves() -> Iterator[list[int]]:
    """Collects the iterations of every linear solve of the runs inside."""
    solve = ulpm.flow.krylov.ConjugateGradients.solve
    iterations: list[int] = []

    def watched(*arguments, **named):
        solution = solve(*arguments, **named)
        iterations.append(int(solution.iterations.max()))
        return solution

    with mock.patch.object(ulpm.flow.krylov.ConjugateGradients, "solve", watched):
        yield iterations


def follow(case: Case, rtol: float | None = None, device: str = "cpu") -> ulpm.Trajectory:
    """The run of a case from its first random start."""
    problem = ulpm.Problem([case.n] * case.K, case.d)
    start = problem.random_state(seed=0, device=device)
    return ulpm.gradient_flow(problem, start, log_time=case.log_time, rtol=rtol or case.rtol)


def measure(case: Case) -> Reached:
    """Time a case, and look at its solves in one of the repetitions."""

    def work() -> tuple[ulpm.Trajectory, list[int]]:
        with watched_solves() as iterations:
            return follow(case), iterations

    timing, (path, iterations) = repeat(work)
    if not path.finished:
        raise RuntimeError(f"{case.sizes} did not reach {case.horizon}: {path.status}")
    return Reached(case, path, timing, iterations)


def largest_deviation(
    path: ulpm.Trajectory, reference: ulpm.Trajectory, records: slice = slice(None)
) -> tuple[float, str]:
    """The largest relative difference of a metric at any of the records, and its name; what is 0 in both agrees."""
    deviations = {}
    for name in path.metrics:
        values, exact = path.metrics[name][records], reference.metrics[name][records]
        relative = torch.where(values == exact, 0.0, (values / exact - 1).abs())
        deviations[name] = float(relative.max())
    worst = max(deviations, key=deviations.__getitem__)
    return deviations[worst], worst


def target_goals(target: Reached, tell: Tell) -> list[Goal]:
    """What was promised of the run of the target case."""
    case = target.case
    tell(f"{case.sizes} at rtol {REFERENCE_RTOL:g}, the reference of the metrics")
    deviation, worst = largest_deviation(target.path, follow(case, REFERENCE_RTOL))
    what = f"{case.sizes} to t = {case.horizon} at rtol {case.rtol:.0e}"
    drift = target.path.invariant_drift
    return [
        Goal.at_most(f"{what}: seconds", 6.0, target.timing.median, seconds_text),
        Goal.at_most(f"{what}: seconds (aim)", 1.5, target.timing.median, seconds_text),
        Goal.at_most(f"{what}: field evaluations and Jacobian products", 12_000, target.evaluations, count),
        Goal.at_most(f"{what}: field evaluations and Jacobian products (aim)", 3_000, target.evaluations, count),
        Goal.at_most(f"{what}: balancedness drift, any record", 1e-5, float(drift["balancedness"].max())),
        Goal.at_most(f"{what}: balancedness drift, end", 1e-8, float(drift["balancedness"][-1])),
        Goal.at_most(f"{what}: classifier-sum drift, any record", 1e-10, float(drift["classifier_sum"].max())),
        Goal.at_most(f"{what}: abs(ρ²/log t ÷ 2(K−1)√n − 1)", 1e-4, abs(target.norm_error)),
        Goal.at_most(f"{what}: abs(L·t·log t ÷ ½(K−1)√n − 1)", 1e-3, abs(target.rate_error)),
        Goal.at_most(
            f"{what}: largest deviation of a metric (`{worst}`) from a run at rtol {REFERENCE_RTOL:g}", 0.01, deviation
        ),
    ]


HEADER = (
    "problem",
    "t",
    "rtol",
    "time",
    "steps (rejected)",
    "field evaluations + Jacobian products",
    "CG iterations a solve: mean / largest",
    "balancedness drift: largest / end",
    "ρ²/log t ÷ 2v* − 1",
    "L·t·log t ÷ ½v* − 1",
)


def run(quick: bool, tell: Tell) -> Section:
    """Follow every case."""
    cases = QUICK if quick else [*FULL, MANY_CLASSES]
    rows = {}
    for case in cases:
        tell(f"{case.sizes} to t = {case.horizon}, rtol {case.rtol:.0e}")
        rows[case] = measure(case)
    text = TEXT + table(HEADER, [reached.row() for reached in rows.values()]) + "\n\n"
    target = rows[QUICK_TARGET if quick else TARGET]
    text += (
        many_classes_text(rows.get(MANY_CLASSES, target), rows.get(FEW_CLASSES, target))
        + "\n\n"
        + spectra_text(quick, tell)
    )
    return Section("Reach", text, target_goals(target, tell))


def many_classes_text(many: Reached, few: Reached) -> str:
    """What many classes cost, and where it goes, beside few."""
    return MANY_CLASSES_TEXT.format(
        sizes=many.case.sizes,
        horizon=many.case.horizon,
        time=seconds_text(many.timing.median),
        share=many.path.stats["jacobian_products"] / many.evaluations,
        mean=many.mean_iterations,
        largest=max(many.iterations, default=0),
        few=few.case.sizes,
        few_horizon=few.case.horizon,
        few_rtol=few.case.rtol,
        few_mean=few.mean_iterations,
        each=seconds_text(many.timing.median / many.evaluations),
        few_each=seconds_text(few.timing.median / few.evaluations),
        work=many.case.K**2 * many.case.n * many.case.d / (few.case.K**2 * few.case.n * few.case.d),
        angle=float(many.path.metrics["nc2_angle_classifier"][-1]),
        few_angle=float(few.path.metrics["nc2_angle_classifier"][-1]),
    )


TEXT = """This section runs the flow from a random start to a late time, with `ulpm.gradient_flow` and its default of
200 records, on one thread. Times include recording. They are the median (least–greatest) of three runs, or of fewer
once 10 s were spent. Drifts are ‖B − B(0)‖/ρ² over all records and at the last. The two right columns compare the end
with the limits of the theory, with v* = (K−1)√n. Their distance shrinks like 1/log t. It belongs to the flow and is not
an error of the method. A *solve* is one conjugate-gradient (CG) solution of a stage of the stiff method.

"""

MANY_CLASSES_TEXT = """{sizes} to t = {horizon} takes {time}. {share:.0%} of its evaluations are Jacobian products,
because a solve takes {mean:.1f} iterations on average and {largest} at most. {few} to t = {few_horizon} takes
{few_mean:.1f} on average, both at rtol {few_rtol:.0e}. An evaluation, with recording, takes {each} and {few_each}
respectively, with {work:.0f} times the arithmetic in the first problem. At the end the angles of its classifier are
still {angle:.1e} from those of a simplex (`nc2_angle_classifier`; {few_angle:.1e} for the other problem)."""
