"""With weight decay the flow follows the one without until log t ≈ log(1/λ), and then stops, collapsed, or at zero.

Hypotheses: the mean cross-entropy + ½λ_W‖W‖² + ½λ_H‖H‖², d ≥ K. For equal counts the end is W = H = 0 if Kc ≥ 1 with
c = √(nλ_Wλ_H), else a collapsed state of margin q = log[(1 − (K − 1)c)/c]. On the ray of collapsed states with
λ_W = λ_H = λ, e^q = (1 − e^(−τ))/(λ√n) with τ = 2λ∫q dt: the margin lags behind that of the flow without decay by
log[x/(1 − e^(−x))], x = 2λ(q − 1)t. As λ → 0 the end's direction tends to the optimum of the margin problem (SELI):
its distance from it times log(1/λ) tends to the constant that the flow without decay has with log(1/L). Rare classes
merge exactly for R ≥ R₀ = (1/(ν√n_B) − K_B)/K_A, ν = √(λ_Wλ_H).
Source: the end for equal counts: Zhu, Ding, Zhou, Li, You, Sulam, Qu, "A geometric analysis of neural collapse with
unconstrained features", 2021; merging: Fang, He, Long, Su, "Exploring deep neural networks via layer-peeled model:
Minority collapse in imbalanced training", 2021; the geometry of small decay: Thrampoulidis, Kini, Vakilian, Behnia,
"Imbalance Trouble: Revisiting Neural-Collapse Geometry", 2022. The lag and the constant are this project's.
Falsified by: an end on the wrong side of Kc = 1 or of another margin; another law of departure; another limit of the
direction; minorities merged on the wrong side of R₀. Run with c = √(λ_Wλ_H), with departure at t ∝ λ^(−1/2), with a
simplex as the limit for unequal counts, and with twice R₀.
Not verified: decays exactly at Kc = 1, where the end is zero and is approached like 1/t.
"""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics import rays, seli
from theory_experiments.numerics.decayed_ends import Setting, closed_margin, end_claims
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.minority_curves import minority_cosine
from theory_experiments.numerics.summaries import greatest, line
from ulpm.plotting import style

TITLE = "Weight decay"
_SIZES = ((4, 5, 20), (10, 10, 12), (2, 3, 3))
_LAG = math.log(2)  # a flow has departed when its margin lags by this
_DEPARTS = 1.5936242600400400923  # x/(1 − e^(−x)) = 2


