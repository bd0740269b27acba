"""Of all directions in which the loss goes to zero, those of neural collapse have the lowest loss, at every norm.

Hypotheses: K classes of n samples each, d ≥ K − 1. Directions are compared at equal norm ρ² = ‖W‖² + ‖H‖². Collapse of
    this norm has the margin q = ρ²/(2(K − 1)√n) and the loss N log(1 + (K − 1)e^(−q)).
    Proof in brief. Let Ĉ have the columns of I − 11ᵀ/K, each repeated n times and divided by √n; then ‖Ĉ‖_op = 1, and
    the residual of collapse is R = μĈ. The loss is convex in Z, and ⟨Ĉ, Z⟩ ≤ ‖Z‖_* ≤ ½ρ². So everywhere on the sphere
    L ≥ L_NC + μD with D = ½ρ² − ⟨Ĉ, Z⟩ ≥ 0. This D is also the sum of squares ½‖Wᵀ − HĈᵀ‖² + ½‖H − HĈᵀĈ‖². The first
    one is a lack of self-duality, since HĈᵀ has the columns √n(h̄_k − h̄). The second one is the variation within
    classes and the mean of all features.
Source: Theorem 3.3 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022.
    That it holds at every norm, the bound by D and the second order at collapse are this project's.
Falsified by: a direction with a lower loss than collapse at one norm; a loss below the bound; a difference of log L
    that does not grow like (γ* − γ)ρ²; a search that ends level with collapse but elsewhere. Variants that must fail:
    unequal class counts, where a simplex frame is not the optimum; an orthogonal frame; W twice as long as H;
    d = K − 2, where the frame does not fit; the bound with 2D.
Not verified: directions outside the families and searches; for those only the proof speaks. We know neither the
    hypotheses of the paper's theorem nor its definition of a direction, only the content in the first line.
"""

import dataclasses
import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics import collapse_on_sphere
from theory_experiments.numerics.directions import log_loss_at, separating_directions, unit
from theory_experiments.numerics.near_collapse import (
    EQUAL,
    SECOND_ORDER,
    Curvature,
    Near,
    curvature,
    distance_share,
    perturb,
    search,
)
from theory_experiments.numerics.summaries import greatest
from theory_experiments.numerics.vectors import flat, unflat
from theory_experiments.theorems.lowest_loss import figure as lowest_loss_figure
from ulpm.plotting import style

TITLE = "The lowest loss"


@dataclasses.dataclass(frozen=True)
class Config:
    """``problems`` (class counts, d). ``margins`` are margins q of collapse and set the norms at which to compare.

    At the margins ``searched`` there are searches, each of ``iterations`` steps, and a look at the second order.
    The direction claimed to be lowest is made from ``frame``, with W multiplied and H divided by ``stretch``; the
    bound by D is multiplied by ``price``.
    """

    seed: int
    starts: int
    problems: tuple[tuple[tuple[int, ...], int], ...]
    margins: tuple[float, ...]
    searched: tuple[float, ...]
    iterations: int
    frame: str = "simplex"
    stretch: float = 1.0
    price: float = 1.0
    device: str = "cpu"


FULL = Config(
    seed=0,
    starts=32,
    problems=(((4,) * 2, 2), ((2,) * 3, 2), ((5,) * 4, 8), ((1,) * 6, 5), ((5,) * 10, 16)),
    margins=(0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 1e2, 1e3, 1e4, 1e5, 1e6),
    searched=(0.5, 5.0, 50.0),
    iterations=1500,
)
QUICK = dataclasses.replace(
    FULL, starts=4, problems=(((2,) * 3, 2), ((2,) * 4, 5)), searched=(1.0, 10.0), iterations=600
)
SHORT = dataclasses.replace(QUICK, starts=2, problems=(((2,) * 4, 5),), iterations=200)
FALSIFIED = {
    "unequal class counts": dataclasses.replace(SHORT, problems=(((6, 3, 2, 1), 5),)),
    "an orthogonal frame called collapse": dataclasses.replace(SHORT, frame="orthogonal"),
    "W twice as long as H": dataclasses.replace(SHORT, stretch=math.sqrt(2)),
    "d = K − 2, one dimension too few": dataclasses.replace(SHORT, problems=(((2,) * 4, 2),)),
    "the bound with 2D": dataclasses.replace(SHORT, price=2.0),
}


@dataclasses.dataclass(frozen=True)
class Compared:
    """One family: γ/γ* [B], and at all norms [M, B] the excess log L − log L_NC and its bound log(1 + μD/L_NC)."""

    family: str
    share: Tensor
    excess: Tensor
    bound: Tensor


