"""A flow that starts ε away from a block point leaves it along the witness, at log t ∝ ε^(−2(K − b)/b), and collapses.

Hypotheses: K = m·b classes of n samples in m blocks of b (see suboptimal_kkt_points), d ≥ K, a large norm, and a
    perturbation of relative size ε along the witness (u aᵀ, a vᵀ)/√2, where u, v are top singular vectors of the
    residual R and a is a direction that the block point does not use; any other noise may be added.
Source: that better points lie close by: Example 3.1 and Theorem 3.4 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained
    Layer-Peeled Perspective on Neural Collapse", 2022. The rate is this project's. In rescaled time, ds = L dt, the
    component along the witness grows relative to ρ like e^{(‖R‖_op − μ)s/L}, which at large norm is
    e^{b s/(K√n (K − b))}; and log t grows like e^{2s/(K√n)}.
Falsified by: another growth rate, another slope of the exit in s against log(1/ε) than K√n (K − b)/b, another exponent,
    a start that stays or ends elsewhere. Variants that must fail: the rate ‖R‖_op/L, in which the growth of ρ is
    forgotten; a start without any component along the witness.
Not verified: ε below 1e-3, where the exit is later than double precision follows logits (log t ≈ 1e8).
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
from theory_experiments.numerics.summaries import greatest, line
from theory_experiments.numerics.vectors import flat, kept, unflat
from ulpm.plotting import style

TITLE = "Escape"


@dataclasses.dataclass(frozen=True)
class Config:
    """Starts near block points of ``cases`` (K, b, n) with smallest margin ``margin``, ε log-spaced over ``sizes``.

    ``witness`` and ``noise`` are the shares of ε along the witness and orthogonal to it; ``forget_growth`` predicts
    with the rate ‖R‖_op/L.
    """

    seed: int
    starts: int
    cases: tuple[tuple[int, int, int], ...]
    log_time: float
    records: int
    sizes: tuple[float, float] = (1e-3, 1e-1)
    margin: float = 4.0
    witness: float = 1.0
    noise: float = 1.0
    forget_growth: bool = False
    device: str = "cpu"


FULL = Config(seed=0, starts=32, cases=((4, 2, 1), (4, 2, 5)), log_time=3e7, records=400)
QUICK = Config(seed=0, starts=3, cases=((4, 2, 1),), log_time=1e6, records=240, sizes=(5e-3, 1e-1))
SHORT = dataclasses.replace(QUICK, starts=2, log_time=1e4, sizes=(2e-2, 1e-1))
FALSIFIED = {
    "the rate ‖R‖_op/L, without the growth of the norm": dataclasses.replace(SHORT, forget_growth=True),
    "starts at the block point itself": dataclasses.replace(SHORT, witness=0.0, noise=0.0),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """Flows from the neighbourhood of one block point: [records, starts], or [starts], or [snapshots, starts].

    ``s`` is rescaled time, ``share`` (½ρ²/q_min)/√n − (K − 1), which is 1 at the block point and 0 at collapse;
    ``component``, at every fourth record, the part of Θ/ρ along the witnesses.
    """

    K: int
    b: int
    n: int
    path: ulpm.Trajectory
    size: Tensor
    s: Tensor
    share: Tensor
    component: Tensor

    @property
    def rows(self) -> Tensor:
        """The records of which there are snapshots."""
        return torch.linspace(0, len(self.s) - 1, len(self.component)).round().long()

    def exits(self, of: Tensor) -> Tensor:
        """A recorded quantity where ``share`` first falls below ½, by interpolation between records; nan if never."""
        below = self.share < 0.5
        after = below.int().argmax(0)
        here = torch.arange(len(after))
        before = (after - 1).clamp(min=0)
        weight = (self.share[before, here] - 0.5) / (self.share[before, here] - self.share[after, here])
        value = of[before, here] + weight * (of[after, here] - of[before, here])
        return torch.where(below.any(0), value, torch.nan)

    def rate(self, config: Config) -> float:
        """The predicted growth rate of the component in s at large norm."""
        root = math.sqrt(self.n)
        growing = 1 / (root * (self.K - self.b))  # ‖R‖_op/L
        return growing if config.forget_growth else growing - 1 / (self.K * root)


def simulate(config: Config, work: Work) -> tuple[Case, ...]:
    """Flows from the neighbourhood of each block point."""
    generator = torch.Generator().manual_seed(config.seed)
    cases = []
    for K, b, n in config.cases:
        work.tell(f"{config.starts} flows, K = {K}, b = {b}, n = {n}")
        problem = ulpm.Problem([n] * K, K)
        point = ulpm.block_state(problem, b, math.sqrt(2 * K * math.sqrt(n) * config.margin))
        directions = witnesses(problem, b)
        size = torch.logspace(
            math.log10(config.sizes[0]), math.log10(config.sizes[1]), config.starts, dtype=torch.float64
        )
        start = near(config, problem, point, directions, size, generator)
        start = ulpm.State(start.W.to(config.device), start.H.to(config.device))
        path = work.flow(
            problem, start, log_time=config.log_time, records=config.records, snapshots=config.records // 4
        )
        share = path.columns()["upper_bound"].cpu() / math.sqrt(n) - (K - 1)
        states = kept(path)
        component = (states @ directions.T).norm(dim=2) / states.norm(dim=2)
        cases.append(Case(K, b, n, path, size, rescaled_time(path), share, component))
    return tuple(cases)


def witnesses(problem: ulpm.Problem, b: int) -> Tensor:
    """An orthonormal basis [(m − 1)(d − K + m), D] of the directions (u aᵀ, a vᵀ)/√2, laid end to end as (W, H)."""
    K, d, m = problem.num_classes, problem.feature_dim, problem.num_classes // b
    # u is constant on blocks, with sum 0; the block point fills the first K − m coordinates.
    left = (ulpm.simplex_etf(m, m - 1) * math.sqrt((m - 1) / m)).repeat_interleave(b, 0) / math.sqrt(b)
    right = left[problem.labels] / math.sqrt(problem.class_counts[0])
    rows = []
    for u, v in zip(left.T, right.T, strict=True):
        for a in torch.eye(d, dtype=torch.float64)[K - m :]:
            rows.append(torch.cat([torch.outer(u, a).flatten(), torch.outer(a, v).flatten()]) / math.sqrt(2))
    return torch.stack(rows)


def near(
    config: Config,
    problem: ulpm.Problem,
    point: ulpm.State,
    directions: Tensor,
    size: Tensor,
    generator: torch.Generator,
) -> ulpm.State:
    """The point plus ε ρ (witness + noise), both unit vectors drawn at random, the noise orthogonal to witnesses."""
    centre = flat(point)
    along = torch.randn(len(size), len(directions), generator=generator, dtype=torch.float64)
    along = along / along.norm(dim=1, keepdim=True) @ directions
    noise = torch.randn(len(size), len(centre), generator=generator, dtype=torch.float64)
    noise = noise - noise @ directions.T @ directions
    noise = noise / noise.norm(dim=1, keepdim=True)
    start = centre + centre.norm() * size[:, None] * (config.witness * along + config.noise * noise)
    return unflat(problem, start)


def rescaled_time(path: ulpm.Trajectory) -> Tensor:
    """s = ∫ L dt at the records, by the trapezoidal rule in τ = log(1 + log(1 + t)), in which records are even."""
    log1p_time = torch.nn.functional.softplus(path.log_time, threshold=700.0).cpu()
    rate = (path.log_loss.cpu() + log1p_time).exp() * (1 + log1p_time)  # ds/dτ
    return torch.cat([torch.zeros_like(rate[:1]), torch.cumulative_trapezoid(rate, log1p_time.log1p(), dim=0)])


def growth(case: Case) -> list[float]:
    """d log(component)/ds of each start while it is at most 0.1, once margins exceed 10(b − 1); few records: "
    "left out."""
    rates = []
    s, margin = case.s[case.rows], case.path.margin.cpu()[case.rows]
    for i in range(len(case.size)):
        first_exit = int((case.component[:, i] > 0.1).int().argmax())
        linear = (torch.arange(len(s)) < first_exit) & (margin[:, i] > 10 * (case.b - 1))
        if linear.sum() >= 10:
            rates.append(line(s[linear, i], case.component[linear, i].log())[0])
    return rates


