"""In the simulated flow variation of norms, angles, self-duality and within-class variation all vanish together.

Hypotheses: balanced classes, d ≥ K, gradient flow from random starts. The paper's settings for its simulation were not
at hand: K = 10, n = 50, d = 64, entries N(0, 1/d) and t up to 10^1000 are ours, and so is the number of starts.
Source: the quantities and the kind of figure: Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on
Neural Collapse", 2022, after Papyan, Han, Donoho, "Prevalence of neural collapse during the terminal phase of deep
learning training", 2020.
Falsified by: a metric that stays or stops falling, as the classifier's and the means' do for unequal counts, where the
optimum has another geometry, or for d < K − 1, where no simplex fits.
Not verified: the paper's own settings and curves; networks, which are the business of `real_experiments`.
"""

import dataclasses
import math

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.claim import Claim
from theory_experiments.invariants import invariant_claims
from theory_experiments.late_laws import EXPONENTS
from theory_experiments.work import Work
from ulpm.plotting import style

TITLE = "The simulated flow"
# Panel by panel as in the paper: what is shown, and the metrics.
PANELS = {
    "variation of norms": ("nc2_norm_means", "nc2_norm_classifier"),
    "angles: mean |cos + 1/(K−1)|": ("nc2_angle_means", "nc2_angle_classifier"),
    "self-duality": ("nc3_difference",),
    "within-class variation": ("nc1_pinv", "nc1_ratio"),
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


FULL = Config()
QUICK = Config(starts=4, counts=(5,) * 4, dim=16, records=50)
FALSIFIED = {
    "the counts are unequal": dataclasses.replace(QUICK, counts=(20, 10, 5, 1), starts=2),
    "d = 2 < K − 1: a simplex does not fit": dataclasses.replace(QUICK, dim=2, log10_time=100.0, starts=2),
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
    """The invariants; then of each metric its size at the end, and that it falls all through the second half."""
    claims = invariant_claims([data.path], config.rtol)
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
            ]
    return claims


def plot(config: Config, data: Data) -> Figure:
    """A panel for each kind of metric against time."""
    (run,) = style.runs([data.path])
    heading = f"Neural collapse in the simulated flow · {style.sizes(data.path.problem)} · {config.starts} starts"
    figure = style.new_figure(13, 8.4, f"{heading} (median, least to greatest); settings are ours")
    for axes, (what, names) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for i, name in enumerate(names):
            looks = {"color": style.COLORS[i], "linestyle": ("-", (0, (1.2, 1.2)))[i]}
            style.draw(axes, run, data.path.metrics[name], label=name, **looks)
            late = run.log10_time > 10
            x, y = run.log10_time[late], style.summary(data.path.metrics[name])[1][-1]
            axes.plot(x, y * (x / x[-1]) ** EXPONENTS["balanced"][name], **style.THEORY)
        axes.plot([], [], **style.THEORY, label=r"$(\log t)^{a}$, $a$ = " + _powers(names))
        axes.set(yscale="log", ylabel=what)
        style.time_axis(axes, [run])
        axes.legend(fontsize=9, frameon=False)
        style.finish(axes)
    return figure


EXPLANATION = """
The four kinds of quantity that the paper follows in its simulation, on a time axis that is even in log log t: norms of
class means and classifier rows become equal, their angles those of a simplex, classifier and class means become
proportional to each other, and features of a class become one. The dashed lines are the powers of log t that the
section on rates derives, and measures over a hundred times this span of log t. The paper has a guide ∝ 1/log t, which
is the power of the class means and of `nc1_ratio`; the classifier and self-duality fall like (log t)^(−1/2) only,
because the sum of the classifier's rows is conserved, and `nc1_pinv` falls like (log t)^(−3).

The bound on the size at the end is crude on purpose: it says only that no more than the whole start has stayed where it
was while the rest grew.
"""


def _powers(names: tuple[str, ...]) -> str:
    powers = dict.fromkeys(f"{EXPONENTS['balanced'][name]:g}".replace("-", "−") for name in names)
    return " and ".join(powers)


def _bound(path: ulpm.Trajectory) -> float:
    """Largest ρ(0)/ρ of the end over starts, with the √2 of ‖W‖ = ρ/√2."""
    return math.sqrt(2) * float((path.squared_norm[0] / path.squared_norm[-1]).sqrt().max())


def _ratios(values: Float[Tensor, "R B"]) -> Float[Tensor, "S B"]:
    later = values[len(values) // 2 :]
    return torch.nan_to_num(later[1:] / later[:-1], nan=math.inf)
