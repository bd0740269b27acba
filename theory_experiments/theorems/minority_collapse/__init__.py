"""Where norms are bounded or paid for, the classifiers of rare classes merge at a finite imbalance; the ULPM's do not.

Hypotheses: K = K_A + K_B classes, K_A of n_A and K_B of n_B samples, R = n_A/n_B, d ≥ K − 1. Three models: (a) mean
cross-entropy with (1/K) Σ ‖w_k‖² ≤ E_W and (1/K) Σ_k (1/n_k) Σ_i ‖h_{k,i}‖² ≤ E_H; (b) mean cross-entropy
+ (λ_W/2)‖W‖² + (λ_H/2)‖H‖²; (c) the margin problem of the unconstrained model. (a) and (b) are cross-entropy with a
budget or a price on the nuclear norm of the logits, weighted by √n_k in (b). Rare classes merge exactly when the most
that one of them can save by a direction of its own does not exceed the price ν of the norm: n_B/N ≤ ν in (a), where ν
is the multiplier of the budget, and √n_B/N ≤ ν = √(λ_W λ_H) in (b), that is for
R ≥ R₀ = (1/(ν√n_B) − K_B)/K_A. In (c) no norm is paid for, every margin is 1, and
cos = (τ − 1/K_B)/(τ + 1 − 1/K_B) < 1 at every R, with τ = (K_A/(K K_B)) √((K_B R + K_A)/K).
Source: Fang, He, Long, Su, "Exploring deep neural networks via layer-peeled model: Minority collapse in imbalanced
training", 2021, for (a); Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A geometric analysis of neural collapse with
unconstrained features", 2021, for (b); Thrampoulidis, Kini, Vakilian, Behnia, "Imbalance Trouble: Revisiting
Neural-Collapse Geometry", 2022, for (c). The two criteria and the cosine in (c) follow from the symmetry among equal
classes.
Falsified by: minority cosines below 1 beyond the threshold or at 1 before it, or a random start that ends below the
value of the relaxation. Run with a wrong threshold, with the cosine −1/(K_B − 1) claimed at R = 1, with model (c) for
(a), and with fewer features than the optimum's rank, where descent cannot reach the value.
Not verified: other numbers of classes and energies than those listed, a bias, and whether networks follow.
"""

import dataclasses
import functools
import math

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.local_search import constrained_objective, descend, regularised_objective
from theory_experiments.numerics.minority_curves import (
    Curve,
    layer_peeled_curve,
    margin_curve,
    minority_cosine,
    seli_cosine,
)
from ulpm.plotting import style

TITLE = "Minority collapse"
_MERGED = 1 - 1e-6  # a cosine above this is that of one direction