@dataclasses.dataclass(frozen=True)
class Tried:
    """One problem: log L_NC at all norms [M], what was compared with it, and the second order.

    ``turned`` [M, starts] is the excess of collapse in rotated coordinates, ``kinds`` what the package calls collapse.
    """

    problem: ulpm.Problem
    log_losses: Tensor
    turned: Tensor
    kinds: tuple[str, ...]
    compared: tuple[Compared, ...]
    near: tuple[Near, ...]
    curvatures: tuple[Curvature, ...]


def claimed(config: Config, problem: ulpm.Problem) -> Tensor:
    """The direction [D] that is claimed to be lowest, of norm 1: collapse, except in negative controls."""
    K, d = problem.num_classes, problem.feature_dim
    rows = ulpm.simplex_etf(K, max(d, K - 1))[:, :d]
    if config.frame == "orthogonal":
        rows = torch.eye(K, d, dtype=torch.float64)
    H = rows / (config.stretch * math.sqrt(problem.num_samples / K))
    return unit(flat(ulpm.State(rows * config.stretch, H[problem.labels].T)))


def simulate(config: Config, work: Work) -> tuple[Tried, ...]:
    """For each problem: compare families at all norms, search for lower points, and look at the second order."""
    tried = []
    for counts, d in config.problems:
        problem = ulpm.Problem(counts, d)
        collapse = claimed(config, problem)
        work.tell(f"families, {style.sizes(problem)}")
        families = separating_directions(problem, collapse, config.starts, config.seed, config.device, work)
        log_losses = at_all_norms(config, problem, collapse[None])
        curvatures = tuple(curvature(problem, collapse, q) for q in config.searched)
        nearby: list[Near] = []
        for q, curved in zip(config.searched, curvatures, strict=True):
            work.tell(f"searches, {style.sizes(problem)}, q = {q:g}")
            nearby.append(search(problem, collapse, q, config.starts, config.seed, config.iterations, work))
            nearby += perturb(problem, collapse, q, config.starts, config.seed, curved)
        scaled = [unflat(problem, collapse_on_sphere.norm(problem, q) * collapse) for q in config.searched]
        tried.append(
            Tried(
                problem=problem,
                log_losses=log_losses[:, 0],
                turned=at_all_norms(config, problem, turned(config, problem, collapse)) - log_losses,
                kinds=tuple(ulpm.sphere_critical_point(problem, state).kind for state in scaled),
                compared=tuple(
                    compare(config, problem, family, points, log_losses) for family, points in families.items()
                ),
                near=tuple(nearby),
                curvatures=curvatures,
            )
        )
    return tuple(tried)


def at_all_norms(config: Config, problem: ulpm.Problem, directions: Tensor) -> Tensor:
    """log L [M, B] of directions [B, D]."""
    norms = [collapse_on_sphere.norm(problem, q) for q in config.margins]
    return torch.stack([log_loss_at(problem, directions, rho) for rho in norms])


def turned(config: Config, problem: ulpm.Problem, collapse: Tensor) -> Tensor:
    """Collapse in coordinates of feature space that are turned at random: [starts, D]."""
    d, state = problem.feature_dim, unflat(problem, collapse)
    generator = torch.Generator().manual_seed(config.seed)
    Q = torch.linalg.qr(torch.randn(config.starts, d, d, generator=generator, dtype=torch.float64)).Q
    return flat(ulpm.State(state.W @ Q, Q.mT @ state.H))


def compare(config: Config, problem: ulpm.Problem, family: str, directions: Tensor, log_losses: Tensor) -> Compared:
    """See :class:`Compared`; ``log_losses`` [M, 1] are those of collapse."""
    D = collapse_on_sphere.shortfall(problem, directions)
    spheres = [
        collapse_on_sphere.multiplier(problem, q) * collapse_on_sphere.norm(problem, q) ** 2 for q in config.margins
    ]
    bound = torch.stack([(config.price * sphere * D).log1p() for sphere in spheres])
    share = ulpm.margin(problem, unflat(problem, directions)) * 2 * collapse_on_sphere.value(problem)
    return Compared(family, share, at_all_norms(config, problem, directions) - log_losses, bound)


def check(config: Config, data: tuple[Tried, ...]) -> list[Claim]:
    """Collapse itself; then families, searches and the second order."""
    return [*_claims_about_collapse(config, data), *_claims_about_families(config, data), *_claims_nearby(config, data)]


_ROUNDING = "log L has the size of q, and its terms have thousands of roundings of 1e-16"
_NONE_LOWER = f"a theorem: no direction is lower at any norm, up to rounding: {_ROUNDING}"