@dataclasses.dataclass(frozen=True)
class Config:
    """``ends`` are settings; ``exponents`` are −log10 λ of departures, ``far`` of limits of the direction."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    rtol: float = 1e-6
    ends: tuple[Setting, ...] = tuple(
        Setting(K, n, d, strength, ratio)
        for K, n, d in _SIZES
        for strength, ratio in ((1e-6, 1.0), (0.01, 100.0), (0.5, 0.01), (0.95, 1.0), (1.05, 1.0), (2.0, 4.0))
    )
    exponents: tuple[int, ...] = (4, 8, 16, 32)
    records: int = 200  # of departures
    far: tuple[int, ...] = (4, 8, 16, 32, 64, 100)
    counts: tuple[int, ...] = (6, 3, 2)
    followed: int = 8  # starts of the flows that depart, and of those with unequal counts
    ratios: tuple[int, ...] = (4, 12, 20, 23, 26, 30, 48)
    minority_decay: float = 0.02
    sample_factor: float = 1.0
    departure_power: float = 1.0
    limit: str = "SELI"
    threshold_factor: float = 1.0


FULL = Config()
QUICK = Config(
    starts=2,
    ends=tuple(Setting(4, 5, 4, strength, ratio) for strength, ratio in ((0.01, 100.0), (0.95, 1.0), (1.2, 1.0))),
    exponents=(4, 8),
    records=80,
    far=(6, 20),
    followed=2,
    ratios=(23, 26),
)
_NOTHING = dataclasses.replace(QUICK, ends=(), exponents=(), far=(), ratios=())
FALSIFIED = {
    "c is √(λ_Wλ_H), without n": dataclasses.replace(_NOTHING, ends=QUICK.ends[:1], sample_factor=0.2),
    "the flow departs at t ∝ λ^(−1/2)": dataclasses.replace(_NOTHING, exponents=(4, 8), departure_power=0.5),
    "the direction tends to a simplex for unequal counts": dataclasses.replace(_NOTHING, far=(6, 20), limit="simplex"),
    "rare classes merge at twice the threshold": dataclasses.replace(_NOTHING, ratios=(30,), threshold_factor=2.0),
}


@dataclasses.dataclass(frozen=True)
class Departure:
    """Margins at the records with t ≥ 10 of the decayed flow, and those of the one without decay at the same times."""

    decay: float
    log_time: Float[Tensor, " R B"]
    decayed: Float[Tensor, " R B"]
    undecayed: Float[Tensor, " R B"]

    @property
    def at(self) -> Float[Tensor, " B"]:
        """log t at which the margin lags by log 2, linear between records."""
        lag = (self.undecayed - self.decayed).numpy()
        times = [np.interp(_LAG, lag[:, b], self.log_time[:, b].numpy()) for b in range(lag.shape[1])]
        return torch.tensor(np.array(times))

    @property
    def x(self) -> Float[Tensor, " R B"]:
        """2λ(q − 1)t."""
        return 2 * self.decay * (self.undecayed - 1) * self.log_time.exp()


@dataclasses.dataclass(frozen=True)
class Far:
    """Unequal counts: distances of the directions of logits and of W Wᵀ from their limits, and of the flow's end.

    ``optimum`` and ``classifier`` are of ulpm.optimum, ``flows`` of the logits where flows end; ``apart`` is how far
    these are from those of the optimum, relative to the largest.
    """

    decay: float
    optimum: float
    classifier: float
    flows: Float[Tensor, " B"]
    apart: float


@dataclasses.dataclass(frozen=True)
class Data:
    """Runs of ``ends``; departures on the ray and from random starts; ``far``; cosines of rare classes by R."""

    ends: list[ulpm.Trajectory]
    ray: list[Departure]
    random: list[Departure]
    far: list[Far]
    cosines: dict[int, tuple[float, Float[Tensor, " B"]]]


def simulate(config: Config, work: Work) -> Data:
    """All flows to rest, or to the time of departure and beyond."""
    ends, ray, random = [], [], []
    for setting in config.ends:
        work.tell(f"the end of {setting}")
        ends.append(_to_rest(config, work, setting.problem, config.starts))
    for exponent in config.exponents:
        work.tell(f"the departure at λ = 1e-{exponent}")
        ray.append(_departure(config, work, 10.0**-exponent, on_ray=True))
        random.append(_departure(config, work, 10.0**-exponent, on_ray=False))
    cosines = {}
    for R in config.ratios:
        work.tell(f"rare classes at R = {R}")
        decays = (config.minority_decay, config.minority_decay)
        problem = ulpm.Problem([R, R, 1, 1], 4, weight_decay=decays, reduction="mean")
        best = ulpm.optimum(problem).state
        # The slowest rate, that of a direction which is about to merge, is 1e-3.
        found = _to_rest(config, work, problem, config.starts, log10_time=8.0).final_state.W.cpu()
        cosines[R] = (
            float(minority_cosine(best.W, 2)) if best else math.nan,
            torch.stack([minority_cosine(W, 2) for W in found]),
        )
    return Data(ends, ray, random, [_far(config, work, 10.0**-exponent) for exponent in config.far], cosines)


def check(config: Config, data: Data) -> list[Claim]:
    """What decays at a known rate, the ends, the departure, the direction, and rare classes."""
    claims = invariant_claims(data.ends, config.rtol) if data.ends else []
    if data.ends:
        margins = [closed_margin(path.problem, config.sample_factor) for path in data.ends]
        over = f"largest over {config.starts} random starts and {len(data.ends)} settings"
        claims += end_claims(data.ends, margins, config.rtol, "Kc ≥ 1", over)
    claims += _departure_claims(config, data) if data.ray else []
    claims += _far_claims(config, data.far) if data.far else []
    return claims + (_minority_claims(config, data) if data.cosines else [])


def plot(config: Config, data: Data) -> Figure:
    """Margins against time, departures against 1/λ, and the direction of the end against 1/λ."""
    figure = style.new_figure(14, 4.8, "Weight decay · $K$ = 4, $n$ = 5 · right: counts " + str(config.counts))
    left, middle, right = figure.subplots(1, 3)
    unit = math.log(10)
    for each, color in zip(data.ray, style.COLORS, strict=False):
        time = each.log_time[:, 0] / unit
        left.plot(time, each.decayed[:, 0], color=color, label=rf"$\lambda$ = {style.number(each.decay)}")
        left.axhline(_margin(each.decay), **style.THEORY | {"color": color, "linewidth": 0.8})
    last_one = data.ray[-1]
    left.plot(
        last_one.log_time[:, 0] / unit, last_one.undecayed[:, 0], color="0.6", linewidth=3, zorder=1, label="no decay"
    )
    left.set(xlabel=style.TIME_LABEL, ylabel="margin $q$")
    x = torch.tensor([-math.log10(each.decay) for each in data.ray])
    middle.plot(x, [float(each.at[0]) / unit for each in data.ray], "o", color=style.COLORS[0], label="collapsed start")
    for b in range(config.followed):
        label = "random starts" if b == 0 else None
        looks = {"color": style.COLORS[1], "markersize": 4, "label": label}
        middle.plot(x, [float(each.at[b]) / unit for each in data.random], "x", **looks)
    middle.plot(
        x, [_predicted(each.decay) / unit for each in data.ray], **style.THEORY, label=r"$2\lambda(q-1)t=1.594$"
    )
    middle.set(xlabel=r"$\log_{10}\,1/\lambda$", ylabel=r"$\log_{10}\,t$ of departure")
    inverse = torch.tensor([-math.log(each.decay) for each in data.far])
    right.plot(
        inverse, [each.optimum for each in data.far], "s", color=style.COLORS[2], label="ulpm.optimum", fillstyle="none"
    )
    right.plot(
        inverse, [float(each.flows.max()) for each in data.far], "x", color=style.COLORS[1], label="ends of flows"
    )
    logarithm = inverse - math.log(sum(config.counts))
    right.plot(inverse, _constant(config)[0] / logarithm, **style.THEORY, label="theory")
    right.set(
        xscale="log", yscale="log", xlabel=r"$\log\,1/\lambda$", ylabel="distance of the logits' direction from SELI"
    )
    for axes in (left, middle, right):
        axes.legend(fontsize=8, frameon=False)
        style.finish(axes)
    return figure


EXPLANATION = """
Left: the margin from one collapsed start without decay (grey) and with several decays. Each flow follows the grey curve
until log t ≈ log(1/λ) and then stops at the margin of the closed form (dashed). A network that is trained with small
decay is a network without decay up to that time: this is why the model without decay describes it.

