"""With equal class counts, neural collapse is the global optimum of the margin problem, with value (K − 1)√n.

Hypotheses: K classes of n samples each. d ≥ K − 1 for the optimum itself; d ≥ K for the statement about flows, since at
    d = K − 1 a flow may take longer than any time reached here to leave a saddle (see narrow_features).
Source: Theorem 3.1 and Corollary 3.1 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural
    Collapse", 2022, for the optimum and its geometry; that a limit of the flow is a KKT point is Lyu and Li, "Gradient
    Descent Maximizes the Margin of Homogeneous Neural Networks", 2020, and that it is this one is observed here.
Falsified by: a relaxation whose value is not (K − 1)√n or whose optimal factors are not collapsed; a record of a flow
    whose two bounds do not enclose (K − 1)√n; a start whose flow ends at another value. Variants that must fail: the
    constant K√n, fewer than K − 1 dimensions, unequal counts with the constant for equal ones.
Not verified: sizes beyond the grid. The flows are a sample of starts: none of them shows that all starts end here.
"""

import dataclasses
import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.invariants import invariant_claims
from ulpm.plotting import style

TITLE = "Global minimisers"

Size = tuple[tuple[int, ...], int]  # class counts, feature dimension


@dataclasses.dataclass(frozen=True)
class Config:
    """``grid``: problems to solve; ``flows``: problems to follow from random starts; the constant is (K − c)√n."""

    seed: int
    starts: int
    grid: tuple[Size, ...]
    flows: tuple[Size, ...]
    log_time: float
    c: float = 1.0
    device: str = "cpu"


FULL = Config(
    seed=0,
    starts=32,
    grid=tuple(((n,) * K, d) for K in (2, 3, 4, 6, 10) for n in (1, 5, 50) for d in (K - 1, K, 2 * K)),
    flows=(((2,) * 3, 3), ((5,) * 4, 8), ((1,) * 6, 6), ((2,) * 10, 12)),
    log_time=1e6,
)
QUICK = Config(seed=0, starts=4, grid=(((3,) * 4, 3), ((1,) * 6, 8)), flows=(((5,) * 4, 8),), log_time=1e5)
SHORT = dataclasses.replace(QUICK, starts=2, log_time=1e3)
FALSIFIED = {
    "the constant is K√n": dataclasses.replace(SHORT, c=0.0),
    "d = K − 2, one dimension too few": dataclasses.replace(SHORT, grid=(((1,) * 5, 3),), flows=(((1,) * 5, 3),)),
    "unequal counts": dataclasses.replace(SHORT, grid=(((6, 3, 2, 1), 4),), flows=(((6, 3, 2, 1), 4),)),
}


@dataclasses.dataclass(frozen=True)
class Optimum:
    """What the relaxation says about a problem: value and duality gap as shares of (K − c)√n, and the worst metric."""

    problem: ulpm.Problem
    value: float
    duality_gap: float
    worst_metric: float


@dataclasses.dataclass(frozen=True)
class Data:
    """An optimum for each problem of the grid, and a batch of flows for each problem to follow."""

    optima: tuple[Optimum, ...]
    paths: tuple[ulpm.Trajectory, ...]


def simulate(config: Config, work: Work) -> Data:
    """Solve the relaxation of each problem of the grid, and follow flows from random starts."""
    optima, paths = [], []
    for counts, d in config.grid:
        problem = ulpm.Problem(counts, d)
        work.tell(f"relaxation, K = {problem.num_classes}, N = {problem.num_samples}, d = {d}")
        solution, expected = ulpm.minimum_norm_separation(problem), value(config, problem)
        worst = math.nan  # no factors of this dimension
        if solution.state is not None:
            metrics = ulpm.neural_collapse(solution.state.W, solution.state.H, problem.labels)
            worst = max(float(metric) for metric in metrics.values())
        optima.append(Optimum(problem, solution.value / expected, solution.duality_gap / expected, worst))
    for counts, d in config.flows:
        problem = ulpm.Problem(counts, d)
        work.tell(f"{config.starts} flows, K = {problem.num_classes}, N = {problem.num_samples}, d = {d}")
        start = problem.random_state(seed=config.seed, replicas=config.starts, device=config.device)
        paths.append(work.flow(problem, start, log_time=config.log_time, records=120))
    return Data(tuple(optima), tuple(paths))


def value(config: Config, problem: ulpm.Problem) -> float:
    """(K − c)√n, n the mean count."""
    return (problem.num_classes - config.c) * math.sqrt(problem.num_samples / problem.num_classes)


def shares(config: Config, path: ulpm.Trajectory, column: str) -> Tensor:
    """A bound at all records and starts as a share of (K − c)√n, less 1."""
    return path.columns()[column] / value(config, path.problem) - 1


