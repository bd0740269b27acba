"""With unequal counts the flow ends at simplex-encoded labels: the logits of collapse, in another geometry.

Hypotheses: gradient flow without weight decay from random starts; K classes with any counts n_k; d ≥ K − 1. The
optimal class-mean logits of the margin problem are proportional to I − 11ᵀ/K whatever the counts, which is also what an
ETF has. W and H are not ETFs, though: W Wᵀ ∝ (Z diag(n_k) Zᵀ)^{1/2}. The value is v* = ‖(I − 11ᵀ/K) diag(√n_k)‖_*, and
ρ²/log t → 2v*, L·t·log t → v*/2. The logits' direction misses I − 11ᵀ/K by a constant over log t, nc1_pinv falls like
(log t)^{−2}, not (log t)^{−3} as with equal counts, and nc3_difference tends to a positive constant; theory predicts
all three constants (see theory_experiments/numerics/seli.py).
Source: the geometry: Thrampoulidis, Kini, Vakilian, Behnia, "Imbalance Trouble: Revisiting Neural-Collapse Geometry",
2022; the flow: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022. The
constants and the exponent −2 are derived in theory_experiments/numerics/seli.py.
Falsified by: a start whose constants, exponent or Gram matrix are others. Run with an ETF claimed for W, with the
balanced constant (K − 1)√(N/K), with the balanced exponent −3, and with d = K − 2 features.
Not verified: more than two different counts, d = K − 1, where nothing is frozen, and that every start ends at the
optimum, of which the listed ones are a sample.
"""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics import seli
from ulpm.plotting import style

TITLE = "Imbalance"
_LINE_STYLES: tuple[style.LineStyle, ...] = ("-", (0, (1.2, 1.2)), "-.")