@dataclasses.dataclass(frozen=True)
class Config:
    """Class groups, the two models' budgets and prices, imbalances to solve at, and those to search from starts at."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    majority: int = 5
    minority: int = 5
    minority_count: int = 1
    feature_dim: int = 10
    energies: tuple[float, float] = (1.0, 5.0)
    decays: tuple[float, float] = (1e-3, 1e-3)
    ratios: tuple[int, ...] = (
        *(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 20, 30, 50, 70, 100, 130, 160, 180, 190, 195, 198),
        *(200, 203, 210, 230, 300, 500, 1000),
    )
    searched: tuple[int, ...] = (1, 10, 100, 1000)
    threshold_factor: float = 1.0  # what the thresholds are multiplied by; 1 is the theory
    cosine_at_one: str = "K"  # the cosine claimed at R = 1 is −1/(this − 1)
    constrained: bool = True  # else the margin problem takes the place of model (a)


FULL = Config()
QUICK = Config(starts=2, ratios=(1, 9, 12, 190, 210, 1000), searched=(1, 100))
_ENDS = dataclasses.replace(QUICK, ratios=(1, 1000), searched=(1,))
FALSIFIED = {
    "twice the threshold is claimed": dataclasses.replace(_ENDS, threshold_factor=2.0, ratios=(1, 210, 1000)),
    "at R = 1 the cosine of K_B classes is claimed, not of K": dataclasses.replace(_ENDS, cosine_at_one="K_B"),
    "the norms are not constrained": dataclasses.replace(_ENDS, constrained=False),
    "d = 4 features, fewer than the optimum's rank": dataclasses.replace(_ENDS, feature_dim=4),
}


@dataclasses.dataclass(frozen=True)
class Search:
    """Where descent ends, [S, B] for the searched ratios and the starts: value over optimum − 1, and least cosine."""

    excess: Float[Tensor, "S B"]
    cosines: Float[Tensor, "S B"]


@dataclasses.dataclass(frozen=True)
class Data:
    """Optima and searches of the models (a) and (b), and the optima of (c)."""

    curves: dict[str, Curve]
    searches: dict[str, Search]
    margin_problem: Curve


def simulate(config: Config, work: Work) -> Data:
    """Solve the three models at every ratio, and search (a) and (b) from random starts at some."""
    optima: dict[str, list[ulpm.LayerPeeledOptimum]] = {name: [] for name in MODELS}
    separations = []
    for R in config.ratios:
        work.tell(f"the optima at R = {R}")
        problem = _problem(config, R, config.majority + config.minority - 1)
        for name in MODELS:
            optima[name].append(_optimum(config, name, problem))
        separations.append(ulpm.minimum_norm_separation(problem))
    searches = {name: _search(config, name, work) for name in MODELS}
    samples = [config.minority_count * (config.majority * R + config.minority) for R in config.ratios]
    weights = {"a": config.minority_count, "b": math.sqrt(config.minority_count)}
    curves = {
        name: layer_peeled_curve(found, config.majority, [weights[name] / N for N in samples])
        for name, found in optima.items()
    }
    margin_problem = margin_curve(separations, config.majority)
    if not config.constrained:
        curves["a"] = margin_problem
    return Data(curves, searches, margin_problem)


def check(config: Config, data: Data) -> list[Claim]:
    """That the optima are optima, where minorities collapse and where they do not, and that descent finds the same."""
    worst = max(float(curve.gaps.max()) for curve in (*data.curves.values(), data.margin_problem))
    where = f"over {len(config.ratios)} ratios R from {min(config.ratios)} to {max(config.ratios)}"
    claims = [
        Claim(
            f"Duality gap of the optima of all three models, relative to their values, largest {where}.",
            worst,
            "<=",
            1e-11,
            "a polished solution is right to rounding, 1e-16 for each of some K⁴ = 10⁴ operations with a reserve of 10",
        )
    ]
    for name, model in MODELS.items():
        claims += _model_claims(config, model, data.curves[name])
    claims += _margin_claims(config, data.margin_problem)
    for name, model in MODELS.items():
        claims += _search_claims(config, model, data.searches[name])
    return claims


def plot(config: Config, data: Data) -> Figure:
    """Cosines against R on the left; why, in the middle; and where descent from random starts ends, on the right."""
    K = config.majority + config.minority
    figure = style.new_figure(
        14,
        4.8,
        f"Minority collapse · $K_A$ = {config.majority}, $K_B$ = {config.minority}, "
        f"$E_W$ = {config.energies[0]:g}, $E_H$ = {config.energies[1]:g}, "
        f"$\\lambda_W$ = $\\lambda_H$ = {style.number(config.decays[0])}",
    )
    left, middle, right = figure.subplots(1, 3)
    R = torch.tensor(config.ratios, dtype=torch.float64)
    fine = torch.logspace(0, math.log10(max(config.ratios)), 200, dtype=torch.float64)
    left.plot(R, data.margin_problem.cosines, "D", color=style.COLORS[2], markersize=4, label="(c) margin problem")
    left.plot(fine, seli_cosine(fine, config.majority, config.minority), **style.THEORY, label="(c) closed form")
    for (name, model), color, marker in zip(MODELS.items(), style.COLORS, "os", strict=False):
        curve = data.curves[name]
        left.plot(R, curve.cosines, marker + "-", color=color, markersize=4, label=model)
        middle.plot(R, curve.savings, marker + "-", color=color, markersize=4, label=model)
        for axes in (left, middle):
            axes.axvline(_crossing(R, curve.savings), color=color, linestyle=":", linewidth=1.2)
        _plot_search(right, config, data.searches[name], model, color, marker)
    left.axhline(-1 / (K - 1), **style.THEORY | {"linewidth": 0.8})
    left.annotate("$-1/(K-1)$", (3, -1 / (K - 1)), xytext=(0, -12), textcoords="offset points", fontsize=8)
    left.set(
        xscale="log", ylim=(-0.5, 1.08), xlabel="imbalance $R=n_A/n_B$", ylabel="cosine of two minority classifiers"
    )
    middle.axhline(1, **style.THEORY, label="merged below")
    middle.set(xscale="log", yscale="log", xlabel="imbalance $R=n_A/n_B$")
    middle.set_ylabel("most that a rare class can save / price of the norm")
    for axes, corner in ((left, "lower right"), (middle, "upper right"), (right, "upper right")):
        axes.legend(fontsize=8, frameon=False, loc=corner)
        style.finish(axes)
    return figure


EXPLANATION = """
Left: the cosine between the classifiers of two rare classes. With equal counts all three models collapse to a simplex
and the cosine is −1/(K−1). As the imbalance R grows, models (a) and (b), which have to economise on norm, turn the rare
classifiers towards each other, and at a finite R (dotted) these become *one* direction: the rare classes are no longer
told apart at all. The margin problem, where the flow without weight decay ends, must keep every margin at 1. Its rare
classifiers also turn towards each other (1 − cos falls like 1/√R), simply because they share the large component that
tells rare from frequent, but at every R their cosine is below 1, the closed form says which (dashed), and the rare
classes stay separated.

