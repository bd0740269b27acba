"""Gradient descent follows the flow to first order in its rate, and for ever; a loss-scaled rate only up to a norm.

Hypotheses: flow time advances by η/(1−β) a step with rate η and momentum β, by η/(L(1−β)) if the rate is η/L; η below
the limit of stability at the start. The loss-scaled rate is stable while η·λ ≤ 2, where λ is the largest eigenvalue of
∇² log L, at collapse λ = ρ²·(K + √(K(K−2)))/(2N(K−1)²).
Source: Lyu, Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks", 2020, for the loss-scaled rate;
Polyak, "Some Methods of Speeding up the Convergence of Iteration Methods", 1964, for momentum; the eigenvalue is this
project's.
Falsified by: a distance that is not proportional to the rate, as when a step with momentum is counted as η of time, or
the rate is too large; a loss-scaled run that departs from the flow elsewhere than at the predicted norm.
Not verified: stochastic gradients, and what a loss-scaled run does after its departure.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.exponents import confidence
from theory_experiments.numerics.invariants import ROUNDING
from ulpm.plotting import style

TITLE = "Descent against flow"
_STARTS_SHOWN = 4
_CURVATURE = 7.0  # Λ at the start: ‖R‖_op + ½(‖W‖² + ‖H‖²)_op of a random start of scale 1 at these sizes


@dataclasses.dataclass(frozen=True)
class Config:
    """``momentum_time`` is the flow time of a step over η, if not 1/(1−β); ``threshold`` multiplies the limit of ρ²."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    counts: tuple[int, ...] = (5, 5, 5, 5)
    dim: int = 10
    rates: tuple[float, ...] = (0.04, 0.02, 0.01)
    momentum: float = 0.3
    momentum_time: float | None = None
    times: tuple[float, ...] = (3.0, 30.0, 100.0)
    scaled_rates: tuple[float, ...] = (0.1, 0.05, 0.025)
    threshold: float = 1.0
    flow_records: int = 150


FULL = Config()
QUICK = Config(starts=8, rates=(0.02, 0.01), times=(2.0, 6.0), scaled_rates=(0.2,), flow_records=30)
_FALSE = dataclasses.replace(QUICK, rates=(0.04, 0.02))
FALSIFIED = {
    "a step with momentum is counted as η of flow time, not η/(1−β)": dataclasses.replace(_FALSE, momentum_time=1.0),
    "the rate is beyond stability": dataclasses.replace(_FALSE, rates=(2.0, 1.0), times=(4.0, 12.0)),
    "the loss-scaled rate is stable up to four times the norm": dataclasses.replace(_FALSE, threshold=4.0),
}


@dataclasses.dataclass(frozen=True)
class Data:
    """Relative distances from the flow and drifts of WᵀW − HHᵀ, [rates, times, starts]; loss-scaled runs; the flow."""

    plain: Float[Tensor, "E T B"]
    momentum: Float[Tensor, "E T B"]
    balancedness: Float[Tensor, "E T B"]
    classifier_sum: float
    scaled: list[ulpm.Trajectory]
    flow: ulpm.Trajectory


def simulate(config: Config, work: Work) -> Data:
    """The flow at the asked times, descent at every rate until each of them, and loss-scaled runs past their limits."""
    problem = ulpm.Problem(config.counts, config.dim)
    start = problem.random_state(config.seed, replicas=config.starts, device=config.device)
    work.tell("the flow")
    targets = [
        work.flow(problem, start, log_time=math.log(time), rtol=1e-9, records=2).final_state for time in config.times
    ]
    runs: dict[float, list[list[ulpm.Trajectory]]] = {}
    for momentum in (0.0, config.momentum):
        step_time = (config.momentum_time if momentum else None) or 1 / (1 - momentum)
        runs[momentum] = []
        for rate in config.rates:
            work.tell(f"descent with rate {rate:g} and momentum {momentum:g}")
            steps = [max(1, int(time / (rate * step_time) + 0.5)) for time in config.times]
            runs[momentum].append([_descent(problem, start, rate, momentum, count) for count in steps])
    scaled = []
    for rate in config.scaled_rates:
        work.tell(f"descent with rate {rate:g}/L")
        # In s = η·steps the flow has ρ² = 2v*·log t and log t ∝ e^(2s/v*), after an early phase of up to 7·v*/2.
        v = problem.minimum_norm_value
        norm = 1.3 * _latest_departure(rate, v) * _threshold(config, rate) / config.threshold
        count = round(v / 2 * (math.log(norm / (2 * v)) + 7) / rate)
        scaled.append(
            ulpm.gradient_descent(problem, start, learning_rate=rate, steps=count, loss_scaled=True, records=200)
        )
    end = max(float(path.log_time[-1].max()) for path in scaled)
    flow = work.flow(problem, start, log_time=end, records=config.flow_records)
    every = [path for each in runs.values() for paths in each for path in paths]
    return Data(
        _distances(runs[0.0], targets),
        _distances(runs[config.momentum], targets),
        torch.stack([torch.stack([p.invariant_drift["balancedness"][-1] for p in paths]) for paths in runs[0.0]]),
        max(float(path.invariant_drift["classifier_sum"].max()) for path in [*every, *scaled]),
        scaled,
        flow,
    )


