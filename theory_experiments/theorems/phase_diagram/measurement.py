"""The end of the flow at every point of the phase diagram."""

import dataclasses
import math

from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics.decayed_ends import Setting
from theory_experiments.numerics.finite_ends import last
from theory_experiments.theorems.phase_diagram.config import Config

__all__ = ["ZERO", "Data", "Point", "simulate"]

ZERO = 1e-9  # a smaller margin counts as zero; the smallest margin of the settings is 0.05


@dataclasses.dataclass(frozen=True)
class Point:
    """The ends of the flows of one setting."""

    setting: Setting
    path: ulpm.Trajectory

    @property
    def product(self) -> float:
        """λ_Wλ_H."""
        λ_W, λ_H = self.setting.decays
        return λ_W * λ_H

    @property
    def margins(self) -> Float[Tensor, " B"]:
        """q_min at the end."""
        return last(self.path.margin)


@dataclasses.dataclass(frozen=True)
class Data:
    """Points over K at n = 5, and over n at K = 4."""

    over_classes: list[Point]
    over_samples: list[Point]

    @property
    def every(self) -> list[Point]:
        """All points."""
        return [*self.over_classes, *self.over_samples]


def simulate(config: Config, work: Work) -> Data:
    """The flow at every point, until it converges."""

    def point(K: int, n: int, strength: float) -> Point:
        setting = Setting(K, n, K, strength, config.ratio)
        work.tell(f"K = {K}, n = {n}, Kc = {strength:g}")
        start = setting.problem.random_state(config.seed, replicas=math.ceil(config.starts / 8), device=config.device)
        return Point(setting, work.flow(setting.problem, start, log10_time=10.0, rtol=config.rtol, records=10))

    return Data(
        [point(K, 5, strength) for K in config.classes for strength in config.strengths],
        [point(4, n, strength) for n in config.samples for strength in config.strengths],
    )