def check(config: Config, data: tuple[Case, ...]) -> list[Claim]:
    """Invariants; growth along the witness; exits in s and in log t; ends."""
    over = f"over {len(data)} cases and {config.starts} starts each"
    slopes, exponents = [], []
    for case in data:
        predicted = 1 / case.rate(config)
        slopes.append(abs(line(-case.size.log(), case.exits(case.s))[0] / predicted - 1))
        exponent = -2 * predicted / (case.K * math.sqrt(case.n))
        measured = line(case.size.log(), case.exits(case.path.log_time.cpu()).log())[0]
        exponents.append(abs(measured / exponent - 1))
    rates = [abs(rate / case.rate(config) - 1) for case in data for rate in growth(case)]
    return [
        *invariant_claims(case.path for case in data),
        Claim(
            f"Growth rate in s of the share of Θ along the witness, up to 0.1, over the predicted one, distance "
            "from 1: "
            f"largest of {len(rates)} starts",
            greatest(rates),
            "<=",
            0.05,
            "corrections are of the order of the squared component, at most 0.01, and of e^(−q_min/(b − 1)), at most "
            "e^(−10); they are summed over a few units of s",
        ),
        Claim(
            f"Slope of the exit in s against log(1/ε) over K√n (K − b)/b, distance from 1: largest over "
            f"{len(data)} cases",
            greatest(slopes),
            "<=",
            0.05,
            "corrections of the order of ε², at most 0.01 at the one end of the range of log(1/ε), whose length "
            "is 3 or "
            "more; a wrong rate is off by b/K or more, a third at least",
        ),
        Claim(
            f"Exponent of log t at the exit against ε over −2(K − b)/b, distance from 1: largest over {len(data)} "
            "cases",
            greatest(exponents),
            "<=",
            0.05,
            "as above, and log t replaces ρ²/(2K√n) up to log log t, less than 5 % of it from log t = 1e2 on",
        ),
        Claim(
            f"½ρ²/q_min over (K − 1)√n, less 1, at log t = {config.log_time:g}: largest {over}",
            greatest([float(x) / (case.K - 1) for case in data for x in case.share[-1]]),
            "<=",
            1e-3,
            "the correction is of the order of ρ² at the exit over log t at the end; a start that had stayed "
            "would be at "
            "1/(K − 1), 0.2 or more",
        ),
        Claim(
            f"Mean distance of cosines from −1/(K − 1), of W and of class means, at the end: largest {over}",
            max(
                float(case.path.metrics[f"nc2_angle_{of}"][-1].max()) for case in data for of in ("classifier", "means")
            ),
            "<=",
            1e-2,
            "the geometry of the optimum, approached like a power of log t; at a block point it is 0.3 or more",
        ),
    ]