def check(config: Config, data: Data) -> list[Claim]:
    """The invariant, orders in the rate, what late time does to the distance, and where loss-scaled runs depart."""
    fine, coarse = config.rates[-1], config.rates[-2]
    claims = [
        Claim(
            f"Drift of Σ_k w_k relative to ρ, largest over {config.starts} starts and all runs of descent.",
            data.classifier_sum,
            "<=",
            ROUNDING,
            "each step adds a matrix whose rows sum to zero: 10⁴ roundings of ε = 2.2e-16",
        )
    ]
    for name, values in (
        ("the distance from the flow at equal flow time", data.plain),
        (f"the same with momentum {config.momentum:g}", data.momentum),
        ("the drift of WᵀW − HHᵀ", data.balancedness),
    ):
        order = confidence(_orders(config, values)[-1])
        claims.append(
            Claim(
                f"Order in η of {name} at t = {config.times[-1]:g}, between η = {coarse:g} and {fine:g}, {order} (95%, "
                f"{config.starts} starts): distance of 1 from the far end of the interval.",
                order.distance(1.0),
                "<=",
                coarse * _CURVATURE,
                f"Euler's method has order 1; the next term is smaller by ηΛ, Λ ≈ {_CURVATURE:g} being the largest "
                "eigenvalue of ∇²L at the start",
            )
        )
    growth = data.plain[-1, -1] / data.plain[-1, 0]
    claims.append(
        Claim(
            f"Relative distance from the flow at t = {config.times[-1]:g} over that at t = {config.times[0]:g}, η = "
            f"{fine:g}, largest over {config.starts} starts.",
            float(growth.max()),
            "<=",
            1.0,
            "the eigenvalues of ∇²L fall like 1/t, so late steps add next to nothing while ρ grows",
        )
    )
    for rate, path in zip(config.scaled_rates, data.scaled, strict=True):
        departure = _departures(path) / _threshold(config, rate)
        claims += [
            Claim(
                f"ρ² at which the rate {rate:g}/L departs from the flow, over the limit of stability, least over "
                f"{config.starts} starts.",
                float(departure.min()),
                ">=",
                1.0,
                "below the limit a perturbation shrinks at every step",
            ),
            Claim(
                f"ρ² at which the rate {rate:g}/L departs from the flow, over the limit of stability, largest over "
                f"{config.starts} starts.",
                float(departure.max()),
                "<=",
                _latest_departure(rate, path.problem.minimum_norm_value) * _growth_between_records(rate, path),
                "beyond the limit a perturbation of the size of rounding, 2e-16, is multiplied by ηλ − 1 a step "
                "while λ grows by 2η/v*: by then it has reached 1, and it is seen at the next record",
            ),
        ]
    return claims


def plot(config: Config, data: Data) -> Figure:
    """Distances against the rate, and the loss-scaled runs beside the flow."""
    heading = (
        f"Descent against flow · {style.sizes(data.flow.problem)} · {config.starts} starts (median, least to greatest)"
    )
    figure = style.new_figure(12.5, 5, heading)
    left, right = figure.subplots(1, 2)
    _plot_orders(left, config, data)
    _plot_departures(right, config, data)
    for axes in (left, right):
        axes.legend(fontsize=9, frameon=False, loc="lower left" if axes is right else "upper left")
        style.finish(axes)
    return figure


EXPLANATION = """
Left: how far descent is from the flow when both have reached the same flow time. Halving the rate halves the distance
(dashed: slope 1), with momentum 0.3 as without, provided that a step counts as η/(1−β): a heavy ball in equilibrium
moves by the sum of the geometric series of its past pushes. The conserved quantity WᵀW − HHᵀ drifts in the same
proportion, while Σ_k w_k does not drift at all. Later times do not make it worse: the curvature of the loss falls like
1/t, so that the same rate becomes an ever finer step, and what was lost was lost at the start.

Right: the rate η/L keeps the steps of a run from dying, so that log log t grows in proportion to the number of steps.
It is Euler's method on ∇ log L, whose curvature *grows*, like ρ². Near collapse the largest eigenvalue of ∇² log L is
the variance of the margin gradients ∇q_{ij} over all N(K−1) margins. Its eigenvector raises the margins of some classes
and lowers those of others, and works out as λ = ρ²·(K + √(K(K−2)))/(2N(K−1)²). Once ηλ > 2 (dashed lines), such a
pattern changes sign and grows with every step, and some steps later, when it has grown out of almost nothing, the run
leaves the flow: it keeps separating the classes, but its stationarity residual no longer falls. A loss-scaled rate
that follows for ever must itself fall like 1/ρ², that is, like 1/log t.
"""


