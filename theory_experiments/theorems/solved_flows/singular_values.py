"""Hadamard starts: runs of the flow compared with the equation of their singular values."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.work import Work
from theory_experiments.numerics import hadamard, rays
from theory_experiments.numerics.summaries import greatest
from theory_experiments.theorems.solved_flows.config import Config

__all__ = ["Diagonal", "excess_of_mean_margin", "run_diagonal", "singular_values"]


@dataclasses.dataclass(frozen=True)
class Diagonal:
    """A run from Hadamard starts: σ of the flow and of its own equation, and the rotation of the vectors."""

    path: ulpm.Trajectory
    sigma: Float[Tensor, "R B s"]
    turned: Float[Tensor, "R B"]
    solved: Float[Tensor, "E B s"]
    level: Float[Tensor, "R B"]
    slopes: Float[Tensor, " B"]

    def error(self) -> Float[Tensor, "R B"]:
        """Largest relative error of a σ_s. After the last record of ``solved``, where all σ agree, against the ray."""
        problem, rest = self.path.problem, self.path.log_time[len(self.solved) :].cpu()
        late = rays.cross_entropy_margin(rest.numpy(), 1.0, problem.num_classes, problem.class_counts[0])
        ray = torch.from_numpy(late)[..., None].expand(*late.shape, self.sigma.shape[-1])
        error: Tensor = (self.sigma / torch.cat([self.solved, ray]) - 1).abs().amax(-1)
        return error


def run_diagonal(config: Config, work: Work, sizes: tuple[int, int, int]) -> Diagonal:
    """The flow from Hadamard starts, and σ from its own equation."""
    K, n, d = sizes
    problem, sigma = ulpm.Problem([n] * K, d), singular_values(config, K)
    turn = None
    if config.turned:
        generator = torch.Generator().manual_seed(config.seed)
        turn = torch.linalg.qr(torch.randn(K - 1, K - 1, generator=generator, dtype=torch.float64)).Q
    start = hadamard.start(problem, sigma, turn, config.excess)
    start = ulpm.State(start.W.to(config.device), start.H.to(config.device))
    # Once deviations of σ are small, they fall like e^(−q/K). Until then we solve for σ, and then use the ray.
    met = 150.0 * K
    path = work.flow(
        problem,
        start,
        log10_time=400.0 * K / math.log(10),
        rtol=config.hadamard_rtol,
        records=config.hadamard_records,
        snapshots=config.hadamard_records,
    )
    if path.snapshots is None:
        raise ValueError("the run has no snapshots.")
    found, turned = hadamard.seen(problem, path.snapshots, turn)
    log_time = path.log_time[:, 0].cpu()
    solved = hadamard.reduced_flow(sigma, n, log_time[log_time <= met].tolist())
    function = hadamard.lyapunov if config.function == "lyapunov" else hadamard.log_ratio
    return Diagonal(path, found, turned, solved, function(found), _slopes(found, config.hadamard_rtol))


def singular_values(config: Config, K: int) -> Float[Tensor, "B s"]:
    """log σ normal with standard deviation 0.5; for K = 16 max σ/min σ grows from the last start."""
    generator = torch.Generator().manual_seed(config.seed + K)
    sigma = torch.exp(0.5 * torch.randn(config.starts, K - 1, generator=generator, dtype=torch.float64))
    if K == 16:
        # One pair of classes is close. All but one of the σ that separate it are small, and the flow raises them.
        separating = hadamard.characters(K)[1, 1:] == -1
        sigma[-1] = torch.where(separating, 1.0, 4.0)
        sigma[-1, int(separating.nonzero()[0])] = 4.0
        sigma[-1, int((~separating).nonzero()[0])] = 1.0
        sigma[-1] *= 2
    return sigma


def _slopes(sigma: Float[Tensor, "R B s"], rtol: float) -> Float[Tensor, " B"]:
    """−K/2·d log Λ/dσ̄ of each start where deviations of σ are below 0.1 and Λ is above the square of its error."""
    level, mean = hadamard.lyapunov(sigma), sigma.mean(-1)
    inside = (2 * level * mean.square() < 1e-2) & (level > (100 * rtol) ** 2)
    slopes = []
    for own, x, y in zip(inside.T, mean.T, level.T, strict=True):
        x, y = x[own], y[own].log()
        slopes.append(-(sigma.shape[-1] + 1) / 2 * (y[-1] - y[0]) / (x[-1] - x[0]) if len(x) > 1 else x.new_tensor(0))
    return torch.stack(slopes)


def excess_of_mean_margin(config: Config, K: int) -> float:
    """Largest ⟨q⟩/σ̄ − 1 over σ of all sizes, half of them on two levels."""
    generator = torch.Generator().manual_seed(config.seed + 100 + K)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    spread, size = normal(config.points, 1).exp(), (2 * normal(config.points, 1)).exp()
    smooth = (spread * normal(config.points, K - 1)).clamp(-30, 30).exp()
    levels = torch.where(normal(config.points, K - 1) > 0, 1.0, (-spread).exp())
    half = config.points // 2
    sigma = size * torch.cat([smooth[:half], levels[half:]])
    return greatest(hadamard.mean_margin(sigma) / sigma.mean(-1) - 1)
