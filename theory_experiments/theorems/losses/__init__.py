"""Cross-entropy and focal loss collapse without end, as fast as their tails say; smoothed labels and squares soon stop.

Hypotheses: the summed loss of K classes of n samples, d ≥ K, no weight decay. Cross-entropy and focal loss of exponent
γ fall like e^(−κq) with the margin q, κ = 1 + γ: every flow collapses to a simplex, L·t·log t → v*/(2κ) and
ρ²/log t → 2v*/κ with v* = (K − 1)√n. Cross-entropy with labels smoothed by α has its least value at the margin
log(1 + K(1 − α)/α), and squared error at W H = Y: their flows reach it exponentially fast. What a flow conserves keeps
the frame of W and of the class means off its ideal by at most the size of the start, ρ(0)²/ρ².
Source: focal loss: Lin, Goyal, Girshick, He, Dollár, "Focal Loss for Dense Object Detection", 2017; smoothed labels:
Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer Vision", 2016; all these
losses collapse: Zhou, You, Li, Liu, Liu, Qu, Zhu, "Are All Losses Created Equal: A Neural Collapse Perspective", 2022;
the constants of L and ρ² for a tail e^(−κq) are this project's.
Falsified by: other constants than those of κ; a margin of smoothed labels that grows without end, or another end; a
distance from the end that falls like a power of t. Run with κ = 1 for focal loss, with K√n for v*, with the margin
log(1 + (1 − α)/α), with a simplex as the end of squared error, and with a power of t in place of the exponential.
Not verified: that the flow of focal loss collapses from every start; 32 random ones did. Focal loss is not convex in
the logits, so that no certificate bounds its optimum.
"""

import dataclasses
import math

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics import rays
from theory_experiments.numerics.finite_ends import distances, fall, final_distances, last, rest_time, straightness
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.summaries import greatest
from ulpm.plotting import style

TITLE = "Losses"