def _claims_about_collapse(config: Config, data: tuple[Tried, ...]) -> list[Claim]:
    scale = 1 + torch.tensor(config.margins, dtype=torch.float64)
    closed = [[collapse_on_sphere.log_loss(tried.problem, q) for q in config.margins] for tried in data]
    off = [
        (tried.log_losses - torch.tensor(values, dtype=torch.float64)).abs() / scale
        for tried, values in zip(data, closed, strict=True)
    ]
    kinds = [kind for tried in data for kind in tried.kinds]
    return [
        Claim(
            f"log L of collapse less log(N log(1 + (K − 1)e^(−q))), over 1 + q: largest {_norms(config)}",
            greatest(off),
            "<=",
            EQUAL,
            f"an equality up to rounding: {_ROUNDING}",
        ),
        Claim(
            f"log L less log L_NC, over 1 + q, of collapse in rotated coordinates: largest size {_norms(config)}",
            greatest(tried.turned.abs() / scale[:, None] for tried in data),
            "<=",
            EQUAL,
            f"an equality up to rounding: {_ROUNDING}",
        ),
        Claim(
            f"‖R‖_op/μ − 1 at collapse: largest size over {len(data)} problems and {_searched(config)}",
            greatest(abs(curved.certificate) for tried in data for curved in tried.curvatures),
            "<=",
            EQUAL,
            "an equality, which proves that no point of the sphere is lower: L − min L ≤ ½ρ²(‖R‖_op − μ)",
        ),
        Claim(
            f"Collapsed states that the package does not call global minima of the sphere, of {len(kinds)}",
            float(sum(kind != "global_minimum" for kind in kinds)),
            "<=",
            0.0,
            "a theorem; none is allowed",
        ),
    ]


def _claims_about_families(config: Config, data: tuple[Tried, ...]) -> list[Claim]:
    scale = 1 + torch.tensor(config.margins, dtype=torch.float64)[:, None]
    compared = [each for tried in data for each in tried.compared if len(each.share)]
    number = sum(len(each.share) for each in compared)
    directions = f"over {number} directions of {len(data)} problems"
    between = config.margins[-1] - config.margins[-2]
    # Against ρ² and over γ*, which is against q, as γ*ρ² = q.
    slopes = [(each.excess[-1] - each.excess[-2]) / between for each in compared]
    return [
        Claim(
            "Separating directions compared, for each start and problem",
            number / (config.starts * len(data)),
            ">=",
            50.0,
            "each start adds 40 records of a flow and some 70 members of other families; if most of these did not "
            "separate the samples, the comparison would say little",
        ),
        Claim(
            f"log L less log L_NC, over 1 + q: least {directions} {_norms(config)}",
            -greatest(-each.excess / scale for each in compared),
            ">=",
            -EQUAL,
            _NONE_LOWER,
        ),
        Claim(
            f"log(1 + μD/L_NC) less (log L − log L_NC), over 1 + q: largest {directions} {_norms(config)}",
            greatest((each.bound - each.excess) / scale for each in compared),
            "<=",
            EQUAL,
            f"a bound by convexity at every point and norm, up to rounding: {_ROUNDING}",
        ),
        Claim(
            f"Normalised margin γ over γ* = 1/(2(K − 1)√n): largest {directions}",
            greatest(each.share for each in compared),
            "<=",
            1 + 1e-12,
            "a theorem, up to thousands of roundings: no direction has a larger margin than collapse",
        ),
        Claim(
            f"Slope of log L − log L_NC against ρ², over γ*, less 1 − γ/γ*: largest size {directions}",
            greatest((slope - (1 - each.share)).abs() for slope, each in zip(slopes, compared, strict=True)),
            "<=",
            7.0 / between,
            "log L + γρ² lies between log log 2 and log(N(K − 1)) at every norm, an interval of less than 7 for these "
            "sizes; the slope is taken between the two largest norms",
        ),
    ]


