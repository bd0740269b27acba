"""Whether weight decay leaves a collapsed classifier or nothing is decided by one line: Kc = 1, c = √(nλ_Wλ_H).

Hypotheses: the mean cross-entropy + ½λ_W‖W‖² + ½λ_H‖H‖² of K classes of n samples, d ≥ K. Only the product λ_Wλ_H
counts for the logits: the margin at the end is q = log[(1 − (K − 1)c)/c] for Kc < 1, else 0.
Source: Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A geometric analysis of neural collapse with unconstrained features",
2021.
Falsified by: a flow that ends on the other side of the line, or at another margin. Run with the line K√(λ_Wλ_H) = 1,
without n, and with 2Kc = 1.
Not verified: points on the line itself.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.decayed_ends import Setting, closed_margin, end_error
from theory_experiments.numerics.finite_ends import last
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.summaries import greatest
from ulpm.plotting import style

TITLE = "Phase diagram of weight decay"
_ZERO = 1e-9  # a margin below is that of no classifier; the least of the settings before the line is 0.05


@dataclasses.dataclass(frozen=True)
class Config:
    """``starts`` are shared out: an eighth of them starts at each point. From ``count_power`` on: negative controls."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    rtol: float = 1e-6
    classes: tuple[int, ...] = (2, 3, 4, 8, 16)
    samples: tuple[int, ...] = (1, 3, 10, 30, 100)
    strengths: tuple[float, ...] = (0.01, 0.1, 0.5, 0.95, 1.05, 1.5, 5.0)
    ratio: float = 9.0
    count_power: float = 1.0  # of n in c²
    line: float = 1.0  # the value of Kc on the line


FULL = Config()
QUICK = Config(starts=8, classes=(4,), samples=(10,), strengths=(0.1, 0.9, 1.2))
_ONE = dataclasses.replace(QUICK, samples=())
FALSIFIED = {
    "the line is K√(λ_Wλ_H) = 1, without n": dataclasses.replace(_ONE, strengths=(1.2,), count_power=0.0),
    "the line is 2Kc = 1": dataclasses.replace(_ONE, strengths=(0.9,), line=0.5),
}


@dataclasses.dataclass(frozen=True)
class Point:
    """Where the flows of one setting end."""

    setting: Setting
    path: ulpm.Trajectory

    @property
    def product(self) -> float:
        """λ_Wλ_H."""
        λ_W, λ_H = self.setting.decays
        return λ_W * λ_H

    @property
    def margins(self) -> Float[Tensor, " B"]:
        """q_min at the end."""
        return last(self.path.margin)


@dataclasses.dataclass(frozen=True)
class Data:
    """Points over K at n = 5, and over n at K = 4."""

    over_classes: list[Point]
    over_samples: list[Point]

    @property
    def every(self) -> list[Point]:
        """All of them."""
        return [*self.over_classes, *self.over_samples]


def simulate(config: Config, work: Work) -> Data:
    """The flow at every point, to rest."""

    def point(K: int, n: int, strength: float) -> Point:
        setting = Setting(K, n, K, strength, config.ratio)
        work.tell(f"K = {K}, n = {n}, Kc = {strength:g}")
        start = setting.problem.random_state(config.seed, replicas=math.ceil(config.starts / 8), device=config.device)
        return Point(setting, work.flow(setting.problem, start, log10_time=10.0, rtol=config.rtol, records=10))

    return Data(
        [point(K, 5, strength) for K in config.classes for strength in config.strengths],
        [point(4, n, strength) for n in config.samples for strength in config.strengths],
    )