Middle: why there is a threshold. A direction of its own for a rare class costs norm, at the price ν a unit, and it
saves at most its share of the gradient, n_B/N in (a) and √n_B/N in (b), where features are counted once a sample. Where
the saving is below the price (ratio below 1, dashed) the direction is not worth having, and its singular value is
exactly 0. In (b) the price is given, so that the threshold is known in closed form; in (a) it is a result of the
optimisation.

Right: descent over all of W and every single feature, from random starts, against the value of the convex relaxation.
It ends at that value from every start, up to rounding: the relaxation is tight, and no start is trapped.
"""

MODELS = {"a": "(a) norms constrained", "b": "(b) weight decay"}


def _problem(config: Config, R: int, feature_dim: int) -> ulpm.Problem:
    n_B = config.minority_count
    return ulpm.Problem([R * n_B] * config.majority + [n_B] * config.minority, feature_dim)


def _optimum(config: Config, name: str, problem: ulpm.Problem) -> ulpm.LayerPeeledOptimum:
    if name == "a":
        return ulpm.norm_constrained_optimum(problem, *config.energies)
    return ulpm.regularised_optimum(problem, *config.decays)


def _search(config: Config, name: str, work: Work) -> Search:
    """Descent from the same random starts at each of the searched ratios."""
    excess, cosines = [], []
    for R in config.searched:
        work.tell(f"{MODELS[name]}: descent from {config.starts} starts at R = {R}")
        problem = _problem(config, R, config.feature_dim)
        best = _optimum(config, name, problem)
        objective = (
            constrained_objective(problem, *config.energies)
            if name == "a"
            else regularised_objective(problem, *config.decays)
        )
        start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
        values, W = work.replicas(functools.partial(descend, objective), start.W, start.H)
        excess.append(values.cpu() / best.value - 1)
        cosines.append(torch.stack([minority_cosine(one.cpu(), config.majority) for one in W]))
    return Search(torch.stack(excess), torch.stack(cosines))


def _model_claims(config: Config, model: str, curve: Curve) -> list[Claim]:
    """The angles at both ends, with what is proven about their errors, and the threshold between."""
    classes = config.majority + config.minority if config.cosine_at_one == "K" else config.minority
    equal, most = config.ratios.index(1), config.ratios.index(max(config.ratios))
    proven = "a duality gap of rounding, 1e-16, proves angles up to its root over the curvature of the loss of a rare"
    merged, worth = curve.cosines >= _MERGED, config.threshold_factor * curve.savings > 1
    return [
        Claim(
            f"{model}: distance of the minority cosines from −1/({config.cosine_at_one} − 1) at R = 1, plus the error "
            "that the duality gap leaves open.",
            float((curve.cosines[equal] + 1 / (classes - 1)).abs() + curve.errors[equal]),
            "<=",
            1e-4,
            f"{proven} class, here 1e-8/0.01 and a reserve of 100",
        ),
        Claim(
            f"{model}: cosine of two minority classifiers at R = {max(config.ratios)}, the least over pairs, less the "
            "error that the duality gap leaves open.",
            float(curve.cosines[most] - curve.errors[most]),
            ">=",
            0.99,
            "the issue of minority collapse is a cosine of 1; 0.01 is left for what is proven of the angle, as the "
            "curvature of the loss of a rare class falls like 1/R",
        ),
        Claim(
            f"{model}: ratios, of {len(config.ratios)}, at which the minority classifiers are one (cosine above "
            f"{_MERGED}) although a direction of their own would save more than it costs, or not one although not.",
            float((merged == worth).sum()),
            "<=",
            0,
            "the criterion is exact; no ratio is nearer to the threshold than 0.1%, so that cosines differ by more "
            "than the digits above",
        ),
    ]


def _margin_claims(config: Config, curve: Curve) -> list[Claim]:
    R = torch.tensor(config.ratios, dtype=torch.float64)
    K = config.majority + config.minority
    return [
        Claim(
            f"(c) margin problem: distance of the minority cosine from its closed form, largest over "
            f"{len(config.ratios)} ratios.",
            float((curve.cosines - seli_cosine(R, config.majority, config.minority)).abs().max()),
            "<=",
            1e-9,
            "both are right to rounding: the solution is polished in its factors",
        ),
        Claim(
            f"(c) margin problem: minority cosine, largest over ratios up to R = {max(config.ratios)}.",
            float(curve.cosines.max()),
            "<=",
            0.99,
            "no collapse: cosines above 0.99 would count as one in the claims on (a) and (b)",
        ),
        Claim(
            "(c) margin problem: rank of the logits, smallest over ratios.",
            float(curve.ranks.min()),
            ">=",
            K - 1,
            "every class keeps a direction of its own: the rank of I − 11ᵀ/K",
        ),
    ]


def _search_claims(config: Config, model: str, search: Search) -> list[Claim]:
    starts = f"over {config.starts} random starts at each of R = {', '.join(map(str, config.searched))}"
    claims = [
        Claim(
            f"{model}: value at which descent over all W and single features in d = {config.feature_dim} ends, over "
            f"the value of the relaxation, less 1, largest {starts}.",
            float(search.excess.max()),
            "<=",
            1e-9,
            "every local minimum is global for d ≥ K; L-BFGS ends at a gradient of 1e-12 or when a step gains less "
            "than rounding, and values are quadratic in what is left",
        ),
        Claim(
            f"{model}: the same, smallest {starts}.",
            float(search.excess.min()),
            ">=",
            -1e-12,
            "nothing is below the optimum, but for rounding of a mean over up to 10⁴ samples",
        ),
    ]
    most = max(config.ratios)
    if most in config.searched:
        claims.append(
            Claim(
                f"{model}: cosine of two minority classifiers where descent ends at R = {most}, the least over pairs "
                f"and {config.starts} starts.",
                float(search.cosines[config.searched.index(most)].min()),
                ">=",
                0.99,
                "as above, from W as descent leaves it",
            )
        )
    return claims


def _crossing(R: Float[Tensor, " R"], savings: Float[Tensor, " R"]) -> float:
    """The ratio where savings fall to 1, between those that were solved; nan if nowhere."""
    below = (savings <= 1).nonzero()
    if not len(below) or not int(below[0]):
        return math.nan
    i = int(below[0])
    x, y = R[i - 1 : i + 1].log(), savings[i - 1 : i + 1].log()
    return float((x[0] - y[0] * (x[1] - x[0]) / (y[1] - y[0])).exp())


def _plot_search(axes: Axes, config: Config, search: Search, model: str, color: str, marker: str) -> None:
    side = 0.93 if marker == "o" else 1.07
    for i, R in enumerate(config.searched):
        height = search.excess[i].clamp(min=1e-16)
        x = torch.full_like(height, R * side)
        label = model if i == 0 else None
        axes.plot(x, height, marker, color=color, markersize=4, alpha=0.6, markerfacecolor="none", label=label)
    if color == style.COLORS[0]:
        top = max(1e-6, 10 * float(search.excess.max()))
        axes.axhline(1e-9, **style.THEORY, label="bound of the claim")
        axes.set(xscale="log", yscale="log", ylim=(5e-17, top), xlabel="imbalance $R=n_A/n_B$")
        axes.set_ylabel("value where descent ends / optimum − 1")
        style.note(axes, f"{config.starts} random starts each", 0.04, 0.94)