@dataclasses.dataclass(frozen=True)
class Config:
    """Two frequent and two rare classes at several imbalances, and how far to follow the flow."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    majority: int = 2
    minority: int = 2
    minority_count: int = 2
    ratios: tuple[int, ...] = (1, 10, 100)
    feature_dim: int = 6
    log_time: float = 1e6
    rtol: float = 1e-6
    records: int = 80
    geometry: str = "SELI"  # what is claimed of the classifier's Gram matrix and of nc3_difference; or "ETF"
    constant: str = "SELI"  # whose value v* is claimed; or "balanced"
    exponent: float = -2.0  # what is claimed of nc1_pinv


FULL = Config()
QUICK = Config(starts=3, ratios=(4,), log_time=3e3, records=30)
_SMALL = dataclasses.replace(QUICK, starts=2, ratios=(4,), log_time=1e3)
FALSIFIED = {
    "the classifier is claimed to be an ETF": dataclasses.replace(_SMALL, geometry="ETF"),
    "the value of equal counts, (K − 1)√(N/K), is claimed": dataclasses.replace(_SMALL, constant="balanced"),
    "the exponent of equal counts, −3, is claimed": dataclasses.replace(_SMALL, exponent=-3.0),
    "d = 2 features, fewer than K − 1": dataclasses.replace(_SMALL, feature_dim=2),
}


@dataclasses.dataclass(frozen=True)
class Imbalance:
    """The flow at one imbalance, what theory predicts of it, and what its states show, [R, B]: records and starts."""

    ratio: int
    path: ulpm.Trajectory
    separation: ulpm.Separation
    logits_constant: float
    variability_constant: Float[Tensor, " B"]
    limits: dict[str, float]
    logits_distance: Float[Tensor, "R B"]
    gram_distance: Float[Tensor, " B"]


Data = list[Imbalance]


def simulate(config: Config, work: Work) -> Data:
    """The flow from random starts at each imbalance."""
    found = []
    for ratio in config.ratios:
        work.tell(f"the flow at 1:{ratio} to log t = {config.log_time:g} from {config.starts} starts")
        counts = [ratio * config.minority_count] * config.majority + [config.minority_count] * config.minority
        problem = ulpm.Problem(counts, config.feature_dim)
        start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
        path = work.flow(
            problem, start, log_time=config.log_time, rtol=config.rtol, records=config.records, snapshots=config.records
        )
        found.append(_observed(config, ratio, path))
    return found


def check(config: Config, data: Data) -> list[Claim]:
    """Drifts, then for each imbalance the value, the logits, the sharp constants, and the geometry."""
    where = f"over {config.starts} starts, all records and 1:{', 1:'.join(map(str, config.ratios))}"
    total, balancedness = (
        max(float(one.path.invariant_drift[name].max()) for one in data) for name in ("classifier_sum", "balancedness")
    )
    claims = [
        Claim(
            f"Drift of Σ_k w_k relative to ρ, largest {where}.",
            total,
            "<=",
            2e-12,
            "Runge–Kutta methods keep it but for rounding: 10⁴ roundings of 2.2e-16",
        ),
        Claim(
            f"Drift of WᵀW − HHᵀ relative to ρ², largest {where}.",
            balancedness,
            "<=",
            20 * config.rtol,
            "some hundred steps in which the state moves much, with independent local errors of 2·rtol·ρ² each",
        ),
    ]
    for one in data:
        claims += [*_value_claims(config, one), _logits_claim(config, one), *_geometry_claims(config, one)]
        if one.ratio > 1:
            claims += _variability_claims(config, one)
    return claims


def plot(config: Config, data: Data) -> Figure:
    """Logits, variability and self-duality against time above; sharp constants and the value below."""
    runs = [
        style.Run(one.path, f"1:{one.ratio}", color, line_style)
        for one, color, line_style in zip(data, style.COLORS, _LINE_STYLES, strict=False)
    ]
    figure = style.new_figure(
        15,
        8.4,
        f"Imbalance · {config.majority} frequent and {config.minority} rare classes of {config.minority_count}, "
        f"$d$ = {config.feature_dim} · {config.starts} starts each (median, and band from least to greatest)",
    )
    panels = figure.subplots(2, 3)
    for one, run in zip(data, runs, strict=True):
        _plot_run(panels, one, run)
    labels = (
        (panels[0, 0], "distance of the logits from $I-11^\\top/K$"),
        (panels[0, 1], "nc1_pinv"),
        (panels[0, 2], "nc3_difference"),
        (panels[1, 0], r"$|\rho^2/(2v^*\log t)-1|$"),
        (panels[1, 1], r"$|L\,t\,\log t\,/\,(v^*/2)-1|$"),
    )
    for axes, label in labels:
        style.time_axis(axes, runs)
        axes.set(yscale="log", ylabel=label)
    panels[0, 0].set_ylim(bottom=1e-9)
    _plot_values(panels[1, 2], config, data)
    for axes in panels.flat:
        axes.plot([], [], **style.THEORY, label="theory")
        axes.legend(fontsize=8, frameon=False)
        style.finish(axes)
    return figure


EXPLANATION = """
Above, left: how far the direction of the class-mean logits is from I − 11ᵀ/K, from random starts at 1:1, 1:10 and
1:100. It falls like 1/log t at last, onto the dashed lines, whose height is computed beforehand from the multipliers of
the margin problem: rare classes keep larger losses, hence the logits of rare and frequent classes differ by a constant,
log(λ*/v*), while their size grows like log t. At 1:1 there is no such difference, and the distance falls faster. The
larger the imbalance, the longer some starts take before they follow the line, as the bands show: a rare class
contributes little, and is learnt late. In the end all of them do.

Above, middle: within-class variability. With equal counts it falls like (log t)^{−3}, with unequal ones like
(log t)^{−2}, onto lines that are again computed: feature parts that the classifier does not see stay as they are, and
in the class means they are η/n_k with one vector η. With equal counts they are the same in all class means and cancel
in μ_k − μ_G; with unequal ones they do not, and the span of the class means leans out of that of the classifier, into
the directions in which single samples differ.

Above, right: self-duality. With equal counts W becomes parallel to the class means; with unequal ones the difference
tends to the constant of the SELI geometry (dashed), where rare classes have shorter classifiers and longer features.
The logits are those of an ETF all the same: an ETF is a statement about W and H, not about Z.

