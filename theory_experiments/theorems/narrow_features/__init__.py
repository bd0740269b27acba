"""With fewer features than classes flows end at local minima of the margin problem, or are on their way from a saddle.

Hypotheses: K classes of one sample each, d ≤ K − 1, random starts, log t as far as the configuration says. Where a flow
    is late, the KKT point nearby is made exact and put to the second-order test (kkt_points): what is shown is the kind
    of that point, to rounding, and that no ending of the sizes tried is a local minimum other than the best one found.
Source: this project. Our argument for Theorem 3.4 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled
    Perspective on Neural Collapse", 2022 (see benign_landscape), needs a free direction, d ≥ K, and says nothing here.
    A saddle whose Lagrangian Hessian has the least eigenvalue −κ is left like (log t)^{κ/2}.
Falsified by: a proven local minimum of a value above the best one found; at d = K − 1, one above (K − 1)√n; a saddle
    that is left at another rate. Variants that must fail: an early end (log t = 10), at which nothing can be said; a
    rate of κ instead of κ/2.
Not verified: other sizes, and starts beyond those followed; that the best value found is the optimum for d < K − 1 (no
    proof is known); endings that the test leaves undecided or unresolved are counted, and count as neither.
"""

import collections
import dataclasses
import math

from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.kkt_points import Ending, classify
from theory_experiments.numerics.summaries import greatest, line
from theory_experiments.numerics.vectors import kept, unflat
from ulpm.plotting import style

TITLE = "Narrow features"


@dataclasses.dataclass(frozen=True)
class Config:
    """Flows for ``sizes`` (K, d); ``expected`` are their values, K − 1 if d ≥ K − 1, else the best shape known.

    ``departures``: whether a flow is started beside a saddle that was found; it is left like (log t)^{``rate``·κ}.
    """

    seed: int
    starts: int
    sizes: tuple[tuple[int, int], ...]
    log_time: float
    departures: bool = True
    rate: float = 0.5
    min_resolved: float = 0.75
    device: str = "cpu"


FULL = Config(seed=0, starts=32, sizes=((4, 3), (5, 4), (6, 5), (4, 2), (5, 2), (5, 3), (6, 3), (6, 4)), log_time=1e6)
QUICK = Config(seed=0, starts=3, sizes=((4, 3), (5, 3)), log_time=1e4)
FALSIFIED = {
    "ends at log t = 10": dataclasses.replace(QUICK, log_time=10.0),
    "a saddle is left like (log t)^κ": dataclasses.replace(QUICK, sizes=((5, 3),), rate=1.0),
}


@dataclasses.dataclass(frozen=True)
class Departure:
    """A flow that starts 1e-2 beside a saddle along its direction of descent: component of Θ/ρ, and ρ², at records."""

    curvature: float
    component: Tensor
    squared_norm: Tensor


@dataclasses.dataclass(frozen=True)
class Size:
    """The flows of one (K, d), the KKT point near each end, and the flow that leaves the first saddle among them."""

    path: ulpm.Trajectory
    endings: tuple[Ending, ...]
    departure: Departure | None

    @property
    def best(self) -> float:
        """The least value of a proven minimum; nan if there is none."""
        return min((ending.value for ending in self.endings if ending.kind == "minimum"), default=math.nan)


def simulate(config: Config, work: Work) -> tuple[Size, ...]:
    """Follow the flows, find out what they end at, and leave a saddle of each size that has one."""
    sizes = []
    for K, d in config.sizes:
        problem = ulpm.Problem([1] * K, d)
        work.tell(f"{config.starts} flows, K = {K}, d = {d}")
        start = problem.random_state(seed=config.seed, replicas=config.starts, device=config.device)
        path = work.flow(problem, start, log_time=config.log_time, records=80)
        end = path.final_state
        work.tell(f"second-order tests, K = {K}, d = {d}")
        endings = tuple(classify(problem, ulpm.State(W, H)) for W, H in zip(end.W, end.H, strict=True))
        saddle = next((ending for ending in endings if ending.kind == "saddle"), None)
        leaves = config.departures and saddle is not None
        sizes.append(Size(path, endings, departure(problem, saddle, config, work) if leaves and saddle else None))
    return tuple(sizes)


def departure(problem: ulpm.Problem, saddle: Ending, config: Config, work: Work) -> Departure:
    """Follow the flow from beside the saddle, with margins of 1e4, until ρ² has grown a hundredfold."""
    point = saddle.point * 1e2
    start = point + 1e-2 * point.norm() * saddle.direction
    path = work.flow(problem, unflat(problem, start), log_time=1e6, records=200, snapshots=200)
    states = kept(path)
    component = (states @ saddle.direction).abs() / states.norm(dim=1)
    return Departure(saddle.curvature, component, path.squared_norm)


def growth(departure: Departure) -> float:
    """d log(component)/d log(ρ²) by least squares, once the norm has grown by half: early on, margins settle."""
    late = departure.squared_norm > 1.5 * departure.squared_norm[0]
    return line(departure.squared_norm[late].log(), departure.component[late].log())[0]