def plot(config: Config, data: tuple[Case, ...]) -> Figure:
    """Values along the flows of the first case; the exits of all in s, and in log t, against ε."""
    figure = style.new_figure(13.0, 4.3, "Escape from block points: the smaller the perturbation, the later the exit")
    values, in_s, in_time = figure.subplots(1, 3)
    first = data[0]
    chosen = torch.linspace(0, config.starts - 1, min(5, config.starts)).round().int().tolist()
    shades = torch.linspace(0.75, 0.0, len(chosen)).tolist()
    for i, shade in zip(chosen, shades, strict=True):
        label = f"$\\varepsilon$ = {style.number(float(first.size[i]))}"
        values.plot(first.path.log_time[:, i].cpu(), first.share[:, i] + first.K - 1, color=str(shade), label=label)
    for level, word in ((first.K, "block point, $K$"), (first.K - 1, "optimum, $K-1$")):
        values.axhline(level, **style.THEORY)
        values.annotate(word, (0.02, level), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    values.set(xscale="log", xlim=(10, config.log_time), ylim=(first.K - 1.1, first.K + 0.3))
    values.set(xlabel=r"$\log\,t$", ylabel=r"value ½$\rho^2/q_{min}$")
    values.set_title(f"K = {first.K}, b = {first.b}, n = {first.n}", fontsize=9)
    for case, color, marker in zip(data, style.COLORS, "osD", strict=False):
        label = f"$K$ = {case.K}, $b$ = {case.b}, $n$ = {case.n}"
        look = {"color": color, "marker": marker, "linestyle": "none", "markersize": 4, "label": label}
        s, log_time = case.exits(case.s), case.exits(case.path.log_time.cpu())
        in_s.plot(case.size, s, **look)
        in_time.plot(case.size, log_time, **look)
        slope = 1 / case.rate(config)
        middle = case.size.log().mean()
        in_s.plot(case.size, s.mean() - slope * (case.size.log() - middle), **style.THEORY)
        exponent = -2 * slope / (case.K * math.sqrt(case.n))
        in_time.plot(case.size, (log_time.log().mean() + exponent * (case.size.log() - middle)).exp(), **style.THEORY)
    for axes, words in ((in_s, "exit in $s = \\int L\\,dt$"), (in_time, r"exit in $\log\,t$")):
        axes.plot([], [], **style.THEORY, label="predicted slope")
        axes.set(xscale="log", xlabel="relative perturbation $\\varepsilon$ along the witness", ylabel=words)
    in_time.set_yscale("log")
    for axes in (values, in_s, in_time):
        style.finish(axes)
        axes.legend(fontsize=8, frameon=False)
    return figure


EXPLANATION = """
A block point is a KKT point of the margin problem, so that a flow that starts there stays. It is also a saddle: with a
direction a of feature space that it does not use, every class of some blocks can move along a and every class of the
others against it, classifier and features together, and the loss falls to second order. This is the witness.

How long does the fall take? In rescaled time s, in which the flow follows the gradient of log L, everything is
exponential. The component along the witness grows with rate ‖R‖_op/L, the norm itself with the smaller rate μ/L, and
the ratio of the two with the difference, b/(K√n (K − b)) at large norm. From ε to a value of order one takes
s = K√n (K − b)/b · log(1/ε) (middle). But s is a very slow clock: log t grows with the square of the norm, like
e^{2s/(K√n)}, hence log t at the exit is proportional to ε^{−2(K − b)/b} (right). A perturbation of one part in a
thousand is left behind not at t = 10⁶ but at a time whose logarithm is of that order. On the left, values of some
flows: a long plateau at the value K√n of the block point, then a fall to (K − 1)√n, the value of neural collapse.

A simulator that ends at t = 10¹⁰ would have taken all these plateaus for the end.
"""
