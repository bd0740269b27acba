"""Along the gradient flow WᵀW − HHᵀ and Σ_k w_k never change, whatever the class counts and the dimension.

Hypotheses: gradient flow dW/dt = R Hᵀ, dH/dt = Wᵀ R with R = Y − P, from any start; any K, n_k and d; no weight decay.
The proof is a line: d(WᵀW)/dt = H Rᵀ W + Wᵀ R Hᵀ = d(HHᵀ)/dt, and 1ᵀR = 0 as the probabilities of a sample sum to 1.
The second also holds in discrete time, with momentum or without.
Source: the balancedness of linear networks: Arora, Cohen, Hazan, "On the Optimization of Deep Networks: Implicit
Acceleration by Overparameterization", 2018; the model: (2.3) of Ji, Lu, Zhang, Deng, Su, "An Unconstrained
Layer-Peeled Perspective on Neural Collapse", 2022.
Falsified by: a drift that does not shrink with the tolerance. Weight decay λ multiplies the first quantity by e^(−2λt)
and the second by e^(−λt); Euler's method with a coarse step keeps the second alone.
Not verified: problems that are larger than those listed, and stochastic or adaptive optimisers.
"""

import dataclasses
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics.decayed_flow import plain_flow
from ulpm.plotting import style

TITLE = "Conserved quantities"
_CONTRAST = 1e-2  # the weight decay that the figure shows beside none