Middle: when the margin lags by log 2 behind the flow without decay. The law of the lag says x = 2λ(q − 1)t = 1.594,
so that t grows like 1/(λ log(1/λ)).

Right: with unequal counts the end is no simplex. As λ → 0 its direction tends to that of the margin problem, SELI, but
only like 1/log(1/λ). The wrong probabilities of the end are Nλ times the multipliers λ* of the margin problem, so that
its logits are log(1/(Nλ))·Z* less log λ*. The flow without decay has the same expansion in log(1/L). So decay stops a
flow on its way to SELI, but hardly turns it.
"""


def _margin(decay: float) -> float:
    return closed_margin(ulpm.Problem([5] * 4, 4, weight_decay=(decay, decay), reduction="mean"))


def _predicted(decay: float) -> float:
    """log t with 2λ(q − 1)t = 1.594, q the margin of the closed form plus the lag at departure, log 2 + O(1)."""
    q = _margin(decay) + _LAG - math.log(1 / -math.expm1(-_DEPARTS))
    return math.log(_DEPARTS / (2 * decay * (q - 1)))


def _to_rest(
    config: Config, work: Work, problem: ulpm.Problem, starts: int, log10_time: float = 10.0
) -> ulpm.Trajectory:
    """The default time is a hundred times the inverse of the slowest rate of the settings, 1e-8."""
    start = problem.random_state(config.seed, replicas=starts, device=config.device)
    return work.flow(problem, start, log10_time=log10_time, rtol=config.rtol, records=30)


def _departure(config: Config, work: Work, decay: float, *, on_ray: bool) -> Departure:
    K, n = 4, 5
    problems = [ulpm.Problem([n] * K, K, weight_decay=(λ, λ), reduction="mean") for λ in (decay, 0.0)]
    start = ulpm.collapsed_state(problems[1], norm=math.sqrt(2 * (K - 1) * math.sqrt(n)))
    start = ulpm.State(start.W[None], start.H[None]).to(config.device)
    if not on_ray:
        start = problems[1].random_state(config.seed, replicas=config.followed, device=config.device)
    settings = {"log_time": math.log(1 / decay) + 3, "rtol": config.rtol, "records": config.records}
    path = work.flow(problems[0], start, **settings)
    log_time, margin = path.log_time.cpu(), path.margin.cpu()
    late = log_time[:, 0] > math.log(10)
    log_time, margin = log_time[late], margin[late]
    if on_ray:
        # The closed form is of the summed loss, whose flow is N times faster.
        exact = rays.cross_entropy_margin(log_time.numpy() - math.log(K * n), 1.0, K, n)
        return Departure(decay, log_time, margin, torch.from_numpy(exact))
    plain = work.flow(problems[1], start, **settings)
    undecayed = [
        np.interp(log_time[:, b], plain.log_time[1:, b].cpu(), plain.margin[1:, b].cpu())
        for b in range(config.followed)
    ]
    return Departure(decay, log_time, margin, torch.tensor(np.stack(undecayed, 1)))


def _far(config: Config, work: Work, decay: float) -> Far:
    work.tell(f"unequal counts at λ = {decay:g}")
    problem = ulpm.Problem(config.counts, 8, weight_decay=(decay, decay), reduction="mean")
    answer = ulpm.optimum(problem)
    best = seli.class_means(problem, answer.logits)
    end = _to_rest(config, work, problem, config.followed, 8 - math.log10(decay)).final_state
    found = seli.class_means(problem, (end.W @ end.H).cpu())
    found, best = found - found.mean(-2, keepdim=True), best - best.mean(-2, keepdim=True)
    limit, frame = seli.centred(problem.num_classes), ulpm.seli_state(problem).W
    gram = frame @ frame.T if config.limit == "SELI" else limit
    W = answer.state.W if answer.state else torch.full_like(frame, math.nan)
    return Far(
        decay,
        float(seli.direction_distance(best, limit)),
        float(seli.direction_distance(W @ W.T, gram)),
        seli.direction_distance(found, limit),
        float((found - best).abs().max() / best.abs().max()),
    )


def _constant(config: Config) -> tuple[float, float]:
    """The limit of the logits' distance times log(1/(Nλ)), and what the logits along the limit add to that."""
    problem = ulpm.Problem(config.counts, 8)
    separation = ulpm.minimum_norm_separation(problem)
    K, multipliers = problem.num_classes, seli.class_means(problem, separation.multipliers)
    off, optimal = ~torch.eye(K, dtype=torch.bool), seli.centred(K)
    gaps = torch.zeros(K, K, dtype=torch.float64)
    gaps[off] = multipliers[off].log()
    along = float(((gaps - gaps.mean(0)) * optimal).sum() / optimal.square().sum())
    return seli.logits_constant(problem, separation), along


