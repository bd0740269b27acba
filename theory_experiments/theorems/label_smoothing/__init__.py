"""Smoothed labels give every flow the same finite margin, which is smaller and is reached faster than without.

Hypotheses: cross-entropy with labels smoothed by α, K classes of n samples, d ≥ K. With decay, the mean loss ends at a
collapsed state of margin q = log[(1 − (K − 1)p)/p], p = α/K + c, c = √(nλ_Wλ_H), or at zero if Kc ≥ 1 − α. Without
decay all margins tend to log(1 + K(1 − α)/α) from every start, while W and H depend on it. The summed loss comes to a
balanced end exponentially fast: at the rate √n qα/K for K ≥ 3, that of differences within a class between wrong
classes, and at 2√n q P(1 − P)K/(K − 1), P = (K − 1)α/K, along the ray of collapsed states.
Source: smoothed labels: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer
Vision", 2016; that their minima collapse: Zhou, You, Li, Liu, Liu, Qu, Zhu, "Are All Losses Created Equal: A Neural
Collapse Perspective", 2022. The closed form with decay and the rates are this project's.
Falsified by: another margin; an end that depends on the start; another rate. Run with the zero claimed for Kc ≥ 1 as
for plain labels, with α in place of α/K, and with the rate √n qα.
Not verified: how the mean rate of a random start is made up of the rates of all modes.
"""

import dataclasses
import math

import torch
from jaxtyping import Float
from matplotlib.figure import Figure

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.decayed_ends import Setting, closed_margin, end_claims, margin_rate
from theory_experiments.numerics.finite_ends import distances, fall, final_distances, last, slowest_mode, straightness
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.numerics.summaries import greatest
from ulpm.plotting import style

TITLE = "Label smoothing"
_SIZE = (4, 5, 20)
_FEW = (4, 3, 6)  # K, n and d where a Hessian is decomposed


