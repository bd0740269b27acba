"""In the simulated flow norms, angles and self-duality approach collapse like 1/log t, distances like (log t)^(−1/2).

Hypotheses: balanced classes, d ≥ K, gradient flow from random starts. Not known are the settings of the paper's own
simulation: its K, n and d, its starts, its span of time. K = 10, n = 50, d = 64, entries N(0, 1/d), t up to 10^1000 and
the number of starts are ours.
Source: the quantities and the kind of figure, with a guide ∝ 1/log t in each panel: Ji, Lu, Zhang, Deng, Su, "An
Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022, Figure 2. Its rows of the classifier are centred.
Falsified by: a metric that stays or stops falling, as the classifier's and the means' do for unequal counts, where the
optimum has another geometry, or for d < K − 1, where no simplex fits; the guide taken for the law of all four panels.
Not verified: the paper's own curves; networks, which are the business of `real_experiments`.
"""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.exponents import Interval, confidence, fitted_exponents
from theory_experiments.numerics.invariants import invariant_claims
from ulpm.plotting import style
from ulpm.support import law_exponents

TITLE = "The simulated flow"
# Panel by panel as in the paper: what is shown, and the metrics.
PANELS = {
    "(a) variation of norms": ("nc2_norm_means", "nc2_norm_classifier_centered"),
    "(b) within-class variation": ("nc1_distance",),
    "(c) angles": ("nc2_angle_means", "nc2_angle_classifier_centered"),
    "(d) self-duality": ("nc3_duality",),
}
FORMULAS = {
    "nc2_norm_means": r"Std / Avg of $\Vert\bar h_k-\bar h\Vert$",
    "nc2_norm_classifier_centered": r"Std / Avg of $\Vert\bar w_k\Vert$",
    "nc1_distance": r"Avg $\Vert h-\bar h_k\Vert$ / Avg $\Vert h-\bar h\Vert$",
    "nc2_angle_means": r"Avg $|\cos+\frac{1}{K-1}|$ of $\bar h_k-\bar h$",
    "nc2_angle_classifier_centered": r"Avg $|\cos+\frac{1}{K-1}|$ of $\bar w_k$",
    "nc3_duality": r"Avg $\Vert\frac{\bar h_k-\bar h}{\Vert\bar h_k-\bar h\Vert}"
    r"-\frac{\bar w_k}{\Vert\bar w_k\Vert}\Vert$",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Balanced classes unless ``counts`` says otherwise."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    counts: tuple[int, ...] = (50,) * 10
    dim: int = 64
    log10_time: float = 1000.0
    rtol: float = 1e-6
    records: int = 100
    guide_as_law: bool = False

    @property
    def fit_from(self) -> float:
        """The log t from which exponents are fitted: its last decade."""
        return self.log10_time * math.log(10) / 10


FULL = Config()
QUICK = Config(starts=4, counts=(5,) * 4, dim=16, records=50)
FALSIFIED = {
    "the counts are unequal": dataclasses.replace(QUICK, counts=(20, 10, 5, 1)),
    "d = 2 < K − 1: a simplex does not fit": dataclasses.replace(QUICK, dim=2, log10_time=100.0),
    "the guide 1/log t is the law of all four panels": dataclasses.replace(QUICK, guide_as_law=True),
}


@dataclasses.dataclass(frozen=True)
class Data:
    """One trajectory of ``starts`` replicas."""

    path: ulpm.Trajectory


def simulate(config: Config, work: Work) -> Data:
    """The flow from random starts."""
    problem = ulpm.Problem(config.counts, config.dim)
    work.tell(f"the flow to t = 10^{config.log10_time:g}")
    start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
    path = work.flow(problem, start, log10_time=config.log10_time, rtol=config.rtol, records=config.records)
    return Data(path)


def check(config: Config, data: Data) -> list[Claim]:
    """The invariants; of each metric its size at the end, that it falls all through the second half, its exponent."""
    claims = invariant_claims([data.path], config.rtol)
    intervals, laws = _intervals(config, data.path), _laws(config)
    for what, names in PANELS.items():
        for name in names:
            values = data.path.metrics[name]
            claims += [
                Claim(
                    f"`{name}` ({what}) at t = 10^{config.log10_time:g}, largest over {config.starts} starts.",
                    float(values[-1].max()),
                    "<=",
                    _bound(data.path),
                    "relative to what grows nothing stays but what is frozen, no more than the whole start: ρ(0)/ρ at "
                    "the end, with ‖W‖ = ρ/√2 in place of ρ",
                ),
                Claim(
                    f"`{name}` ({what}): largest ratio of a record to the one before, over {config.starts} starts and "
                    "the later half of the records.",
                    float(_ratios(values).max()),
                    "<=",
                    1.0,
                    "a metric that vanishes like a power of log t falls from record to record",
                ),
                Claim(
                    f"`{name}` ({what}): exponent in log t, {intervals[name]} (95%, {config.starts} starts): distance "
                    f"of {laws[name]:g} from the far end of the interval.",
                    intervals[name].distance(laws[name]),
                    "<=",
                    config.fit_from**-0.5,
                    "the next term of each expansion is smaller by (log t)^(−1/2) at least, and bends the slope by "
                    f"about half of that where the fit starts, at log t = {config.fit_from:.4g}",
                ),
            ]
    return claims


def plot(config: Config, data: Data) -> Figure:
    """The paper's four panels, each with its guide ∝ 1/log t, and the exponent of each curve."""
    (run,) = style.runs([data.path])
    intervals = _intervals(config, data.path)
    heading = f"Neural collapse in the simulated flow · {style.sizes(data.path.problem)} · {config.starts} starts"
    span = f"exponents $a$ of $(\\log t)^a$ with 95% intervals, from $\\log t$ = {config.fit_from:.0f} on"
    figure = style.new_figure(12, 9, f"{heading}\nmedian, least to greatest; {span}; the settings are ours")
    for axes, (what, names) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for i, name in enumerate(names):
            looks = {"color": style.COLORS[i], "linestyle": ("-", (0, (1.2, 1.2)))[i], "linewidth": (2.6, 2.2)[i]}
            label = f"{FORMULAS[name]}\n$a$ = {intervals[name]}"
            style.draw(axes, run, data.path.metrics[name], label=label, **looks)
        _draw_guide(axes, run, data.path.metrics[names[0]])
        axes.set(yscale="log", title=what, xscale="log", xlim=(1.0, config.log10_time))
        _fit_height(axes, run, [data.path.metrics[name] for name in names])
        axes.set_xlabel(r"$\log_{10}\,t$, even in $\log\log t$")
        style.fix_ticks(axes, "x", [10.0**k for k in range(int(math.log10(config.log10_time)) + 1)])
        axes.legend(fontsize=10, frameon=False, loc="lower left", labelspacing=0.8)
        style.finish(axes)
    return figure


EXPLANATION = """
The four panels of the paper's Figure 2, with its quantities, on a time axis that is even in log log t. Norms of class
means and of centred classifier rows become equal, features of a class become one, angles become those of a simplex, and
each centred row points where its class mean does. The dashed lines are the paper's guide ∝ 1/log t.

The guide is the law of (a), (c) and (d). On this span of log t their exponents are a little above −1, as sizes follow
the margin log t + log log t + …, which grows a little slower than log t. Later, in the section on rates, they are −1
within 0.01. The intervals are those over starts.

The guide is not the law of (b). `nc1_distance` compares lengths and falls like (log t)^(−1/2): feature parts that the
classifier does not see keep their length, while the rest grows like √(log t). The ratio of the squares, `nc1_ratio`,
falls like 1/log t.

With raw rows in place of centred ones (a), (c) and (d) would have the power −1/2 as well, that of the conserved sum of
the classifier's rows: the section on rates measures both kinds of rows side by side, over a longer span of log t.

The settings of the paper's simulation are not known to us, so the curves are no copy of the paper's. The bound on the
size at the end is crude on purpose: it says only that no more than the whole start has stayed where it was while the
rest grew.
"""


def _draw_guide(axes: Axes, run: style.Run, values: Float[Tensor, "R B"]) -> None:
    """∝ 1/log t over the last decade and a half, at twice the curve where a decade of log t is left."""
    end = run.log10_time[-1]
    middle = style.summary(values)[1][int(abs(run.log10_time - end / 10).argmin())]
    x = np.array([end / 30, end])
    axes.plot(x, 2 * middle * (end / 10) / x, **style.THEORY, label=r"guide $\propto 1/\log t$")


def _fit_height(axes: Axes, run: style.Run, values: list[Float[Tensor, "R B"]]) -> None:
    """From the least value that is shown to the greatest, with room for the legend."""
    shown = torch.cat([each[torch.as_tensor(run.log10_time >= 1)].flatten() for each in values])
    low, high = float(shown.min()), float(shown.max())
    axes.set_ylim(low / 3, 3 * high)


def _intervals(config: Config, path: ulpm.Trajectory) -> dict[str, Interval]:
    """The exponent of each metric of the panels."""
    names = [name for panel in PANELS.values() for name in panel]
    return {name: confidence(fitted_exponents(path.log_time, path.metrics[name], config.fit_from)) for name in names}


def _laws(config: Config) -> dict[str, float]:
    """The claimed exponents; for unequal counts and small d too those of a simplex, as that is what is to fail."""
    problem = ulpm.Problem([2] * len(config.counts), max(config.dim, len(config.counts)))
    laws = law_exponents(problem)
    return dict.fromkeys(laws, -1.0) if config.guide_as_law else laws


def _bound(path: ulpm.Trajectory) -> float:
    """Largest ρ(0)/ρ of the end over starts, with the √2 of ‖W‖ = ρ/√2."""
    return math.sqrt(2) * float((path.squared_norm[0] / path.squared_norm[-1]).sqrt().max())


def _ratios(values: Float[Tensor, "R B"]) -> Float[Tensor, "S B"]:
    later = values[len(values) // 2 :]
    return torch.nan_to_num(later[1:] / later[:-1], nan=math.inf)