def _departure_claims(config: Config, data: Data) -> list[Claim]:
    decays = f"λ = 1e-{min(config.exponents)} … 1e-{max(config.exponents)}"
    inverse = torch.tensor([math.log(1 / each.decay) for each in data.ray], dtype=torch.float64)
    lags = []
    for each in data.ray:
        law = torch.log(each.x / -torch.expm1(-each.x))
        q = each.undecayed
        lags.append(((each.undecayed - each.decayed - law).abs() * (q / q.log()) ** 2)[each.x > 1e-3])
    slopes = [line(inverse, torch.stack([each.at[b] for each in data.random]))[0] for b in range(config.followed)]
    return [
        Claim(
            f"Collapsed start: distance of the lag of the margin from log[x/(1 − e^(−x))], x = 2λ(q − 1)t, in units of "
            f"(log q/q)², largest over all records with x > 0.001 and {decays}.",
            greatest(lags),
            "<=",
            2.0,
            "∫q dt = t(q − 1 + O(1/q)), and the e^(−q) that the law leaves out are smaller",
        ),
        Claim(
            f"Random starts: slope of log t at departure against log(1/λ), distance from {config.departure_power:g}, "
            f"largest over {config.followed} starts, {decays}.",
            greatest(abs(slope - config.departure_power) for slope in slopes),
            "<=",
            2 / float(inverse.mean()),
            "t λ(q − 1) is constant and q grows like log(1/λ), which takes 1/log(1/λ) off the slope; as much again for "
            "what the starts leave frozen",
        ),
    ]