@dataclasses.dataclass(frozen=True)
class Config:
    """``strengths`` are Kc/(1 − α); ``scales`` are of starts without decay. From ``smoothing_factor`` on: controls."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    rtol: float = 1e-6
    smoothings: tuple[float, ...] = (0.05, 0.1, 0.3)
    strengths: tuple[float, ...] = (1e-4, 0.01, 0.1, 0.5, 0.95, 1.2, 3.0)
    scales: tuple[float, ...] = (0.1, 1.0, 3.0)
    decays: tuple[float, ...] = (1e-4, 1e-3)
    rates: bool = True
    smoothing_factor: float = 1.0
    rate_factor: float = 1.0


FULL = Config()
QUICK = Config(starts=2, smoothings=(0.3,), strengths=(0.1, 0.95, 1.2), scales=(0.1, 1.0), decays=(1e-3,))
_ENDS = dataclasses.replace(QUICK, scales=(), decays=(), rates=False)
FALSIFIED = {
    "the end is zero only for Kc ≥ 1, and its margin that of plain labels": dataclasses.replace(
        _ENDS, strengths=(1.2,), smoothing_factor=0.0
    ),
    "each wrong class has the label α, not α/K": dataclasses.replace(
        QUICK, strengths=(), scales=(1.0,), decays=(), rates=False, smoothing_factor=4.0
    ),
    "the rate is √n qα": dataclasses.replace(QUICK, strengths=(), scales=(), decays=(), rate_factor=4.0),
}


@dataclasses.dataclass(frozen=True)
class Approach:
    """A run that is compared with a rate: distances from the end along it, and the rate that is claimed."""

    name: str
    time: Float[torch.Tensor, " R"]
    distance: Float[torch.Tensor, " R"]
    rate: float

    @property
    def fitted(self) -> float:
        """The rate at which the distance falls from a tenth to 10^−4 of the first one."""
        first = float(self.distance[0])
        part = fall(self.distance, 1e-1 * first, 1e-4 * first)
        return -straightness(self.time[part], self.distance[part].log())[0]


@dataclasses.dataclass(frozen=True)
class Data:
    """Flows with decay; without, by scale and α; approaches to the end; plain and smoothed rays with equal decay."""

    ends: list[ulpm.Trajectory]
    free: list[ulpm.Trajectory]
    approaches: list[Approach]
    rays: list[tuple[ulpm.Trajectory, ulpm.Trajectory]]


def simulate(config: Config, work: Work) -> Data:
    """All flows, to rest."""
    K, n, d = _SIZE
    ends, free, approaches, rays = [], [], [], []
    for smoothing in config.smoothings:
        work.tell(f"α = {smoothing:g}")
        for strength in config.strengths:
            problem = Setting(K, n, d, strength, 4.0, smoothing).problem
            ends.append(_flow(config, work, problem, problem.random_state(config.seed, replicas=config.starts)))
        problem = _free(smoothing, _SIZE)
        for scale in config.scales:
            start = problem.random_state(config.seed, scale, replicas=config.starts)
            free.append(_flow(config, work, problem, start))
        if config.rates:
            approaches += _approaches(config, work, smoothing)
        for decay in config.decays:
            pair = []
            for α in (0.0, smoothing):
                loss = ulpm.CrossEntropy(α)
                problem = ulpm.Problem([n] * K, d, loss=loss, weight_decay=(decay, decay), reduction="mean")
                norm = math.sqrt(2 * (K - 1) * math.sqrt(n))
                start = ulpm.collapsed_state(problem, norm=norm).to(config.device)
                # It takes some 10 over the rate to come near, and as much for the fit.
                end = math.log(40 / margin_rate(problem))
                pair.append(work.flow(problem, start, log_time=end, rtol=1e-9, records=400))
            rays.append((pair[0], pair[1]))
    return Data(ends, free, approaches, rays)


def check(config: Config, data: Data) -> list[Claim]:
    """What decays or stays, the ends, their independence of the start, and rates."""
    claims = invariant_claims(data.ends, config.rtol, "the flows with decay") if data.ends else []
    claims += invariant_claims(data.free, config.rtol, "the flows without decay") if data.free else []
    if data.ends:
        margins = [closed_margin(path.problem, 1.0, config.smoothing_factor) for path in data.ends]
        over = f"largest over {config.starts} random starts and {len(data.ends)} settings"
        claims += end_claims(data.ends, margins, config.rtol, "Kc ≥ 1 − α", over)
    claims += _free_claims(config, data.free) if data.free else []
    rays = [_on_ray(path) for pair in data.rays for path in pair]
    if data.approaches or rays:
        claims.append(
            Claim(
                "Rate at which the logits come to their end, from a start moved along the slowest mode or on the ray, "
                f"relative distance from the predicted one, largest over {len(data.approaches) + len(rays)} runs.",
                greatest(abs(each.fitted / each.rate - 1) for each in [*data.approaches, *rays]),
                "<=",
                0.01,
                "the start is moved by 0.001 of ρ, and distances up to 0.1 of that change the rate by as much at most; "
                "the rest is the error of steps",
            )
        )
    return claims + (_ray_claims(data) if data.rays else [])


def plot(config: Config, data: Data) -> Figure:
    """Ends against decay, approaches to an end, and plain and smoothed labels with equal decay."""
    K, n, d = _SIZE
    figure = style.new_figure(14, 4.8, f"Label smoothing · $K$ = {K}, $n$ = {n}, $d$ = {d}")
    left, middle, right = figure.subplots(1, 3)
    fine = torch.logspace(-4, 0.6, 200, dtype=torch.float64).tolist()
    for i, smoothing in enumerate(config.smoothings):
        line = [closed_margin(Setting(K, n, d, x, 4.0, smoothing).problem) for x in fine]
        color = style.COLORS[i]
        left.plot([x * (1 - smoothing) for x in fine], line, **style.THEORY | {"color": color})
        own = [path for path in data.ends if path.problem.loss == ulpm.CrossEntropy(smoothing)]
        x = [strength * (1 - smoothing) for strength in config.strengths]
        margins = [float(last(path.margin).max()) for path in own]
        left.plot(x, margins, "os^"[i % 3], color=color, fillstyle="none", label=rf"$\alpha$ = {smoothing:g}")
    plain = [closed_margin(Setting(K, n, d, x).problem) for x in fine]
    left.plot(fine, plain, color="0.6", zorder=1, label=r"$\alpha$ = 0")
    left.set(xscale="log", xlabel=r"$Kc,\ c=\sqrt{n\lambda_W\lambda_H}$", ylabel="margin $q$ at the end")
    for i, each in enumerate(each for each in data.approaches if "slowest" in each.name):
        color = style.COLORS[i]
        scaled = each.distance / each.distance[0]
        middle.plot(each.time, scaled, color=color, label=each.name)
        middle.plot(each.time, (-each.rate * each.time).exp(), **style.THEORY | {"color": "0"})
    middle.set(yscale="log", xlim=(0, 150), ylim=(1e-6, 2), xlabel="flow time $t$")
    middle.set_ylabel("distance of the logits from the end / that at $t=0$")
    for path, color in zip(data.rays[-1], ("0.6", style.COLORS[len(config.smoothings) - 1]), strict=True):
        smoothing, decay = path.problem.loss.record()["label_smoothing"], path.problem.weight_decay[0]
        label = rf"$\alpha$ = {smoothing:g}, $\lambda$ = {style.number(decay)}"
        right.plot(path.log_time / math.log(10), path.margin, color=color, label=label)
        right.axhline(closed_margin(path.problem), **style.THEORY)
    right.set(xlim=(-1, 4), xlabel=style.TIME_LABEL, ylabel="margin $q$")
    for axes in (left, middle, right):
        axes.legend(fontsize=8, frameon=False)
        style.finish(axes)
    return figure


EXPLANATION = """
Left: the margin at the end against the strength of the decay. Lines are the closed form, marks the ends of flows.
Smoothed labels bound the margin where the decay is small, and they need less decay for the zero: Kc ≥ 1 − α.