@dataclasses.dataclass(frozen=True)
class Config:
    """Late runs by the solver, and early ones by a plain method that can take weight decay."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    log10_time: float = 1e4
    rtol: float = 1e-6
    records: int = 100
    problems: tuple[tuple[tuple[int, ...], int], ...] = (((5, 5, 5, 5), 20), ((8, 4, 2), 6), ((3, 3, 3, 3, 3), 3))
    descent_steps: int = 2000
    plain_time: float = 20.0
    plain_step: float = 0.01
    plain_order: int = 4
    weight_decay: float = 0.0


FULL = Config()
QUICK = Config(starts=4, log10_time=50.0, problems=FULL.problems[:2], records=30, descent_steps=200, plain_time=2.0)
_FALSE = dataclasses.replace(QUICK, log10_time=5.0)
FALSIFIED = {
    "weight decay 0.001 is added to the flow": dataclasses.replace(_FALSE, weight_decay=1e-3),
    "the flow is replaced by steps of gradient descent of size 0.05": dataclasses.replace(
        _FALSE, plain_order=1, plain_step=0.05
    ),
}


@dataclasses.dataclass(frozen=True)
class Data:
    """``paths`` of each problem; ``ratio`` of drifts at rtol/100 and rtol; changes of the plain flows at ``times``."""

    paths: list[ulpm.Trajectory]
    ratio: float
    descent_sum: float
    times: Float[Tensor, " R"]
    plain: dict[str, Float[Tensor, "R B"]]
    decayed: dict[str, Float[Tensor, "R B"]]


def simulate(config: Config, work: Work) -> Data:
    """Flows of every problem to late time, one of them at two tolerances, descent with momentum, and plain flows."""
    problems = [ulpm.Problem(counts, dim) for counts, dim in config.problems]
    paths = []
    for problem in problems:
        work.tell(f"the flow of {problem}")
        paths.append(_flow(config, work, problem, config.rtol, config.log10_time))
    work.tell("the flow at two tolerances")
    coarse, fine = (_largest(_flow(config, work, problems[0], config.rtol / factor, 30.0)) for factor in (1, 100))
    work.tell("gradient descent with momentum")
    start = _start(config, problems[1])
    descent = ulpm.gradient_descent(
        problems[1], start, learning_rate=0.05, momentum=0.3, steps=config.descent_steps, records=50
    )
    work.tell("the flow by a classical method")
    times = torch.linspace(0, config.plain_time, 41, dtype=torch.float64)
    small = ulpm.Problem([4, 3, 2], 5)
    plain, decayed = (_plain_drift(config, small, times, decay) for decay in (config.weight_decay, _CONTRAST))
    return Data(
        paths,
        fine["balancedness"] / coarse["balancedness"],
        float(descent.invariant_drift["classifier_sum"].max()),
        times,
        plain,
        decayed,
    )


def check(config: Config, data: Data) -> list[Claim]:
    """Both drifts of every run."""
    over = f"over {config.starts} starts, all records and {len(data.paths)} problems"
    steps = (
        "a run takes about a hundred steps, each with a local error in B of at most 2·rtol·ρ², and independent errors"
    )
    rounding = "every method of Runge and Kutta keeps it but for rounding: 10⁴ roundings of ε = 2.2e-16 come to 2e-12"
    balancedness, total = (max(_largest(path)[name] for path in data.paths) for name in _NAMES)
    plain = {name: float(values.max()) for name, values in data.plain.items()}
    early = f"over {config.starts} starts and all records"
    return [
        Claim(
            f"Drift of Σ_k w_k relative to ρ, to t = 10^{config.log10_time:g}, largest {over}.",
            total,
            "<=",
            2e-12,
            rounding,
        ),
        Claim(
            f"Drift of WᵀW − HHᵀ relative to ρ², to t = 10^{config.log10_time:g}, largest {over}.",
            balancedness,
            "<=",
            20 * config.rtol,
            f"{steps} grow like the root of their number: 2·rtol·√100",
        ),
        Claim(
            "The drift of WᵀW − HHᵀ at a hundredth of the tolerance, divided by that at the tolerance itself.",
            data.ratio,
            "<=",
            0.1,
            "an error of the method falls in proportion to rtol, to 0.01 (a factor of 10 is left for the choice of "
            "steps); a drift of the flow itself would stay, at 1",
        ),
        Claim(
            f"Drift of Σ_k w_k relative to ρ in gradient descent with rate 0.05 and momentum 0.3, largest {early}.",
            data.descent_sum,
            "<=",
            2e-12,
            rounding.replace("every method of Runge and Kutta", "every step of gradient descent"),
        ),
        Claim(
            f"Change of WᵀW − HHᵀ relative to its norm in the plain flow to t = {config.plain_time:g}, "
            f"largest {early}.",
            plain["balancedness"],
            "<=",
            1e-5,
            "the classical method errs by (hΛ)⁵/120 a step, and the largest eigenvalue Λ of ∇²L, at most "
            "‖R‖_op + ½(‖W‖² + ‖H‖²)_op, is about 5 at these sizes: with h = 0.01 up to t = 20 that adds up to 5e-6",
        ),
        Claim(
            f"Change of Σ_k w_k relative to its norm in the plain flow to t = {config.plain_time:g}, largest {early}.",
            plain["classifier_sum"],
            "<=",
            1e-11,
            "rounding, as above, of a sum that may be a few times smaller than ρ",
        ),
        Claim(
            f"Distance of the change of WᵀW − HHᵀ from 1 − e^(−2λt), of that of Σ_k w_k from 1 − e^(−λt), in the plain "
            f"flow with weight decay λ = {_CONTRAST:g}, relative to their norms, largest {early}.",
            max(float((data.decayed[name] - law[:, None]).abs().max()) for name, law in _laws(data.times).items()),
            "<=",
            1e-5,
            "the law is exact, and the error of the method is that of the plain flow",
        ),
    ]


def plot(config: Config, data: Data) -> Figure:
    """Drifts of the solver's runs on the left, and on the right those without and with weight decay."""
    runs = style.runs(data.paths)
    figure = style.new_figure(
        13, 4.6, f"Drift of the conserved quantities · {config.starts} starts each (median, least to greatest)"
    )
    panels = figure.subplots(1, 3)
    bounds = (20 * config.rtol, 2e-12)
    labels = (r"$\Vert B-B(0)\Vert/\rho^2,\ B=W^\top W-HH^\top$", r"$\Vert\Sigma_k w_k-\Sigma_k w_k(0)\Vert/\rho$")
    for axes, name, bound, label in zip(panels, _NAMES, bounds, labels, strict=False):
        for run in runs:
            style.draw(axes, run, run.path.invariant_drift[name].clamp(min=1e-17), label=run.label)
        axes.axhline(bound, **style.THEORY, label="bound of the claim")
        style.time_axis(axes, runs)
        axes.set(yscale="log", ylabel=label)
    _plot_decay(panels[2], data)
    for axes in panels:
        axes.legend(fontsize=8, frameon=False)
        style.finish(axes)
    return figure


