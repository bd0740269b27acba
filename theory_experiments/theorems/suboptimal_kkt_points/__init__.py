"""A margin problem has KKT points that are not optimal: classes in blocks, of value Σ √n_k whatever the partition.

Hypotheses: the K classes are split into m ≥ 2 blocks of b_k ≥ 2 classes with equal counts within a block; d ≥ K − m.
    Each block is a simplex frame of its own, orthogonal to the others: w_k = s_k n_k^{1/4} a_k,
    h_{k,i} = s_k n_k^{−1/4} a_k with a_k the rows of I_b − 11ᵀ/b and s_k² = b_k/(b_k − 1). Where all b and all n are
    equal (then the value is K√n, against (K − 1)√n), the point is critical for the loss at every norm, and the flow is
    started there.
Source: that such points exist: Example 3.1 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on
    Neural Collapse", 2022; the numbers of that example are not known to us. The block points are this project's; their
    multipliers are λ_{ij} = 1/((K − b_{y_i})√n_{y_i}) between blocks and 0 within.
Falsified by: a KKT residual above rounding; a value other than Σ √n_k; a flow that moves away by more than amplified
    rounding. Variants that must fail: a perturbed block point, blocks of unequal size without the factors s_k.
Not verified: that these are all KKT points that are not optimal (they are not, see narrow_features).
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
from theory_experiments.numerics.summaries import greatest
from theory_experiments.numerics.vectors import kept
from ulpm.plotting import style

TITLE = "Suboptimal KKT points"

Partition = tuple[tuple[int, int], ...]  # the blocks: (classes in the block, samples of each)


@dataclasses.dataclass(frozen=True)
class Config:
    """``partitions`` are checked as KKT points; flows start at those of ``equal`` (K, b, n), turned at random."""

    seed: int
    starts: int
    partitions: tuple[Partition, ...]
    equal: tuple[tuple[int, int, int], ...]
    norms: tuple[float, ...]
    log_time: float
    rescaled: bool = True
    perturbation: float = 0.0
    device: str = "cpu"


FULL = Config(
    seed=0,
    starts=32,
    partitions=(
        *(((b, n),) * m for m, b in ((2, 2), (3, 2), (2, 3), (5, 2), (3, 3), (2, 5), (4, 5)) for n in (1, 5, 50)),
        ((2, 4), (2, 1)),
        ((3, 1), (3, 10), (3, 100)),
        ((2, 1), (3, 1)),
        ((2, 7), (3, 1), (5, 2)),
    ),
    equal=((4, 2, 1), (6, 3, 2), (9, 3, 1)),
    norms=(1.0, 3.0, 10.0, 30.0, 100.0),
    log_time=1e6,
)
QUICK = dataclasses.replace(
    FULL, starts=2, partitions=(((2, 3),) * 2, ((2, 7), (3, 1), (5, 2))), equal=((4, 2, 1),), log_time=1e4
)
FALSIFIED = {
    "a block point perturbed by 1e-3 of its norm": dataclasses.replace(QUICK, perturbation=1e-3),
    "blocks of unequal size without the factors s_k": dataclasses.replace(QUICK, rescaled=False),
}


@dataclasses.dataclass(frozen=True)
class Point:
    """A partition's point: its value ½ρ²/q_min and the largest KKT residual with the multipliers in closed form."""

    problem: ulpm.Problem
    value: float
    residual: float


@dataclasses.dataclass(frozen=True)
class Data:
    """Points of all partitions; certificates at all norms, and flows, for equal blocks."""

    points: tuple[Point, ...]
    certificates: tuple[ulpm.Certificate, ...]
    paths: tuple[ulpm.Trajectory, ...]


