"""A flow that starts ε away from a block point leaves it along the witness, at log t ∝ ε^(−2(K − b)/b), and collapses.

Hypotheses: K = m·b classes of n samples in m blocks of b (see suboptimal_kkt_points), d ≥ K, a large norm, and a
    perturbation of relative size ε along the witness (u aᵀ, a vᵀ)/√2, where u, v are top singular vectors of the
    residual R and a is a direction that the block point does not use; any other noise may be added.
Source: the escape is in Ji, Lu, Zhang, Deng, Su, "An Unconstrained Layer-Peeled Perspective on Neural Collapse", 2022;
    its rate is this project's. In rescaled time, ds = L dt, the component along the witness grows relative to ρ like
    e^{(‖R‖_op − μ)s/L}, which at large norm is e^{b s/(K√n (K − b))}; and log t grows like e^{2s/(K√n)}.
Falsified by: another growth rate, another slope of the exit in s against log(1/ε) than K√n (K − b)/b, another exponent,
    a start that stays or ends elsewhere. Variants that must fail: the rate ‖R‖_op/L, in which the growth of ρ is
    forgotten; a start without any component along the witness.
Not verified: ε below 1e-3, where the exit is later than double precision follows logits (log t ≈ 1e8).
"""

import dataclasses
import math
from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.claim import Claim
from ulpm.plotting import style

TITLE = "Escape"


@dataclasses.dataclass(frozen=True)
class Config:
    """Starts near block points of ``cases`` (K, b, n) with smallest margin ``margin``, ε log-spaced over ``sizes``.

    ``witness`` and ``noise`` are the shares of ε along the witness and orthogonal to it; ``forget_growth`` predicts with
    the rate ‖R‖_op/L.
    """

    seed: int
    starts: int
    cases: tuple[tuple[int, int, int], ...]
    log_time: float
    records: int
    sizes: tuple[float, float] = (1e-3, 1e-1)
    margin: float = 4.0
    witness: float = 1.0
    noise: float = 1.0
    forget_growth: bool = False
    device: str = "cpu"