def _far_claims(config: Config, far: list[Far]) -> list[Claim]:
    constant, along = _constant(config)
    least = min(far, key=lambda each: each.decay)
    decays = f"λ = {far[0].decay:g} … {far[-1].decay:g}"

    def logarithm(each: Far) -> float:
        return math.log(1 / (sum(config.counts) * each.decay))

    late = far[len(far) // 3 :]

    def exponent(values: list[float]) -> float:
        return line(torch.tensor([logarithm(each) for each in late]).log(), torch.tensor(values).log())[0]

    slopes = {
        "the logits' direction from that of SELI": exponent([each.optimum for each in late]),
        f"W Wᵀ from that of {'SELI' if config.limit == 'SELI' else 'a simplex'}": exponent(
            [e.classifier for e in late]
        ),
    }
    return [
        Claim(
            f"Counts {config.counts}: distance of any centred logit at the end of the flow from that of ulpm.optimum, "
            f"relative to the largest, largest over {config.followed} starts and {decays}.",
            greatest(each.apart for each in far),
            "<=",
            config.rtol,
            "at rest what is left of the way is below the tolerance of the run",
        ),
        Claim(
            f"Counts {config.counts}: distance of the logits' direction from that of SELI times log(1/(Nλ)), over its "
            f"predicted limit, distance from 1 at λ = {least.decay:g}.",
            abs(least.optimum * logarithm(least) / constant - 1),
            "<=",
            2 * abs(along) / logarithm(least),
            "twice the next term: the part of log λ* along the limit adds a constant to log(1/(Nλ))",
        ),
        *(
            Claim(
                f"Counts {config.counts}: exponent in log(1/(Nλ)) of the distance of {what}, distance from −1, "
                f"λ = {late[0].decay:g} … {late[-1].decay:g}.",
                abs(slope + 1),
                "<=",
                2 * abs(along) / logarithm(late[0]),
                "the exponent between two decays is off by the next term at most; twice that of the largest decay",
            )
            for what, slope in slopes.items()
        ),
    ]


def _minority_claims(config: Config, data: Data) -> list[Claim]:
    # √n_B = 1, K_A = K_B = 2.
    threshold = config.threshold_factor * (1 / config.minority_decay - 2) / 2
    flows = torch.stack([cosines for _, cosines in data.cosines.values()])
    best = torch.tensor([cosine for cosine, _ in data.cosines.values()], dtype=torch.float64)[:, None]
    beyond = torch.tensor([threshold <= R for R in data.cosines])[:, None]
    wrong = ((flows > 1 - 1e-6) != beyond).sum() + ((best > 1 - 1e-6) != beyond).sum()
    return [
        Claim(
            f"Ends of flows and optima, over R = {', '.join(map(str, data.cosines))} and {config.starts} starts, with "
            f"classifiers of two rare classes merged below R₀ = {threshold:g} or apart beyond.",
            float(wrong),
            "<=",
            0,
            "the criterion is exact, and no R is within 4% of it",
        ),
        Claim(
            "Distance of the cosine of two rare classes at the end of the flow from that of ulpm.optimum, largest.",
            greatest((flows - best).abs()),
            "<=",
            config.rtol,
            "at rest what is left of the way is below the tolerance of the run",
        ),
    ]