def check(config: Config, data: tuple[Size, ...]) -> list[Claim]:
    """Invariants; how much was decided; minima above the best; collapse at d = K − 1; the rate of departure."""
    decided = [sum(e.kind in ("minimum", "saddle") for e in size.endings) / len(size.endings) for size in data]
    minima = [(size, e) for size in data for e in size.endings if e.kind == "minimum"]
    collapsing = [(size, e) for size, e in minima if math.isfinite(size.path.problem.minimum_norm_value)]
    residuals = [e.residual for size in data for e in size.endings if e.kind != "unresolved"]
    departures = [size.departure for size in data if size.departure]
    rates = [growth(departure) / (-config.rate * departure.curvature) - 1 for departure in departures]
    return [
        *invariant_claims(size.path for size in data),
        Claim(
            f"Share of ends that the second-order test decides: least over {len(data)} sizes",
            min(decided),
            ">=",
            config.min_resolved,
            "the claims below speak of these ends; were they a minority, of nothing much",
        ),
        Claim(
            "KKT residuals of the points that were tested, scaled to q_min = 1: largest",
            greatest(residuals),
            "<=",
            1e-9,
            "so that signs of eigenvalues above 1e-6 in size are not in doubt",
        ),
        Claim(
            "Value of a proven local minimum over the least one of its size, less 1: largest",
            greatest([e.value / size.best - 1 for size, e in minima]),
            "<=",
            1e-6,
            "the claim that no local minimum but the best was met; other values that were met differ by 1e-2",
        ),
        Claim(
            "Value of a proven local minimum with d = K − 1 over K − 1, distance from 1: largest",
            greatest([abs(e.value / size.path.problem.minimum_norm_value - 1) for size, e in collapsing]),
            "<=",
            1e-9,
            "an equality if all of them are neural collapse",
        ),
        Claim(
            f"Exponent in ρ² ~ log t of the departure from a saddle over κ/2, distance from 1: largest of {len(rates)}",
            greatest([abs(rate) for rate in rates]),
            "<=",
            0.05,
            "corrections of the order of the component, 0.01 to 0.02 of Θ, and of 1/q_min = 1e-4",
        ),
    ]


LOOKS = {"minimum": ("0.1", "-"), "saddle": (style.COLORS[1], "-."), "undecided": (style.COLORS[4], ":")}
LOOKS["unresolved"] = LOOKS["undecided"]
WORDS = {"minimum": "strict local minimum", "saddle": "saddle", "undecided": "undecided", "unresolved": "undecided"}


def plot(config: Config, data: tuple[Size, ...]) -> Figure:
    """A panel a size: ½ρ²/q_min along the flows, by the kind of the KKT point near their ends."""
    columns = min(4, len(data))
    rows = math.ceil(len(data) / columns)
    figure = style.new_figure(3.6 * columns, 0.7 + 3.0 * rows, "Flows with few features, and what is near their ends")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, size in zip(panels, data, strict=False):
        problem = size.path.problem
        value = size.path.columns()["upper_bound"].cpu()
        counts = collections.Counter(WORDS[ending.kind] for ending in size.endings)
        shown: set[str] = set()
        for i, ending in enumerate(size.endings):
            color, line = LOOKS[ending.kind]
            words = WORDS[ending.kind]
            label = f"{words}: {counts[words]}" if words not in shown else None
            shown.add(words)
            log_time = size.path.log_time[:, i].cpu()
            axes.plot(log_time, value[:, i], color=color, linestyle=line, linewidth=0.9, alpha=0.7, label=label)
        levels = sorted({round(ending.value, 6) for ending in size.endings if ending.kind in ("minimum", "saddle")})
        for level in levels:
            axes.axhline(level, **style.THEORY)
        if math.isfinite(size.best):
            at = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            words = axes.annotate(
                f"{size.best:.4f}", (0.98, size.best), (0, -3), **at, ha="right", va="top", fontsize=8
            )
            words.set_in_layout(False)
        base = problem.num_classes - 1
        axes.set(xscale="log", xlim=(3, config.log_time), ylim=(base - 0.1, 1.35 * base + 1))
        if math.isfinite(size.best):
            axes.set_ylim(0.98 * size.best, 1.13 * size.best)
        axes.set_title(f"$K$ = {problem.num_classes}, $d$ = {problem.feature_dim}", fontsize=10)
        axes.set(xlabel=r"$\log\,t$", ylabel=r"value ½$\rho^2/q_{min}$")
        style.finish(axes)
        axes.legend(fontsize=8, frameon=False, loc="upper right")
    for axes in panels[len(data) :]:
        axes.remove()
    return figure


EXPLANATION = """
The proof that every minimum is global uses a direction of feature space that a critical point leaves free, and there is
one if d ≥ K. With fewer features nothing is known. Flows from random starts seem to end at different values, some far
above others, and for a long time: are these local minima?

Mostly they are not. A state at log t = 10⁶ is so near a KKT point of the margin problem that Newton's method can make
the point exact, and then the second-order test applies: the Hessian of the Lagrangian on the directions that keep the
active margins, without rotations. Where it is positive, the point is a strict local minimum, and every one found has
the least value found for its size. Where it has a negative eigenvalue −κ the point is a saddle, and a flow is beside it
because it leaves it like (log t)^{κ/2}, which for κ = 0.3 means eightfold growth from log t = 10 to 10⁷. That law is
checked by a flow started beside the saddle. A flow near a minimum and one near a saddle cannot be told apart by looking
at them; the eigenvalue tells. Some flows with K = 6, d = 4 are undecided: still on their way between such points, or
beside one whose multipliers are not unique. (The figure counts all kinds.)

With d = K − 1 all proven minima are neural collapse. Below, the best values are K for K = 2d (the block point with
blocks of two, an orthoplex: a saddle where there is room for more dimensions, a strict minimum where there is not), and
shapes of their own otherwise. That they are global optima is not shown: the convex bound is K − 1, and is not attained.
"""