def check(config: Config, data: Data) -> list[Claim]:
    """What decays at a known rate, the sides of the line, and the margins."""
    over = f"{len(data.every)} points from {math.ceil(config.starts / 8)} starts each"
    misplaced = 0
    for point in data.every:
        K, n = point.setting.classes, point.setting.samples
        zero = K * math.sqrt(n**config.count_power * point.product) >= config.line
        misplaced += int(((point.margins < _ZERO) != zero).sum())
    return [
        *invariant_claims((point.path for point in data.every), config.rtol),
        Claim(
            f"Flows that have a classifier left on the side of zero, or none on the other, of {over}.",
            misplaced,
            "<=",
            0,
            "the line is exact, and no point is within 5% of it",
        ),
        Claim(
            "Error of any logit at the end, and of the norms of W and H relative to the closed form, or to ρ(0)² where "
            f"that is zero, largest over {over}.",
            greatest(end_error(point.path, closed_margin(point.path.problem)) for point in data.every),
            "<=",
            config.rtol,
            "at rest what is left of the way is below the tolerance of the run",
        ),
    ]


def plot(config: Config, data: Data) -> Figure:
    """The margin in colour, the line, and the ends of flows, against K on the left and n on the right."""
    figure = style.new_figure(12, 5, "Where weight decay leaves a classifier · marks are ends of flows")
    left, right = figure.subplots(1, 2)
    _panel(left, data.over_classes, lambda p: p.setting.classes, lambda y: (y, 5.0))
    _panel(right, data.over_samples, lambda p: p.setting.samples, lambda y: (4.0, y))
    left.set(ylabel="classes $K$, with $n$ = 5")
    right.set(ylabel="samples of a class $n$, with $K$ = 4")
    for axes in (left, right):
        style.finish(axes)
    return figure


EXPLANATION = """
Colour is the margin of the closed form, white where it is zero, and the dashed line is Kc = 1, that is
λ_Wλ_H = 1/(nK²). Marks are where flows ended: discs of the colour of their own margin, crosses where nothing is left. A
disc that has the colour around it has the margin of the closed form.

More classes or more samples of a class need less decay for the zero, because the loss is a mean: what a class can gain
by its own direction is √n/N = 1/(K√n) for a unit of norm, and this is compared with the price √(λ_Wλ_H).
"""


def _panel(
    axes: Axes,
    points: Sequence[Point],
    height: Callable[[Point], float],
    sizes: Callable[[np.ndarray], tuple[float | np.ndarray, float | np.ndarray]],
) -> None:
    """λ_Wλ_H across, the height of ``points`` up; ``sizes`` gives K and n at a height."""
    if not points:
        return
    products, heights = [point.product for point in points], [height(point) for point in points]
    x = np.geomspace(min(products) / 2, max(products) * 2, 300)
    y = np.geomspace(min(heights) / 1.3, max(heights) * 1.3, 200)
    K, n = (np.broadcast_to(size, y.shape)[:, None] for size in sizes(y))
    c = np.sqrt(n * x)
    # Past the line no margin is drawn.
    q = np.ma.masked_where(K * c >= 1, np.log(np.maximum(1 - (K - 1) * c, c) / c))
    top = max(float(point.margins.max()) for point in points)
    scale: dict[str, Any] = {"cmap": "viridis_r", "vmin": 0, "vmax": top}
    mesh = axes.pcolormesh(x, y, q, rasterized=True, **scale)
    axes.figure.colorbar(mesh, ax=axes, label="margin $q$")
    axes.plot(1 / (n * K**2)[:, 0], y, **style.THEORY | {"color": "0", "linewidth": 1.6}, label="$Kc=1$")
    left = [point for point in points if float(point.margins.max()) >= _ZERO]
    gone = [point for point in points if float(point.margins.max()) < _ZERO]
    at = [point.product for point in left], [height(point) for point in left]
    axes.scatter(*at, color="white", s=110)
    axes.scatter(
        *at,
        c=[float(point.margins.median()) for point in left],
        edgecolors="black",
        s=45,
        label="collapsed",
        **scale,
    )
    axes.plot([p.product for p in gone], [height(p) for p in gone], "x", color="0", label="zero")
    axes.set(xscale="log", yscale="log", xlabel=r"$\lambda_W\lambda_H$")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticks(sorted(set(heights)), [f"{size:g}" for size in sorted(set(heights))])
    axes.legend(fontsize=8, loc="lower left")