def _descent(problem: ulpm.Problem, start: ulpm.State, rate: float, momentum: float, steps: int) -> ulpm.Trajectory:
    return ulpm.gradient_descent(problem, start, learning_rate=rate, momentum=momentum, steps=steps, records=8)


def _distances(runs: Sequence[Sequence[ulpm.Trajectory]], targets: Sequence[ulpm.State]) -> Float[Tensor, "E T B"]:
    """‖Θ − Θ_flow‖/ρ_flow of the ends."""

    def distance(path: ulpm.Trajectory, target: ulpm.State) -> Tensor:
        end = path.final_state
        return (ulpm.State(end.W - target.W, end.H - target.H).squared_norm / target.squared_norm).sqrt().cpu()

    return torch.stack([torch.stack([distance(*each) for each in zip(paths, targets, strict=True)]) for paths in runs])


def _orders(config: Config, values: Float[Tensor, "E T B"]) -> Float[Tensor, "T B"]:
    """The order in the rate between the two finest."""
    return (values[-2] / values[-1]).log() / math.log(config.rates[-2] / config.rates[-1])


def _threshold(config: Config, rate: float) -> float:
    """The ρ² at which η·λ = 2."""
    K, N = len(config.counts), sum(config.counts)
    return config.threshold * 2 / rate * 2 * N * (K - 1) ** 2 / (K + math.sqrt(K * (K - 2)))


def _departures(path: ulpm.Trajectory) -> Float[Tensor, " B"]:
    """ρ² at the first record whose stationarity residual is twice the least before; inf where there is none."""
    stationarity = path.columns()["stationarity"]
    departed = stationarity > 2 * stationarity.cummin(0).values
    first = departed.int().argmax(0, keepdim=True)
    return torch.where(departed.any(0), path.squared_norm.gather(0, first)[0], torch.inf)


def _latest_departure(rate: float, value: float) -> float:
    """ρ² over the limit of stability when a perturbation of the size of rounding has grown to 1."""
    excess, log_size = 1.0, math.log(torch.finfo(torch.float64).eps)
    while log_size < 0:
        excess *= 1 + 2 * rate / value
        log_size += math.log(2 * excess - 1)
    return excess


def _growth_between_records(rate: float, path: ulpm.Trajectory) -> float:
    """The factor of ρ² between two records, which grows by 2η/v* a step."""
    steps = path.config["steps"] / (path.config["records"] - 1)
    return float((1 + 2 * rate / path.problem.minimum_norm_value) ** steps)


def _plot_orders(axes: Axes, config: Config, data: Data) -> None:
    series = {"distance from the flow": data.plain, f"distance, momentum {config.momentum:g}": data.momentum}
    series[r"drift of $W^\top W-HH^\top$"] = data.balancedness
    for i, (label, values) in enumerate(series.items()):
        last = values[:, -1]
        middle = last.quantile(0.5, dim=1)
        errors = torch.stack([middle - last.amin(1), last.amax(1) - middle])
        axes.errorbar(config.rates, middle, yerr=errors, fmt="osD"[i], color=style.COLORS[i], capsize=3, label=label)
        axes.plot(config.rates, middle[-1] * torch.tensor(config.rates) / config.rates[-1], **style.THEORY)
    axes.plot([], [], **style.THEORY, label="proportional to the rate")
    axes.set(
        xscale="log", yscale="log", xlabel=r"rate $\eta$", ylabel=f"relative to the flow at $t$ = {config.times[-1]:g}"
    )
    style.fix_ticks(axes, "x", config.rates)


def _plot_departures(axes: Axes, config: Config, data: Data) -> None:
    """Stationarity against the norm, which all runs share, of a few starts each."""
    labels = ["gradient flow", *(f"descent with rate {rate:g}/L" for rate in config.scaled_rates)]
    for i, (label, path) in enumerate(zip(labels, [data.flow, *data.scaled], strict=True)):
        separated = torch.where(path.margin > 0, path.columns()["stationarity"], torch.nan)[:, :_STARTS_SHOWN]
        look: dict[str, Any] = {"color": style.COLORS[i], "linewidth": 2.4 if i == 0 else 1.0, "alpha": 0.8}
        lines = axes.plot(path.squared_norm[:, :_STARTS_SHOWN], separated, **look)
        lines[0].set_label(label)
        if i > 0:
            limit = _threshold(config, config.scaled_rates[i - 1])
            axes.axvline(limit, **style.THEORY | {"color": style.COLORS[i]})
    axes.plot([], [], **style.THEORY, label="predicted limit of stability")
    axes.set(xscale="log", yscale="log", xlabel=r"squared norm $\rho^2$", ylabel="stationarity residual")
    axes.set_xlim(10, 2 * max(float(path.squared_norm[-1].max()) for path in data.scaled))
