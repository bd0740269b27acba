"""Once L < log 2 the smoothed margin never decreases, L → 0, ρ → ∞, and the direction tends to KKT points.

Hypotheses: gradient flow without weight decay, and some time at which L < log 2, so that all samples are classified.
Any class counts, any dimension. The smoothed margin is −log(e^L − 1)/ρ², the margin problem
min ½(‖W‖² + ‖H‖²) subject to q_{ij} ≥ 1, and the multipliers of a point are its probabilities p_{ij}, scaled.
Source: Theorem 3.2 of Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022,
whose exact hypotheses are not known to us; Lyu, Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural
Networks", 2020.
Falsified by: a smoothed margin that falls, as it does with ρ⁴ in place of ρ², or before L < log 2; a loss that stays,
as it does with weight decay, or where one-dimensional features cannot separate the classes.
Not verified: that the direction converges, which the theorem does not say either; the limit may be a KKT point that is
not optimal, about which other sections speak.
"""

import dataclasses
import math
import warnings

import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.invariants import invariant_claims
from ulpm.plotting import style

TITLE = "Implicit bias"


@dataclasses.dataclass(frozen=True)
class Config:
    """``power`` is that of ρ in the smoothed margin; ``from_the_start`` drops the hypothesis L < log 2."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    log10_time: float = 1e4
    rtol: float = 1e-6
    records: int = 120
    problems: tuple[tuple[tuple[int, ...], int], ...] = (((5, 5, 5, 5), 20), ((6, 3, 2), 8), ((3, 3, 3, 3), 2))
    power: float = 2.0
    from_the_start: bool = False
    weight_decay: float = 0.0


FULL = Config()
QUICK = Config(starts=4, log10_time=100.0, records=40)
_SMALL = dataclasses.replace(QUICK, problems=QUICK.problems[:1])
FALSIFIED = {
    "the smoothed margin has ρ⁴ in place of ρ²": dataclasses.replace(_SMALL, power=4.0),
    "the hypothesis L < log 2 is dropped": dataclasses.replace(
        QUICK, problems=QUICK.problems[2:], from_the_start=True, starts=16, log10_time=10.0
    ),
    "features are one-dimensional, so that L < log 2 is never reached": dataclasses.replace(
        _SMALL, problems=(((3, 3, 3, 3), 1),), log10_time=2.0
    ),
    "weight decay 0.01 is added to the flow": dataclasses.replace(_SMALL, weight_decay=0.01, log10_time=2.2),
}


@dataclasses.dataclass(frozen=True)
class Data:
    """A trajectory of ``starts`` replicas for each problem."""

    paths: list[ulpm.Trajectory]


def simulate(config: Config, work: Work) -> Data:
    """The flow from random starts."""
    paths = []
    for counts, dim in config.problems:
        problem = ulpm.Problem(counts, dim, weight_decay=(config.weight_decay, config.weight_decay))
        work.tell(f"{problem} to t = 10^{config.log10_time:g}")
        start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
        with warnings.catch_warnings():
            # One of the negative controls is what the warning is about.
            warnings.filterwarnings("ignore", message="In one dimension")
            paths.append(
                work.flow(problem, start, log10_time=config.log10_time, rtol=config.rtol, records=config.records)
            )
    return Data(paths)


def check(config: Config, data: Data) -> list[Claim]:
    """The invariants, monotonicity, growth, and both KKT residuals, over all problems."""
    every = f"over {config.starts} starts of {len(data.paths)} problems"
    ends = [_end(path) for path in data.paths]
    return [
        *invariant_claims(data.paths, config.rtol),
        Claim(
            f"Share of runs in which L < log 2 is reached, {every}.",
            min(float(_separated(path)[-1].double().mean()) for path in data.paths),
            ">=",
            1.0,
            "the hypothesis: the theorem speaks of these runs",
        ),
        Claim(
            "Change of the smoothed margin from one record to the next, relative to its value at the end, least "
            f"{every} and all records {'from the start' if config.from_the_start else 'with L < log 2'}.",
            min(_least_change(config, path) for path in data.paths),
            ">=",
            -config.rtol,
            "the theorem allows no decrease; one within rtol could not be told from the error of a step",
        ),
        Claim(
            f"log(L·t) at the end, largest {every}.",
            max(float(end["log_loss"].max() + end["log_time"].max()) for end in ends),
            "<=",
            0.0,
            "L is of order 1/(t log t), so that L·t tends to 0; with its constant v*/2 it is below 1 once log t > v*/2",
        ),
        Claim(
            f"Smoothed margin times twice the certified lower bound of the optimum, largest {every} and all records.",
            max(
                float((_smoothed_margin(config, path) * 2 * path.columns()["lower_bound"]).max()) for path in data.paths
            ),
            "<=",
            1 + 1e-9,
            "no point has a margin above ρ²/(2v*), and L ≥ log(1 + e^(−q_min)); with L → 0 this forces ρ → ∞",
        ),
        Claim(
            f"ρ²/log t at the end over twice the certified lower bound, least {every}.",
            min(float((end["squared_norm"] / end["log_time"] / 2 / end["lower_bound"]).min()) for end in ends),
            ">=",
            1.0,
            "the two claims above: ρ² ≥ 2v·log(1/L) and log(1/L) ≥ log t",
        ),
        Claim(
            f"Stationarity residual at the end times ρ/ρ(0), largest {every}.",
            max(_stationarity_over_bound(path) for path in data.paths),
            "<=",
            1.0,
            "what does not grow with ρ is what the flow leaves frozen, and that is no more than the whole start",
        ),
        Claim(
            f"Complementary slackness times q_min over its bound 2N(K−1)/e, largest {every}, records with L < log 2.",
            max(_slack_over_bound(path) for path in data.paths),
            "<=",
            1.0,
            "Σ p(q − q_min)/Σ p has N(K−1) terms x·e^(−x) ≤ 1/e above, one term 1 below, and probabilities are "
            "e^(−q) but for a factor between ½ and 1",
        ),
    ]


def plot(config: Config, data: Data) -> Figure:
    """Smoothed margin, stationarity residual and complementary slackness against time."""
    runs = style.runs(data.paths, [_kind(path.problem) for path in data.paths])
    figure = style.new_figure(
        14, 4.8, f"Implicit bias of the flow · {config.starts} starts each (median, least to greatest)"
    )
    margin, stationarity, slack = figure.subplots(1, 3)
    for run in runs:
        columns, path = run.path.columns(), run.path
        smoothed = _smoothed_margin(config, path)
        style.draw(margin, run, torch.where(_separated(path), smoothed / smoothed[-1], torch.nan), label=run.label)
        style.draw(stationarity, run, _finite(columns["stationarity"]))
        style.draw(slack, run, _finite(columns["complementarity"]))
        bound = torch.where(_separated(path), _slack_bound(path.problem) / path.margin, torch.nan)
        style.draw(slack, run, bound, **style.THEORY | {"color": run.color})
        style.draw(
            stationarity, run, (path.squared_norm[0] / path.squared_norm).sqrt(), **style.THEORY | {"color": run.color}
        )
    margin.set_ylabel("smoothed margin, relative to its end")
    _log_axis(stationarity, r"stationarity residual")
    _log_axis(slack, r"complementary slackness")
    for axes in (margin, stationarity, slack):
        style.time_axis(axes, runs)
        style.finish(axes)
    margin.legend(fontsize=9, frameon=False, loc="lower right")
    for axes, label in ((stationarity, r"bound $\rho(0)/\rho$"), (slack, r"bound $2N(K-1)/(e\,q_{\min})$")):
        axes.plot([], [], **style.THEORY, label=label)
        axes.legend(fontsize=10, frameon=False, loc="upper right")
    return figure


EXPLANATION = """
Left: from the first record with L < log 2 on, the smoothed margin only grows, for every start, whether the classes are
balanced or not, and whether the features have room for a simplex or not. It is relative to its value at the end, since
for the narrow problem the optimum is not known in closed form.