@dataclasses.dataclass(frozen=True)
class Config:
    """``gammas`` are exponents of focal loss, 0 for cross-entropy. From ``kappa_is_one`` on: negative controls."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    classes: int = 4
    samples: int = 5
    dim: int = 20
    gammas: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 5.0)
    log10_time: float = 1e6
    rtol: float = 1e-6
    smoothing: float = 0.1
    ending: tuple[str, ...] = ("smoothed labels", "squared error")
    ending_rtol: float = 1e-9
    small: float = 0.03
    kappa_is_one: bool = False
    value: str = "(K-1)√n"
    end_factor: float = 1.0  # K in the margin of smoothed labels is multiplied by it
    end_frame: str = "orthogonal"
    power_law: bool = False


FULL = Config()
QUICK = Config(starts=2, gammas=(0.0, 2.0), log10_time=1e4)
_ENDLESS = dataclasses.replace(QUICK, gammas=(2.0,), log10_time=1e3, ending=())
_ENDING = dataclasses.replace(QUICK, gammas=())
FALSIFIED = {
    "focal loss of γ = 2 is taken to have κ = 1": dataclasses.replace(_ENDLESS, kappa_is_one=True),
    "v* is K√n": dataclasses.replace(_ENDLESS, gammas=(0.0,), value="K√n"),
    "smoothed labels are taken to have the margin log(1 + (1 − α)/α)": dataclasses.replace(
        _ENDING, ending=("smoothed labels",), end_factor=0.25
    ),
    "squared error is taken to end at a simplex": dataclasses.replace(
        _ENDING, ending=("squared error",), end_frame="simplex"
    ),
    "the distance from the end is taken for a power of t": dataclasses.replace(
        _ENDING, ending=("squared error",), power_law=True
    ),
}


@dataclasses.dataclass(frozen=True)
class Ending:
    """Runs of a loss that ends: from starts of scale 1 with whole states at all records, and from small starts."""

    path: ulpm.Trajectory
    small: ulpm.Trajectory
    target: Float[Tensor, "K K"]


@dataclasses.dataclass(frozen=True)
class Data:
    """``endless`` runs by γ: from the collapsed ray (a single replica) and from random starts."""

    endless: dict[float, tuple[ulpm.Trajectory, ulpm.Trajectory]]
    ending: dict[str, Ending]


def simulate(config: Config, work: Work) -> Data:
    """The flow of every loss."""
    endless, ending = {}, {}
    for gamma in config.gammas:
        problem = _problem(config, ulpm.Focal(gamma) if gamma else ulpm.CrossEntropy())
        work.tell(f"{rays.tail(gamma).name} to t = 10^{config.log10_time:,.0f}")
        ray = ulpm.collapsed_state(problem, norm=math.sqrt(2 * problem.minimum_norm_value)).to(config.device)
        settings = {"log10_time": config.log10_time, "rtol": config.rtol, "records": 60}
        endless[gamma] = work.flow(problem, ray, **settings), work.flow(problem, _start(config, problem), **settings)
    for name in config.ending:
        work.tell(f"{name} to the end")
        smoothed = name == "smoothed labels"
        problem = _problem(config, ulpm.CrossEntropy(config.smoothing) if smoothed else ulpm.SquaredError())
        settings = {"log10_time": 100.0, "rtol": config.ending_rtol}
        path = work.flow(problem, _start(config, problem), records=200, snapshots=200, **settings)
        small = work.flow(problem, _start(config, problem, config.small), records=2, **settings)
        ending[name] = Ending(path, small, _target(config, name))
    return Data(endless, ending)


def check(config: Config, data: Data) -> list[Claim]:
    """What the flows conserve, constants and frames of losses without an end, and the ends of the others."""
    every = [path for pair in data.endless.values() for path in pair]
    claims = invariant_claims(every, config.rtol) if every else []
    ending = [path for each in data.ending.values() for path in (each.path, each.small)]
    claims += invariant_claims(ending, config.ending_rtol, "losses with an end") if ending else []
    for gamma, paths in data.endless.items():
        claims += _endless_claims(config, gamma, paths)
    for name, each in data.ending.items():
        claims += _ending_claims(config, name, each)
    return claims


def plot(config: Config, data: Data) -> Figure:
    """Both constants against time on the left, and the way to a finite end on the right."""
    sizes = f"$K$ = {config.classes}, $n$ = {config.samples}, $d$ = {config.dim}"
    figure = style.new_figure(14, 4.8, f"Losses without weight decay · {sizes} · {config.starts} random starts each")
    left, middle, right = figure.subplots(1, 3)
    for (gamma, (_, path)), color in zip(data.endless.items(), style.COLORS, strict=False):
        for axes, values in zip((left, middle), _constants(config, gamma, path), strict=True):
            log10_time = path.log_time[1:, 0].cpu() / math.log(10)
            axes.plot(log10_time, 1 + values[1:].median(1).values, color=color, label=f"{rays.tail(gamma).name}")
    for axes, label in ((left, r"$L\,t\,\log t\;/\;(v^*/2\kappa)$"), (middle, r"$\rho^2/\log t\;/\;(2v^*/\kappa)$")):
        axes.axhline(1, **style.THEORY, label="theory")
        axes.set(xscale="log", xlim=(1, None), ylim=(0, 2.5), xlabel=style.TIME_LABEL, ylabel=label)
    for (name, ending), color in zip(data.ending.items(), style.COLORS, strict=False):
        distance, time = distances(ending.path, ending.target), ending.path.log_time.exp().cpu()
        for b in range(min(8, config.starts)):
            right.plot(time[:, b], distance[:, b], color=color, linewidth=1, label=name if b == 0 else None)
    right.set(yscale="log", xlim=(0, 100), ylim=(1e-9, 10), xlabel="flow time $t$")
    right.set_ylabel("largest distance of a logit from the end")
    for axes in (left, middle, right):
        axes.legend(fontsize=8, frameon=False)
        style.finish(axes)
    return figure


EXPLANATION = """
Left and middle: the loss and the norm over what theory says of them, for losses whose tail falls like e^(−κq). Nothing
is fitted. With κ = 1 + γ focal loss needs a smaller margin for the same slope, so its norm grows more slowly; the
direction in the end is the same simplex. The next terms are of order log log t/log t, which is why the curves need such
times.

