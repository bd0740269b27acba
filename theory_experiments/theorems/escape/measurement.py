"""Flows from starts near block points: exits, and growth along the witness, in rescaled time."""

import dataclasses
import math

import torch
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.summaries import line
from theory_experiments.numerics.vectors import kept
from theory_experiments.theorems.escape.config import Config
from theory_experiments.theorems.escape.starts import near, witnesses

__all__ = ["Case", "growth", "rescaled_time", "simulate"]


@dataclasses.dataclass(frozen=True)
class Case:
    """Flows that start near one block point: [records, starts], or [starts], or [snapshots, starts].

    ``s`` is rescaled time. ``share`` is (½ρ²/q_min)/√n − (K − 1): 1 at the block point and 0 at collapse.
    ``component``, at every fourth record, is the part of Θ/ρ along the witnesses.
    """

    K: int
    b: int
    n: int
    path: ulpm.Trajectory
    size: Tensor
    s: Tensor
    share: Tensor
    component: Tensor

    @property
    def rows(self) -> Tensor:
        """The records that have snapshots."""
        return torch.linspace(0, len(self.s) - 1, len(self.component)).round().long()

    def exits(self, of: Tensor) -> Tensor:
        """A recorded quantity where ``share`` first falls below ½, interpolated between records; nan if never."""
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


def simulate(config: Config, work: Work) -> tuple[Case, ...]:
    """The flows that start near each block point."""
    generator = torch.Generator().manual_seed(config.seed)
    cases = []
    for K, b, n in config.cases:
        work.tell(f"{config.starts} flows, K = {K}, b = {b}, n = {n}")
        problem = ulpm.Problem([n] * K, K)
        point = ulpm.block_state(problem, b, math.sqrt(2 * K * math.sqrt(n) * config.margin))
        directions = witnesses(problem, b)
        size = torch.logspace(
            math.log10(config.sizes[0]), math.log10(config.sizes[1]), config.starts, dtype=torch.float64
        )
        start = near(config, problem, point, directions, size, generator)
        start = ulpm.State(start.W.to(config.device), start.H.to(config.device))
        path = work.flow(
            problem, start, log_time=config.log_time, records=config.records, snapshots=config.records // 4
        )
        share = path.columns()["upper_bound"].cpu() / math.sqrt(n) - (K - 1)
        states = kept(path)
        component = (states @ directions.T).norm(dim=2) / states.norm(dim=2)
        cases.append(Case(K, b, n, path, size, rescaled_time(path), share, component))
    return tuple(cases)


def rescaled_time(path: ulpm.Trajectory) -> Tensor:
    """s = ∫ L dt at the records, by the trapezoidal rule in τ = log(1 + log(1 + t)); records are equidistant in τ."""
    log1p_time = torch.nn.functional.softplus(path.log_time, threshold=700.0).cpu()
    rate = (path.log_loss.cpu() + log1p_time).exp() * (1 + log1p_time)  # ds/dτ
    return torch.cat([torch.zeros_like(rate[:1]), torch.cumulative_trapezoid(rate, log1p_time.log1p(), dim=0)])


def growth(case: Case) -> list[float]:
    """d log(component)/ds of each start, for components up to 0.1 and margins above 10(b − 1).

    Starts with too few such records are left out.
    """
    rates = []
    s, margin = case.s[case.rows], case.path.margin.cpu()[case.rows]
    for i in range(len(case.size)):
        first_exit = int((case.component[:, i] > 0.1).int().argmax())
        linear = (torch.arange(len(s)) < first_exit) & (margin[:, i] > 10 * (case.b - 1))
        if linear.sum() >= 10:
            rates.append(line(s[linear, i], case.component[linear, i].log())[0])
    return rates