def simulate(config: Config, work: Work) -> Data:
    """Examine the points, then start flows at the equal ones."""
    generator = torch.Generator().manual_seed(config.seed)
    points, certificates, paths = [], [], []
    for partition in config.partitions:
        problem = ulpm.Problem([n for b, n in partition for _ in range(b)], sum(b for b, _ in partition))
        state = perturbed(partition_state(problem, partition, config.rescaled), config.perturbation, generator)
        q = float(ulpm.margin(problem, state))
        residual = kkt_residual(problem, partition, ulpm.State(state.W / math.sqrt(q), state.H / math.sqrt(q)))
        points.append(Point(problem, float(state.squared_norm) / (2 * q), residual))
    for K, b, n in config.equal:
        problem = ulpm.Problem([n] * K, K)
        for norm in config.norms:
            state = perturbed(ulpm.block_state(problem, b, norm), config.perturbation, generator)
            certificates.append(ulpm.certify(problem, state))
        work.tell(f"{config.starts} flows from block points, K = {K}, b = {b}, n = {n}")
        state = turned(ulpm.block_state(problem, b, 4.0), config.starts, generator)
        state = perturbed(state, config.perturbation, generator)
        state = ulpm.State(state.W.to(config.device), state.H.to(config.device))
        paths.append(work.flow(problem, state, log_time=config.log_time, records=60, snapshots=60))
    return Data(tuple(points), tuple(certificates), tuple(paths))


def partition_state(problem: ulpm.Problem, partition: Partition, rescaled: bool = True) -> ulpm.State:
    """The block point of the docstring; without s_k if not ``rescaled``."""
    frames, factors = [], []
    for b, _ in partition:
        frames.append(ulpm.simplex_etf(b, b - 1) * math.sqrt((b - 1) / b))
        factors += [math.sqrt(b / (b - 1)) if rescaled else 1.0] * b
    rows: Tensor = torch.block_diag(*frames)  # type: ignore[no-untyped-call]
    rows = rows * torch.tensor(factors, dtype=torch.float64)[:, None]
    rows = torch.nn.functional.pad(rows, (0, problem.feature_dim - rows.shape[1]))
    roots = torch.tensor(problem.class_counts, dtype=torch.float64).pow(0.25)[:, None]
    return ulpm.State(rows * roots, (rows / roots)[problem.labels].T.contiguous())


def kkt_residual(problem: ulpm.Problem, partition: Partition, state: ulpm.State) -> float:
    """The largest of ‖Θ − Σ λ ∇q‖/‖Θ‖, 1 − q_{ij} and λ_{ij}|q_{ij} − 1|/max λ, λ in closed form."""
    y, K = problem.labels, problem.num_classes
    sizes = torch.tensor([b for b, _ in partition for _ in range(b)], dtype=torch.float64)
    block = torch.repeat_interleave(torch.arange(len(partition)), torch.tensor([b for b, _ in partition]))
    multipliers = 1 / ((K - sizes) * torch.tensor(problem.class_counts, dtype=torch.float64).sqrt())[y]
    multipliers = torch.where(block[:, None] != block[y], multipliers, 0.0)  # [K, N]
    G = -multipliers
    G[y, range(len(y))] = multipliers.sum(0)
    Z = state.W @ state.H
    slack = Z[y, range(len(y))] - Z - 1
    slack[y, range(len(y))] = 0.0
    parts = torch.cat([(state.W - G @ state.H.T).flatten(), (state.H - state.W.T @ G).flatten()])
    stationarity = parts.norm() / state.squared_norm.sqrt()
    complementarity = (multipliers * slack.abs()).max() / multipliers.max()
    return float(torch.stack([stationarity, -slack.min(), complementarity]).max())


def turned(state: ulpm.State, copies: int, generator: torch.Generator) -> ulpm.State:
    """``copies`` of a state in coordinates turned at random: exact zeros become rounding errors."""
    d = state.W.shape[1]
    Q = torch.linalg.qr(torch.randn(copies, d, d, generator=generator, dtype=torch.float64)).Q
    return ulpm.State(state.W @ Q, Q.mT @ state.H)