_NAMES = ("balancedness", "classifier_sum")

EXPLANATION = """
Left and middle: how far each conserved quantity has moved, divided by the size of what it is made of, for a balanced
problem, for unequal counts, and for a dimension too small for neural collapse. The drift of WᵀW − HHᵀ is the error
of the integrator: it stays below the bound, and the claims say that it shrinks with the tolerance. That of Σ w_k is
rounding, because it is a linear quantity, and adding a multiple of a field that sums to zero cannot change it.

Right: the same problem integrated by the classical Runge–Kutta method, which shares no code with the solver. Without
weight decay nothing moves on this scale. With it, both quantities fade, at the rates that theory gives (dashed): this
is why networks that are trained with weight decay forget the imbalance between their layers, and why the laws in the
other sections, whose exponents come from what these quantities keep frozen, do not carry over to them.
"""


def _flow(config: Config, work: Work, problem: ulpm.Problem, rtol: float, log10_time: float) -> ulpm.Trajectory:
    return work.flow(problem, _start(config, problem), log10_time=log10_time, rtol=rtol, records=config.records)


def _start(config: Config, problem: ulpm.Problem) -> ulpm.State:
    return problem.random_state(config.seed, replicas=config.starts, device=config.device)


def _largest(path: ulpm.Trajectory) -> dict[str, float]:
    return {name: float(drift.max()) for name, drift in path.invariant_drift.items()}


def _plain_drift(
    config: Config, problem: ulpm.Problem, times: Float[Tensor, " R"], decay: float
) -> dict[str, Float[Tensor, "R B"]]:
    """The change of each quantity along the plain flow, relative to its norm at the start."""
    start = _start(config, problem)
    states = plain_flow(problem, start, times, step=config.plain_step, weight_decay=decay, order=config.plain_order)
    change: dict[str, list[Tensor]] = {name: [] for name in _NAMES}
    B_start, sum_start = _conserved(start)
    for state in states:
        B, total = _conserved(state)
        change["balancedness"].append((B - B_start).norm(dim=(-2, -1)) / B_start.norm(dim=(-2, -1)))
        change["classifier_sum"].append((total - sum_start).norm(dim=-1) / sum_start.norm(dim=-1))
    return {name: torch.stack(values).cpu() for name, values in change.items()}


def _conserved(state: ulpm.State) -> tuple[Float[Tensor, "B d d"], Float[Tensor, "B d"]]:
    return state.W.mT @ state.W - state.H @ state.H.mT, state.W.sum(-2)


def _laws(times: Float[Tensor, " R"]) -> dict[str, Float[Tensor, " R"]]:
    """By how much of themselves the quantities change under the weight decay of the contrast."""
    return {"balancedness": -torch.expm1(-2 * _CONTRAST * times), "classifier_sum": -torch.expm1(-_CONTRAST * times)}


def _plot_decay(axes: Axes, data: Data) -> None:
    words = {"balancedness": r"$W^\top W-HH^\top$", "classifier_sum": r"$\Sigma_k w_k$"}
    for i, (name, law) in enumerate(_laws(data.times).items()):
        looks: dict[str, Any] = {"color": style.COLORS[i], "markevery": 4, "linestyle": "none"}
        axes.plot(
            data.times,
            data.decayed[name].quantile(0.5, dim=1),
            marker="os"[i],
            label=f"{words[name]}, decay {_CONTRAST}",
            **looks,
        )
        axes.plot(
            data.times, data.plain[name].quantile(0.5, dim=1), marker="x+"[i], label=f"{words[name]}, no decay", **looks
        )
        axes.plot(data.times, law, **style.THEORY, label=r"$1-e^{-2\lambda t},\ 1-e^{-\lambda t}$" if i == 0 else None)
    axes.set(xlabel="flow time $t$", ylabel="change relative to its norm at $t=0$")