Middle and right: scaled to smallest margin 1, the point is an approximate KKT point, and both residuals vanish.
Stationarity is the part of (W, H) that is not a combination of margin gradients. It decays like (log t)^(−1/2), as
slowly as the norm grows, because some of the start never moves: feature parts orthogonal to the classifier, and the sum
of its rows. That is why the bound is simply ρ(0)/ρ. Complementary slackness says that multipliers sit on the smallest
margins. The bound, which is Lyu and Li's argument, needs nothing but x·e^(−x) ≤ 1/e. For unequal counts it has the
right power, 1/log t, because the multipliers of the limit differ and margins then differ by the logarithms of their
ratios. For balanced counts all multipliers are equal in the limit, and slackness falls much faster.

Nothing here says which KKT point is approached: that the optimum is, for generic starts with d ≥ K, is what the
sections on the landscape, on escape and on rates are about.
"""


def _kind(problem: ulpm.Problem) -> str:
    if problem.feature_dim < problem.num_classes - 1:
        return "narrow"
    return "balanced" if problem.balanced else "unequal"


def _separated(path: ulpm.Trajectory) -> Bool[Tensor, " R *batch"]:
    """Records with L < log 2."""
    return path.log_loss < math.log(math.log(2))


def _smoothed_margin(config: Config, path: ulpm.Trajectory) -> Float[Tensor, " R *batch"]:
    """−log(e^L − 1)/ρ^p; for small L the logarithm is log L + L/2, to L²/24."""
    L = path.log_loss.exp()
    log_expm1 = torch.where(L < 1e-6, path.log_loss + L / 2, L.expm1().log())
    return -log_expm1 / path.squared_norm ** (config.power / 2)


def _least_change(config: Config, path: ulpm.Trajectory) -> float:
    smoothed = _smoothed_margin(config, path)
    change = smoothed.diff(dim=0) / smoothed[-1].abs()
    claimed = torch.ones_like(change, dtype=torch.bool) if config.from_the_start else _separated(path)[:-1]
    return float(change[claimed].min()) if bool(claimed.any()) else math.nan


def _slack_bound(problem: ulpm.Problem) -> float:
    return 2 * problem.num_samples * (problem.num_classes - 1) / math.e


def _slack_over_bound(path: ulpm.Trajectory) -> float:
    slack = torch.where(_separated(path), path.columns()["complementarity"] * path.margin, 0.0)
    return float(slack.max()) / _slack_bound(path.problem)


def _stationarity_over_bound(path: ulpm.Trajectory) -> float:
    return float((path.columns()["stationarity"] * (path.squared_norm / path.squared_norm[0]).sqrt())[-1].max())


def _end(path: ulpm.Trajectory) -> dict[str, Float[Tensor, " *batch"]]:
    return {name: values[-1] for name, values in path.columns().items()}


def _finite(values: Float[Tensor, " R *batch"]) -> Float[Tensor, " R *batch"]:
    return torch.where(values.isinf(), torch.nan, values)


def _log_axis(axes: Axes, label: str) -> None:
    axes.set(yscale="log", ylabel=label)