def perturbed(state: ulpm.State, size: float, generator: torch.Generator) -> ulpm.State:
    """The state plus Gaussian noise of about ``size`` times its norm, the same for all replicas."""
    noise = size * math.sqrt(float(state.squared_norm.max()) / (state.W[..., 0].shape[-1] + state.H.shape[-1]))
    W, H = (torch.randn(x.shape[-2:], generator=generator, dtype=x.dtype) for x in (state.W, state.H))
    spread = noise / math.sqrt(state.W.shape[-1])
    return ulpm.State(state.W + spread * W, state.H + spread * H)


def moved(path: ulpm.Trajectory) -> Tensor:
    """‖Θ/ρ − Θ(0)/ρ(0)‖ at all records and starts."""
    states = kept(path)
    unit = states / states.norm(dim=2, keepdim=True)
    distance: Tensor = (unit - unit[0]).norm(dim=2)
    return distance


def check(config: Config, data: Data) -> list[Claim]:
    """Invariants of the flows; the points; their criticality at finite norm; that flows stay."""
    over = f"over {len(data.paths)} problems and {config.starts} turned copies each"
    partitions = f"over {len(data.points)} partitions"
    counts = [torch.tensor(point.problem.class_counts, dtype=torch.float64) for point in data.points]
    above = [
        (point.value - point.problem.minimum_norm_value) / math.sqrt(float(n.min()))
        for point, n in zip(data.points, counts, strict=True)
    ]
    norms = f"over {len(config.equal)} equal partitions and norms up to {max(config.norms):g}"
    return [
        *invariant_claims(data.paths),
        Claim(
            f"KKT residuals (stationarity, feasibility, slackness) with the multipliers in closed form: largest "
            f"{partitions}",
            greatest([point.residual for point in data.points]),
            "<=",
            1e-12,
            "an equality, computed in a few thousand roundings of 1e-16",
        ),
        Claim(
            f"½ρ²/q_min over Σ √n_k, distance from 1: largest {partitions}",
            greatest([abs(p.value / float(n.sqrt().sum()) - 1) for p, n in zip(data.points, counts, strict=True)]),
            "<=",
            1e-12,
            "an equality, computed in a few thousand roundings of 1e-16",
        ),
        Claim(
            f"(½ρ²/q_min − v*)/√n_min, v* the optimum in closed form: least {partitions}",
            -greatest([-x for x in above]),
            ">=",
            1 - 1e-9,
            "v* = ‖(I − 11ᵀ/K) diag(√n_k)‖_* ≤ Σ √n_k − √n_min, as a projection raises no singular value and takes "
            "one to 0; an equality for equal counts",
        ),
        Claim(
            f"Stationarity residual sin ∠(Θ, −∇L) with softmax multipliers: largest {norms}",
            greatest([float(certificate.stationarity) for certificate in data.certificates]),
            "<=",
            1e-12,
            "an equality at every norm, computed in a few thousand roundings of 1e-16",
        ),
        Claim(
            f"Distance of Θ/ρ from its start at any record up to log t = {config.log_time:g}: largest {over}",
            max(float(moved(path).max()) for path in data.paths),
            "<=",
            1e-5,
            "the flow itself never moves; an explicit step may let errors in stiff directions, which decay again, "
            "grow to "
            "the integrator's tolerance of 1e-6, and ten of these may add up",
        ),
        Claim(
            f"Distance of Θ/ρ from its start at log t = {config.log_time:g}: largest {over}",
            max(float(moved(path)[-1].max()) for path in data.paths),
            "<=",
            1e-9,
            "what lasts are rounding errors of 1e-16 in each of some 1e3 steps along the way down, amplified by "
            "at most "
            "(log t)^(b/(2(K − b))) ≤ (log t)^(1/2) ≤ 1e3 (see escape): 1e-10",
        ),
        Claim(
            f"½ρ²/q_min over K√n, distance from 1, at log t = {config.log_time:g}: largest {over}",
            max(
                float((path.columns()["upper_bound"][-1] / unsplit_value(path.problem) - 1).abs().max())
                for path in data.paths
            ),
            "<=",
            1e-8,
            "the value depends on the direction alone, with a derivative of order 1",
        ),
    ]