def check(config: Config, data: Data) -> list[Claim]:
    """Invariants of the flows, then the optimum on the grid, then bounds and ends of the flows."""
    over = f"over {len(data.paths)} problems and {config.starts} starts each"
    grid = f"over {len(data.optima)} problems"
    lower = [shares(config, path, "lower_bound") for path in data.paths]
    upper = [shares(config, path, "nuclear_upper_bound") for path in data.paths]
    ends = [shares(config, path, "upper_bound")[-1].abs() for path in data.paths]
    angles = [path.metrics[f"nc2_angle_{of}"][-1] for path in data.paths for of in ("classifier", "means")]
    return [
        *invariant_claims(data.paths),
        Claim(
            f"Value of the convex relaxation over (K − 1)√n, distance from 1: largest {grid}",
            largest([abs(torch.tensor(optimum.value) - 1) for optimum in data.optima]),
            "<=",
            1e-9,
            "an equality; 1e-9 is the accuracy that the solver is asked for",
        ),
        Claim(
            f"Duality gap of the relaxation over (K − 1)√n: largest {grid}",
            largest([abs(torch.tensor(optimum.duality_gap)) for optimum in data.optima]),
            "<=",
            1e-9,
            "the proof, from the answer alone, that it is the optimum; 1e-9 is the accuracy asked for",
        ),
        Claim(
            f"Metrics of neural collapse of the optimal factors, all of them 0 at collapse: largest {grid}",
            largest([torch.tensor(optimum.worst_metric) for optimum in data.optima]),
            "<=",
            1e-6,
            "an equality; a value right to 1e-12 leaves the square root of that to the geometry",
        ),
        Claim(
            f"By how much (K − 1)√n lies outside the bounds of a record, as a share of it: largest {over}",
            largest([*lower, *[-share for share in upper]]),
            "<=",
            1e-12,
            "both bounds hold at every point up to rounding, so that the optimum lies between them",
        ),
        Claim(
            f"½ρ²/q_min over (K − 1)√n, distance from 1, at log t = {config.log_time:g}: largest {over}",
            largest(ends),
            "<=",
            1e-3,
            "the correction is of the order of the start's ρ² over log t, below 1e-3 from log t = 1e5 on; the next "
            "known KKT value lies 1/(K − 1) above the optimum, 0.1 or more here",
        ),
        Claim(
            f"Mean distance of cosines from −1/(K − 1), of W and of class means, at the end: largest {over}",
            largest(angles),
            "<=",
            1e-2,
            "they approach like (log t)^(−1/2) at worst with constants of order 1: 3e-3 at log t = 1e5",
        ),
    ]


def largest(values: list[Tensor]) -> float:
    """The greatest number in any of the tensors but −inf and inf, nan if one is nan."""
    everything = torch.cat([value.flatten() for value in values])
    return float(everything[~everything.isinf()].amax())


def plot(config: Config, data: Data) -> Figure:
    """Left: the optimum against K. Right: how the two bounds of the records close on it."""
    figure = style.new_figure(10.5, 4.4, "The optimum of the margin problem, and bounds that close on it along flows")
    left, right = figure.subplots(1, 2)
    counts = sorted({optimum.problem.class_counts[0] for optimum in data.optima})
    for n, marker, color in zip(counts, "osD^", style.COLORS, strict=False):
        points = {
            optimum.problem.num_classes: optimum.value * value(config, optimum.problem)
            for optimum in data.optima
            if optimum.problem.class_counts[0] == n
        }
        left.plot(list(points), list(points.values()), marker, color=color, label=f"relaxation, $n$ = {n}")
        left.plot(list(points), [(K - config.c) * math.sqrt(n) for K in points], **style.THEORY)
    left.plot([], [], **style.THEORY, label=r"$(K-1)\sqrt{n}$")
    left.set(xlabel="classes $K$", ylabel=r"value $v^*$ = min ½(‖$W$‖² + ‖$H$‖²)", yscale="log")
    for path, color in zip(data.paths, style.COLORS, strict=False):
        log_time, late = path.log_time[:, 0], path.log_time[:, 0] > 3
        for column, sign, line in (("nuclear_upper_bound", 1, "-"), ("lower_bound", -1, ":")):
            gaps = (sign * shares(config, path, column))[late].cpu()
            low, middle, high = (gaps.amin(1), gaps.quantile(0.5, dim=1), gaps.amax(1))
            label = style.sizes(path.problem) if sign > 0 else None
            right.plot(log_time[late], middle, linestyle=line, color=color, label=label)
            right.fill_between(log_time[late], low, high, color=color, alpha=0.12, linewidth=0)
    guide = torch.tensor([1e2, config.log_time])
    right.plot(guide, 1 / guide, **style.THEORY, label=r"$\propto 1/\log t$")
    right.set(
        xlabel=r"$\log\,t$  (natural logarithm of flow time)", ylabel="relative distance of a bound to $(K-1)\\sqrt{n}$"
    )
    right.set(xscale="log", yscale="log", ylim=(1e-12, 3))
    right.set_title("solid: upper bound, dotted: lower bound; median and range over starts", fontsize=9)
    for axes in (left, right):
        style.finish(axes)
        axes.legend(fontsize=8, frameon=False)
    return figure


EXPLANATION = """
A classifier and features that separate all classes with margin 1 must be large; the margin problem asks how small they
can be. Since ½(‖W‖² + ‖H‖²) is at least the nuclear norm of the logits Z = WH, with equality for balanced factors, the
problem relaxes to one that is convex in Z, and whose solution any solver finds. On the left, its value lies on
(K − 1)√n for every size tried. The duality gap, computed from the answer, proves that no smaller value exists, and
factors of the solution are a simplex equiangular tight frame: all metrics of neural collapse vanish.

On the right, flows from random starts. Every state that separates the classes gives an upper bound of the optimum,
‖WH‖_*/q_min, and every state a lower one, from the softmax residuals as dual variables. No record lets (K − 1)√n
escape, and as the flow goes on the two bounds close on it, about like 1/log t: the flow finds the global optimum of a
problem that is not convex, and brings its own proof along.

With d = K − 1 the optimum is the same, but flows are not claimed to have reached it by a given time: they may pass
saddles that they leave exceedingly slowly.
"""