Middle: without decay, the way to the end from starts that are moved along the slowest mode, for n = 3 and d = 6. The
slopes of the dashed lines are √n qα/K for the collapsed simplex, and the smallest eigenvalue of the Hessian at the end
of a random start.

*Why.* Write R for the residual. Near the end, Z moves by R HᵀH + W Wᵀ R. If R has mean 0 in each class, only the second
term is left, with W Wᵀ = √n q(I − 11ᵀ/K). So a column of R decays with √n q times an eigenvalue of diag(p) − ppᵀ, where
p is the smoothed label. The smallest of these is α/K, of differences between wrong classes. Residuals that are equal
within a class feel both terms and decay faster. On the ray both terms are equal, and the eigenvalue is P(1 − P)K/(K −
1).

Right: equal decay, with plain labels and with smoothed ones, from the same collapsed start. With smoothed labels the
margin is smaller and is reached earlier, since P(1 − P), the curvature of the loss, is larger at a smaller margin.
"""


def _free(smoothing: float, size: tuple[int, int, int]) -> ulpm.Problem:
    K, n, d = size
    return ulpm.Problem([n] * K, d, loss=ulpm.CrossEntropy(smoothing))


def _flow(config: Config, work: Work, problem: ulpm.Problem, start: ulpm.State) -> ulpm.Trajectory:
    return work.flow(problem, start.to(config.device), log10_time=10.0, rtol=config.rtol, records=30)


def _approaches(config: Config, work: Work, smoothing: float) -> list[Approach]:
    """From the collapsed simplex and from the end of a random start, moved along the slowest mode there."""
    problem = _free(smoothing, _FEW)
    K, n, _ = _FEW
    q = closed_margin(problem)
    simplex = ulpm.collapsed_state(problem, norm=math.sqrt(2 * (K - 1) * math.sqrt(n) * q))
    random = _flow(config, work, problem, problem.random_state(config.seed)).final_state.to("cpu")
    found = []
    for name, end in (
        (f"simplex, slowest mode, α = {smoothing:g}", simplex),
        (f"random end, slowest mode, α = {smoothing:g}", random),
    ):
        rate, mode = slowest_mode(problem, end)
        if end is simplex:
            rate = config.rate_factor * math.sqrt(n) * q * smoothing / K
        start = end + 1e-3 * float(end.squared_norm.sqrt()) * mode
        # Ten times the way that the fit needs.
        path = work.flow(
            problem, start.to(config.device), log_time=math.log(15 / rate), rtol=1e-10, records=300, snapshots=300
        )
        distance = distances(path, q * torch.eye(K, dtype=torch.float64))
        found.append(Approach(name, path.log_time.exp().cpu(), distance, rate))
    return found


def _on_ray(path: ulpm.Trajectory) -> Approach:
    """The margin on the ray, from where it is within 1% of the end."""
    q = closed_margin(path.problem)
    distance = (path.margin.cpu() / q - 1).abs()
    part = slice(fall(distance, 0.01, 0.0).start, None)
    return Approach("ray", path.log_time[part].exp().cpu(), distance[part], margin_rate(path.problem))


def _free_claims(config: Config, free: list[ulpm.Trajectory]) -> list[Claim]:
    K, over = _SIZE[0], f"over {config.starts} starts, scales {config.scales} and α = {config.smoothings}"
    errors = []
    for path in free:
        q = closed_margin(path.problem, 1.0, config.smoothing_factor)
        errors.append(final_distances(path, q * torch.eye(K, dtype=torch.float64)))
    frames = torch.stack([last(path.metrics["nc2_etf_means"]) for path in free])
    return [
        Claim(
            f"Without decay: distance of any centred logit at the end from the simplex of margin log(1 + K(1 − α)/α), "
            f"largest {over}.",
            greatest(errors),
            "<=",
            config.rtol,
            "at rest what is left of the way is below the tolerance of the run",
        ),
        Claim(
            f"Without decay: distance of the class means' Gram matrix from that of a simplex, largest {over}.",
            greatest(frames),
            ">=",
            0.01,
            "the end does depend on the start: WᵀW − HHᵀ is conserved and at scale 1 a tenth of ρ² or more",
        ),
    ]


def _ray_claims(data: Data) -> list[Claim]:
    margins = [float(last(smoothed.margin) / last(plain.margin)) for plain, smoothed in data.rays]
    rates = [_on_ray(smoothed).fitted / _on_ray(plain).fitted for plain, smoothed in data.rays]
    over = f"over {len(data.rays)} decays and α"
    return [
        Claim(
            f"Equal decay: margin at the end with smoothed labels over that with plain ones, largest {over}.",
            greatest(margins),
            "<=",
            1.0,
            "p = α/K + c is larger than c",
        ),
        Claim(
            f"Equal decay: rate on the ray with smoothed labels over that with plain ones, least {over}.",
            min(rates),
            ">=",
            1.0,
            "the rate is 2qP(1 − P)/((K − 1)√n), and P grows faster than q falls",
        ),
    ]