def unsplit_value(problem: ulpm.Problem) -> float:
    """Σ √n_k."""
    return sum(math.sqrt(n) for n in problem.class_counts)


def plot(config: Config, data: Data) -> Figure:
    """Left: values of the points against the optimum. Right: how far flows that start there move."""
    figure = style.new_figure(10.5, 4.4, "Block points: stationary, and one √n above the optimum")
    left, right = figure.subplots(1, 2)
    v = [point.problem.minimum_norm_value for point in data.points]
    equal = [point.problem.balanced for point in data.points]
    for balanced, marker, color in ((True, "o", style.COLORS[0]), (False, "D", style.COLORS[1])):
        chosen = [i for i, same in enumerate(equal) if same == balanced]
        left.plot(
            [v[i] for i in chosen],
            [data.points[i].value for i in chosen],
            marker,
            color=color,
            markerfacecolor="none",
            label=f"block points, {'equal' if balanced else 'unequal'} counts",
        )
    line = [0.7 * min(v), 1.4 * max(v)]
    left.plot(line, line, **style.THEORY, label="the optimum itself")
    left.set(xlabel="optimum $v^*$ of the margin problem", ylabel="value ½$\\rho^2/q_{min}$ of the block point")
    left.set(xscale="log", yscale="log")
    late = slice(1, None)
    for path, (K, b, n), color in zip(data.paths, config.equal, style.COLORS, strict=False):
        log1p_time = torch.nn.functional.softplus(path.log_time[:, 0]).cpu()
        distance = moved(path)
        label = f"$K$ = {K}, $b$ = {b}, $n$ = {n}"
        right.plot(log1p_time[late], distance.quantile(0.5, dim=1)[late], color=color, label=label)
        right.fill_between(
            log1p_time[late], distance.amin(1)[late], distance.amax(1)[late], color=color, alpha=0.2, lw=0
        )
    guide = torch.tensor([10.0, config.log_time])
    right.plot(guide, 1e-16 * (guide / 10).sqrt(), **style.THEORY, label=r"rounding, amplified $\propto(\log t)^{1/2}$")
    right.set(xscale="log", yscale="log", xlabel=r"$\log(1+t)$", ylabel="distance of the direction from its start")
    right.set_title("median and range over turned copies of the start", fontsize=9)
    for axes in (left, right):
        style.finish(axes)
        axes.legend(fontsize=8, frameon=False)
    return figure


EXPLANATION = """
The flow can only end at points that satisfy the Karush–Kuhn–Tucker (KKT) conditions of the margin problem. Were the
global optimum the only such point, nothing would be left to prove; it is not. Split the classes into blocks, give each
block a simplex frame of its own in directions that no other block uses, and give classes of different blocks equal
margins. Then all conditions hold exactly, with the multipliers written down above, yet the value is Σ √n_k: for equal
counts K√n instead of (K − 1)√n, however the classes are split. On the left, each such point lies above the dashed line
of the optimum; the margin above it is at least √n_min. Blocks may even differ in size if each frame is stretched by
√(b/(b − 1)); without that they are no KKT points.

On the right, flows started exactly there. The flow of the mathematics stays for ever. The flow of a computer makes
rounding errors, in coordinates turned at random so that no zero is exact; part of an error points down from the saddle
and grows like a power of log t. To grow from 1e-16 to 1 takes until about log t = 1e32 at K = 4, b = 2, so that the
computed flow stays as well at any time that numbers of double precision can reach. (The hump at early time is the
integrator's doing: an explicit step is barely stable in the directions that contract fastest, and lets errors there
grow to its tolerance before it takes smaller steps; the flow then contracts them again.) A start that is 1e-3 away is
another matter: see the experiment on escape.
"""