FULL = Config(seed=0, starts=32, cases=((4, 2, 1), (6, 3, 1), (4, 2, 5)), log_time=1e8, records=400)
QUICK = Config(seed=0, starts=4, cases=((4, 2, 1),), log_time=1e7, records=300, sizes=(5e-3, 1e-1))
FALSIFIED = {
    "the rate ‖R‖_op/L, without the growth of the norm": dataclasses.replace(QUICK, forget_growth=True),
    "starts at the block point itself": dataclasses.replace(QUICK, witness=0.0, noise=0.0),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """Flows from the neighbourhood of one block point: [records, starts], or [starts].

    ``s`` is rescaled time, ``share`` (½ρ²/q_min)/√n − (K − 1), which is 1 at the block point and 0 at collapse;
    ``component`` the part of Θ/ρ along the witnesses.
    """

    K: int
    b: int
    n: int
    path: ulpm.Trajectory
    size: Tensor
    s: Tensor
    share: Tensor
    component: Tensor

    def exits(self, of: Tensor) -> Tensor:
        """A recorded quantity where ``share`` first falls below ½, by interpolation between records; nan if never."""
        below = self.share < 0.5
        after = below.int().argmax(0)
        here = torch.arange(len(after))
        before = (after - 1).clamp(min=0)
        weight = (self.share[before, here] - 0.5) / (self.share[before, here] - self.share[after, here])
        value = of[before, here] + weight * (of[after, here] - of[before, here])
        return torch.where(below.any(0), value, torch.nan)

    def rate(self, config: Config) -> float:
        """The predicted growth rate of the component in s at large norm."""
        root = math.sqrt(self.n)
        growing = 1 / (root * (self.K - self.b))  # ‖R‖_op/L
        return growing if config.forget_growth else growing - 1 / (self.K * root)


def simulate(config: Config, tell: Callable[[str], None]) -> tuple[Case, ...]:
    """Flows from the neighbourhood of each block point."""
    generator = torch.Generator().manual_seed(config.seed)
    cases = []
    for K, b, n in config.cases:
        tell(f"{config.starts} flows, K = {K}, b = {b}, n = {n}")
        problem = ulpm.Problem([n] * K, K)
        point = ulpm.block_state(problem, b, math.sqrt(2 * K * math.sqrt(n) * config.margin))
        directions = witnesses(problem, b)
        size = torch.logspace(*(math.log10(x) for x in config.sizes), config.starts, dtype=torch.float64)
        start = near(config, point, directions, size, generator)
        start = ulpm.State(start.W.to(config.device), start.H.to(config.device))
        path = ulpm.gradient_flow(
            problem, start, log_time=config.log_time, records=config.records, snapshots=config.records
        )
        share = path.columns()["upper_bound"].cpu() / math.sqrt(n) - (K - 1)
        kept = path.snapshots
        if kept is None:
            raise ValueError("the flow was followed without snapshots.")
        flat = torch.cat([kept.W.flatten(2), kept.H.flatten(2)], 2).cpu()
        component = (flat @ directions.T).norm(dim=2) / flat.norm(dim=2)
        cases.append(Case(K, b, n, path, size, rescaled_time(path), share, component))
    return tuple(cases)


def witnesses(problem: ulpm.Problem, b: int) -> Tensor:
    """An orthonormal basis [(m − 1)(d − K + m), D] of the directions (u aᵀ, a vᵀ)/√2, laid end to end as (W, H)."""
    K, d, m = problem.num_classes, problem.feature_dim, problem.num_classes // b
    # u is constant on blocks, with sum 0; the block point fills the first K − m coordinates.
    left = (ulpm.simplex_etf(m, m - 1) * math.sqrt((m - 1) / m)).repeat_interleave(b, 0) / math.sqrt(b)
    right = left[problem.labels] / math.sqrt(problem.class_counts[0])
    rows = []
    for u, v in zip(left.T, right.T, strict=True):
        for a in torch.eye(d, dtype=torch.float64)[K - m :]:
            rows.append(torch.cat([torch.outer(u, a).flatten(), torch.outer(a, v).flatten()]) / math.sqrt(2))
    return torch.stack(rows)


def near(
    config: Config, point: ulpm.State, directions: Tensor, size: Tensor, generator: torch.Generator
) -> ulpm.State:
    """The point plus ε ρ (witness + noise), both unit vectors drawn at random, the noise orthogonal to witnesses."""
    flat = torch.cat([point.W.flatten(), point.H.flatten()])
    along = torch.randn(len(size), len(directions), generator=generator, dtype=torch.float64)
    along = along / along.norm(dim=1, keepdim=True) @ directions
    noise = torch.randn(len(size), len(flat), generator=generator, dtype=torch.float64)
    noise = noise - noise @ directions.T @ directions
    noise = noise / noise.norm(dim=1, keepdim=True)
    start = flat + flat.norm() * size[:, None] * (config.witness * along + config.noise * noise)
    W, H = start.split([point.W.numel(), point.H.numel()], 1)
    return ulpm.State(W.unflatten(1, point.W.shape).contiguous(), H.unflatten(1, point.H.shape).contiguous())


def rescaled_time(path: ulpm.Trajectory) -> Tensor:
    """s = ∫ L dt at the records, by the trapezoidal rule in τ = log(1 + log(1 + t)), in which records are even."""
    log1p_time = torch.nn.functional.softplus(path.log_time, threshold=700.0).cpu()
    rate = (path.log_loss.cpu() + log1p_time).exp() * (1 + log1p_time)  # ds/dτ
    return torch.cat([torch.zeros_like(rate[:1]), torch.cumulative_trapezoid(rate, log1p_time.log1p(), dim=0)])


def line(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Slope and intercept by least squares."""
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
    return slope, float(y.mean() - slope * x.mean())


def growth(case: Case) -> list[float]:
    """d log(component)/ds of each start while it is at most 0.1, once margins exceed 10(b − 1); few records: left out."""
    rates = []
    for i in range(len(case.size)):
        first_exit = int((case.component[:, i] > 0.1).int().argmax())
        before = torch.arange(len(case.s)) < first_exit
        linear = before & (case.path.margin[:, i].cpu() > 10 * (case.b - 1))
        if linear.sum() >= 10:
            rates.append(line(case.s[linear, i], case.component[linear, i].log())[0])
    return rates