Below: the sharp constants with the value v* of the unequal counts. Both ratios approach 1 like 1/log t (dashed guide:
the size of the correction that the bounds of the claims allow, at 1:1). Right: v* by the convex relaxation against its
closed form, with the value (K − 1)√(N/K) of equal counts, which is larger, for comparison.
"""


def _observed(config: Config, ratio: int, path: ulpm.Trajectory) -> Imbalance:
    problem, final = path.problem, path.final_state
    # Where d is too small the geometry is predicted as if it were not: that is what is to fail.
    roomy = ulpm.Problem(problem.class_counts, max(problem.feature_dim, problem.num_classes - 1))
    separation = ulpm.minimum_norm_separation(roomy)
    assert path.snapshots is not None
    logits = path.snapshots.W @ seli.class_means(problem, path.snapshots.H)
    logits = (logits - logits.mean(-2, keepdim=True)).cpu()
    W = final.W.cpu()
    ideal = seli.centred(problem.num_classes)
    if config.geometry == "SELI":
        W_ideal = ulpm.seli_state(roomy).W
        ideal_gram, limits = W_ideal @ W_ideal.T, seli.seli_metrics(roomy)
    else:
        ideal_gram, limits = ideal, {"nc3_difference": 0.0}
    return Imbalance(
        ratio,
        path,
        separation,
        seli.logits_constant(roomy, separation),
        seli.variability_constant(problem, ulpm.State(W, final.H.cpu())),
        limits,
        seli.direction_distance(logits, ideal),
        seli.direction_distance(W @ W.mT, ideal_gram),
    )


def _value(config: Config, one: Imbalance) -> float:
    """The claimed v*."""
    counts = one.path.problem.class_counts
    K = len(counts)
    if config.constant == "balanced":
        return (K - 1) * math.sqrt(sum(counts) / K)
    weighted = seli.centred(K) * torch.tensor(counts, dtype=torch.float64).sqrt()
    return float(torch.linalg.svdvals(weighted).sum())


def _value_claims(config: Config, one: Imbalance) -> list[Claim]:
    """The value by the relaxation, and the constants that it is in."""
    path, v = one.path, _value(config, one)
    problem, end = path.problem, path.log_time[-1]
    K, N = problem.num_classes, problem.num_samples
    size = 2 * (math.log(config.log_time) + math.log((K - 1) * N) + N / v) / config.log_time
    correction = (
        "½ρ² = v*·(log(1/L) + S) + F with S ≤ log((K − 1)N) the entropy of the multipliers and F, of the order of N, "
        "what is frozen, and log(1/L) = log t + log log t + O(1): twice (log log t + log((K − 1)N) + N/v*)/log t"
    )
    ends = f"at 1:{one.ratio} and log t = {config.log_time:g}, largest over {config.starts} starts"
    return [
        Claim(
            f"Value of the relaxation at 1:{one.ratio}, relative distance from v*.",
            abs(one.separation.value / v - 1),
            "<=",
            1e-9,
            "the solution is polished to rounding and its duality gap is below that",
        ),
        Claim(
            f"|ρ²/log t / (2v*) − 1| {ends}.",
            float((path.squared_norm[-1] / end / (2 * v) - 1).abs().max()),
            "<=",
            size,
            correction,
        ),
        Claim(
            f"|L·t·log t / (v*/2) − 1| {ends}.",
            float(((path.log_loss[-1] + end).exp() * end / (v / 2) - 1).abs().max()),
            "<=",
            size,
            "L = −d log L/dt · (…) follows ρ²: the same correction",
        ),
    ]


def _logits_claim(config: Config, one: Imbalance) -> Claim:
    end = one.path.log_time[-1]
    miss = (one.logits_distance[-1] * end - one.logits_constant).abs().max() / max(one.logits_constant, 1.0)
    return Claim(
        f"Distance of the class-mean logits' direction from I − 11ᵀ/K, times log t, less its predicted limit "
        f"{one.logits_constant:.4g}, over the larger of that and 1, at 1:{one.ratio} and "
        f"log t = {config.log_time:g}, largest over {config.starts} starts.",
        float(miss),
        "<=",
        0.01 + 3 * math.log(config.log_time) / config.log_time,
        "the next correction is (log log t + O(1))/log t; one per cent is left to the integrator, whose tolerance rtol "
        "is no smaller than the distance itself late in the run, though fast modes damp its errors in the logits",
    )


def _geometry_claims(config: Config, one: Imbalance) -> list[Claim]:
    """W Wᵀ and nc3_difference, which an ETF would have in another place."""
    limit, order = one.limits["nc3_difference"], 3 / math.sqrt(config.log_time)
    ends = f"at 1:{one.ratio} and log t = {config.log_time:g}, largest over {config.starts} starts"
    reason = "frozen parts of W and H of the order of 1 beside ρ: a relative error of 1/√(log t), and a reserve of 3"
    nc3 = one.path.metrics["nc3_difference"][-1]
    return [
        Claim(
            f"Distance of the direction of W Wᵀ from that of {config.geometry} geometry {ends}.",
            float(one.gram_distance.max()),
            "<=",
            order,
            reason,
        ),
        Claim(
            f"|nc3_difference − {limit if limit > 1e-12 else 0:.4g}|, its value in {config.geometry} geometry, {ends}.",
            float((nc3 - limit).abs().max()),
            "<=",
            order,
            reason,
        ),
    ]


def _variability_claims(config: Config, one: Imbalance) -> list[Claim]:
    """The exponent of nc1_pinv over the last decade of log t, with its confidence interval, and its constant."""
    path, first = one.path, config.log_time / 10
    late = path.log_time[:, 0] >= first
    slopes = _slopes(path.log_time[late].log(), path.metrics["nc1_pinv"][late].log())
    quantile = float(stats.t.ppf(0.975, len(slopes) - 1))
    spread = quantile * float(slopes.std()) / math.sqrt(len(slopes))
    ratio = path.metrics["nc1_pinv"][-1] * path.log_time[-1].square() / one.variability_constant
    return [
        Claim(
            f"Exponent of nc1_pinv in log t at 1:{one.ratio}, least squares over log t from {first:g} to "
            f"{config.log_time:g}: distance of the mean over {config.starts} starts from {config.exponent:g}, plus the "
            "half-width of its 95% confidence interval.",
            abs(float(slopes.mean()) - config.exponent) + spread,
            "<=",
            5 / math.sqrt(first),
            "the next order is smaller by a/√(log t), which changes the exponent by a/(2√(log t)): a up to 10",
        ),
        Claim(
            f"|nc1_pinv·(log t)² / its predicted limit − 1| at 1:{one.ratio} and log t = {config.log_time:g}, largest "
            f"over {config.starts} starts.",
            float((ratio - 1).abs().max()),
            "<=",
            10 / math.sqrt(config.log_time),
            "the same next order, a up to 10; the limit is computed from what is frozen in each start's own state",
        ),
    ]


def _slopes(x: Float[Tensor, "R B"], y: Float[Tensor, "R B"]) -> Float[Tensor, " B"]:
    """Least-squares slopes of y against x, one a column."""
    x = x - x.mean(0)
    return (x * y).sum(0) / x.square().sum(0)


def _plot_run(panels: np.ndarray, one: Imbalance, run: style.Run) -> None:
    """The curves of one imbalance, and the lines that theory puts beside them."""
    path, v, log_time = one.path, one.separation.value, one.path.log_time[:, 0].numpy()
    style.draw(panels[0, 0], run, one.logits_distance.clamp(min=1e-16), label=run.label)
    style.draw(panels[0, 1], run, path.metrics["nc1_pinv"], label=run.label)
    style.draw(panels[0, 2], run, path.metrics["nc3_difference"], label=run.label)
    late = log_time > 30
    x = run.log10_time[late]
    if one.ratio > 1:
        panels[0, 0].plot(x, one.logits_constant / log_time[late], **style.THEORY)
        panels[0, 1].plot(x, float(one.variability_constant.quantile(0.5)) / log_time[late] ** 2, **style.THEORY)
        panels[0, 2].axhline(one.limits["nc3_difference"], **style.THEORY)
    positive = path.log_time > 1
    ratios = path.squared_norm / path.log_time / (2 * v), (path.log_loss + path.log_time).exp() * path.log_time / v * 2
    for axes, ratio in zip(panels[1], ratios, strict=False):
        style.draw(axes, run, torch.where(positive, (ratio - 1).abs(), torch.nan), label=run.label)
        if one.ratio == 1:
            counts = path.problem.num_samples
            size = np.log(log_time[late]) + math.log((path.problem.num_classes - 1) * counts) + counts / v
            axes.plot(x, 2 * size / log_time[late], **style.THEORY)


def _plot_values(axes: Axes, config: Config, data: Data) -> None:
    """v*/√n_B against the imbalance."""
    ratios = torch.logspace(0, math.log10(max(2, *config.ratios)), 60, dtype=torch.float64)
    K, equal = config.majority + config.minority, []
    closed = []
    for R in ratios:
        counts = torch.tensor([float(R)] * config.majority + [1.0] * config.minority, dtype=torch.float64)
        closed.append(float(torch.linalg.svdvals(seli.centred(K) * counts.sqrt()).sum()))
        equal.append((K - 1) * math.sqrt(float(counts.mean())))
    root = math.sqrt(config.minority_count)
    values = [one.separation.value / root for one in data]
    axes.plot(config.ratios, values, "o", color=style.COLORS[0], label="relaxation")
    axes.plot(ratios, closed, **style.THEORY)
    axes.plot(ratios, equal, color=style.COLORS[1], linewidth=1.2, label="equal counts, same $N$")
    axes.set(xscale="log", yscale="log", xlabel="imbalance $R$", ylabel=r"$v^*/\sqrt{n_B}$")