def _claims_nearby(config: Config, data: tuple[Tried, ...]) -> list[Claim]:
    everything = [each for tried in data for each in tried.near]
    ends = [each for each in everything if each.kind == "ends"]
    curvatures = [curved for tried in data for curved in tried.curvatures]
    at = f"over {len(data)} problems and {_searched(config)}"
    third_order = (
        "the third order changes it by about q·distance, at most 2e-2 here since only points with "
        f"q·(log L − log L_NC) ≤ {SECOND_ORDER:g} count"
    )
    return [
        Claim(
            f"log L less log L_NC, over 1 + q, where searches on the sphere end: least of "
            f"{sum(len(each.excess) for each in ends)}, {at}",
            -greatest(-each.excess / (1 + each.q) for each in ends),
            ">=",
            -EQUAL,
            _NONE_LOWER,
        ),
        Claim(
            f"Share of searches that end within 1e-8·(1 + q) of log L_NC: least {at}",
            -greatest(-(each.excess <= 1e-8 * (1 + each.q)).double().mean() for each in ends),
            ">=",
            0.5,
            "a search that mostly stops above collapse would have little chance to find a lower point",
        ),
        Claim(
            "Distance from collapse over (excess/(½ρ²·least curvature))^(1/2): largest over ends of searches and "
            "random perturbations of small excess",
            greatest(distance_share(each) for each in everything if each.kind != "softest"),
            "<=",
            1.05,
            f"only collapse attains the minimum: at most 1 to second order; {third_order}",
        ),
        Claim(
            "Distance from collapse over (excess/(½ρ²·least curvature))^(1/2), less 1: largest size over perturbations "
            "along the softest direction, of small excess",
            greatest((distance_share(each) - 1).abs() for each in everything if each.kind == "softest"),
            "<=",
            0.05,
            f"an equality to second order; {third_order}",
        ),
        Claim(
            f"Curvatures of 0 at collapse, more or fewer than rotations of feature space give: largest number {at}",
            greatest(abs(curved.surplus) for curved in curvatures),
            "<=",
            0.0,
            "an equality: near collapse only its rotations have the same loss",
        ),
        Claim(
            f"Least other curvature of log L at collapse over min(1, 2q/K) μ/L: least {at}",
            -greatest(-curved.share for curved in curvatures),
            ">=",
            1 - 1e-9,
            "an equality but for K = 3 and 2q < K, where it is a lower bound; eigenvalues are right to 1e-12 of the "
            "largest, which is less than 1e3 times as large",
        ),
    ]


def _norms(config: Config) -> str:
    return f"at {len(config.margins)} norms with q from {min(config.margins):g} to {max(config.margins):g}"


def _searched(config: Config) -> str:
    return f"q = {', '.join(f'{q:g}' for q in config.searched)}"


def plot(config: Config, data: tuple[Tried, ...]) -> Figure:
    """Left: log L above that of collapse against ρ², by family. Right: against the distance from collapse."""
    shown = max(data, key=lambda tried: (tried.problem.num_classes == 4, tried.problem.num_samples))
    rho_squared = [collapse_on_sphere.norm(shown.problem, q) ** 2 for q in config.margins]
    return lowest_loss_figure.draw(
        shown.problem,
        torch.tensor(rho_squared, dtype=torch.float64),
        {each.family: (each.share, each.excess) for each in shown.compared if len(each.share)},
        [(each.kind, each.q, each.stiffness, each.distance, each.excess) for each in shown.near],
    )


EXPLANATION = """
Take any direction that separates the classes and scale it up: its loss goes to zero. Which direction has the lowest
loss at a given norm? The answer is neural collapse, and not only for large norms but at every norm. The loss is convex
in the logits, and on a sphere the nuclear norm of the logits is bounded. The residual at collapse is μĈ with a matrix Ĉ
of operator norm 1. So the tangent plane at collapse shows that every other point has a loss of at least L_NC + μD. The
number D is a sum of two squares: one measures the lack of self-duality, the other the variation within classes and the
mean of all features. Each imperfection has its price.

The experiment attacks this claim with thousands of separating directions: flows that were stopped early, perturbed
frames, random classifiers with the features that fit them and the reverse, block points, the optimal geometry of other
class counts (SELI), unequal norms of W and H, frames with one tilted row, and mixtures of all these. We compute
everything from logit gaps, so that losses such as e^(−1000000) are compared without loss of accuracy. The left panel
shows by how much log L exceeds that of collapse. No direction lies below the line at 0. At large norm each excess grows
like (γ* − γ)ρ²; the dashed line shows this for the exact block point.

Searches attack the claim harder. They minimise the loss on the sphere from random points, from points near collapse and
from points near block points. None ends below collapse.

Only collapse attains the minimum. The right panel shows perturbed frames at several norms. The excess grows like the
square of the distance from the nearest collapsed state. It is never below the dashed lines, which the least curvature
min(1, 2q/K) μ/L gives, and perturbations along the softest direction lie on them. The dense Hessian confirms that
curvature; it has no zeros other than those that rotations of feature space give.

The negative controls show which hypotheses the claim needs. With unequal class counts the simplex frame is not lowest,
and both the families and the searches contain better points. The same happens for an orthogonal frame, for a frame with
‖W‖ = 2‖H‖, and for a frame that was cut to d = K − 2 dimensions.
"""