Right: two losses that have their least value at finite logits. The logits come to them exponentially fast, so that the
distance is a straight line in t itself, and after t = 100 nothing happens any more. W and H stop where the logits are
right. The flow has then not forgotten its start: WᵀW − HHᵀ, the mean row of the classifier and the feature parts that
feel no force are what they were. So the frames are exact only in the limit of small starts, while the losses on the
left forget any start as ρ grows.
"""


def _problem(config: Config, loss: ulpm.CrossEntropy | ulpm.Focal | ulpm.SquaredError) -> ulpm.Problem:
    return ulpm.Problem([config.samples] * config.classes, config.dim, loss=loss)


def _start(config: Config, problem: ulpm.Problem, scale: float = 1.0) -> ulpm.State:
    return problem.random_state(config.seed, scale, replicas=config.starts, device=config.device)


def _target(config: Config, name: str) -> Float[Tensor, "K K"]:
    K, unit = config.classes, torch.eye(config.classes, dtype=torch.float64)
    if name == "squared error":
        return unit - 1 / K if config.end_frame == "simplex" else unit
    return unit * math.log(1 + config.end_factor * K * (1 - config.smoothing) / config.smoothing)


def _constants(config: Config, gamma: float, path: ulpm.Trajectory) -> tuple[Tensor, Tensor]:
    """Relative distances of L·t·log t from v*/(2κ) and of ρ²/log t from 2v*/κ."""
    v, kappa, log_time = _value(config), 1.0 if config.kappa_is_one else 1 + gamma, path.log_time
    loss = torch.exp(path.log_loss + log_time) * log_time / (v / (2 * kappa)) - 1
    return loss.cpu(), (path.squared_norm / log_time / (2 * v / kappa) - 1).cpu()


def _value(config: Config) -> float:
    return (config.classes - (config.value == "(K-1)√n")) * math.sqrt(config.samples)


def _endless_claims(config: Config, gamma: float, paths: tuple[ulpm.Trajectory, ulpm.Trajectory]) -> list[Claim]:
    tail, v = rays.tail(gamma), _value(config)
    log_time = float(paths[0].log_time[-1])
    q = torch.tensor([log_time / tail.kappa])
    shift = float(tail.shift(q.double().numpy(), config.classes, config.samples)[0])
    frozen = max(float(path.squared_norm[0].max()) for path in paths)
    norm = min(float(path.squared_norm[-1].min()) for path in paths)
    over = f"at log10 t = {config.log10_time:,.0f}, largest over the ray and {config.starts} random starts"
    ends = [[values[-1] for values in _constants(config, gamma, path)] for path in paths]
    frames = ("nc2_etf_means", "nc2_etf_classifier_centered")
    return [
        Claim(
            f"{tail.name}: relative distance of L·t·log t from v*/(2κ) and of ρ²/log t from 2v*/κ, κ = {tail.kappa:g}, "
            f"{over}.",
            greatest(value.abs() for values in ends for value in values),
            "<=",
            2 * shift / log_time + 20 * config.rtol + frozen / (2 * v / tail.kappa * log_time),
            "twice the next term of the expansion, 20·rtol for the error of t·L, and what frozen parts add to ρ²",
        ),
        Claim(
            f"{tail.name}: 1 − γ/γ*, and the distances of the means' and the centred classifier's Gram matrices from "
            f"that of a simplex, {over}.",
            greatest(
                [*(1 - p.margin_ratio[-1] for p in paths), *(p.metrics[name][-1] for p in paths for name in frames)]
            ),
            "<=",
            frozen / norm,
            "what the flow conserves is of the size of the start, ρ(0)², and is compared with ρ²",
        ),
    ]


def _ending_claims(config: Config, name: str, ending: Ending) -> list[Claim]:
    over = f"largest over {config.starts} starts"
    both = (ending.path, ending.small)
    classifier, ratio = [], []
    for path in both:
        W = path.final_state.W.cpu()
        W = W - W.mean(-2, keepdim=True) if path.problem.loss.conserves_sums else W
        gram, ideal = W @ W.mT, torch.eye(config.classes, dtype=torch.float64)
        ideal = ideal - 1 / config.classes if path.problem.loss.conserves_sums else ideal
        size = torch.linalg.matrix_norm(gram)[..., None, None]
        classifier.append(torch.linalg.matrix_norm(gram / size - ideal / ideal.norm()))
        ratio.append(path.squared_norm[0].cpu() / last(path.squared_norm))
    distance, log_time = distances(ending.path, ending.target), ending.path.log_time.cpu()
    bends = []
    for b in range(config.starts):
        part = fall(distance[:, b], 1e-2, 1e-7)
        bend = [straightness(x[part, b], distance[part, b].log())[1] for x in (log_time.exp(), log_time)]
        bends.append(bend[1] / bend[0] if config.power_law else bend[0] / bend[1])
    lines = ("log t", "t") if config.power_law else ("t", "log t")
    return [
        Claim(
            f"{name}: log10 t at which the flow is at rest, {over} of scales 1 and {config.small:g}.",
            greatest(rest_time(path) for path in both) / math.log(10),
            "<=",
            10.0,
            "rates are of order 1, so that nothing of a distance is left by t = 100; the last steps of a stiff method "
            "are long. A power law would go on to the end that was asked for, t = 10^100",
        ),
        Claim(
            f"{name}: distance of any {'logit' if name == 'squared error' else 'centred logit'} from "
            f"{'the label' if name == 'squared error' else 'the simplex of margin log(1 + K(1 − α)/α)'}, {over} of "
            f"scales 1 and {config.small:g}.",
            greatest(final_distances(path, ending.target) for path in both),
            "<=",
            config.ending_rtol,
            "a flow is at rest when what is left of its way is below the tolerance",
        ),
        Claim(
            f"{name}: distance of the classifier's Gram matrix from that of "
            f"{'an orthogonal frame' if name == 'squared error' else 'a simplex'}, over ρ(0)²/ρ², {over} of scales 1 "
            f"and {config.small:g}.",
            greatest(frame / r for frame, r in zip(classifier, ratio, strict=True)),
            "<=",
            1.0,
            "W H is ideal, and W is off its balanced factor by what WᵀW − HHᵀ conserves, at most ρ(0)²",
        ),
        Claim(
            f"{name}: what a straight line against {lines[0]} leaves of the log distance from the end, over what one "
            f"against {lines[1]} leaves, {over}; distances from 10^−2 to 10^−7.",
            greatest(bends),
            "<=",
            0.5,
            "the sum of a few exponentials of similar rates is much straighter in t than in log t; a power law would "
            "have the inverse ratio, above 2",
        ),
    ]
