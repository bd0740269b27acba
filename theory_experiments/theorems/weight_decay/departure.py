"""The time when a flow with small decay departs from the one without: on the collapsed ray, and from random starts."""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import ulpm
from theory_experiments.harness.claim import Claim
from theory_experiments.harness.work import Work
from theory_experiments.numerics import rays
from theory_experiments.numerics.decayed_ends import closed_margin
from theory_experiments.numerics.summaries import greatest, line
from theory_experiments.theorems.weight_decay.config import Config

__all__ = ["Departure", "depart", "departure_claims", "end_margin", "predicted_departure"]

_LAG = math.log(2)  # a flow has departed when its margin lags by this
_DEPARTS = 1.5936242600400400923  # x/(1 − e^(−x)) = 2


@dataclasses.dataclass(frozen=True)
class Departure:
    """Margins of the decayed flow at the records with t ≥ 10, and of the flow without decay at the same times."""

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


def depart(config: Config, work: Work, decay: float, *, on_ray: bool) -> Departure:
    """The flow with this decay, and the flow without: from a collapsed start if ``on_ray``, else from random starts."""
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
        # The closed form is for the summed loss, whose flow is N times faster.
        exact = rays.cross_entropy_margin(log_time.numpy() - math.log(K * n), 1.0, K, n)
        return Departure(decay, log_time, margin, torch.from_numpy(exact))
    plain = work.flow(problems[1], start, **settings)
    undecayed = [
        np.interp(log_time[:, b], plain.log_time[1:, b].cpu(), plain.margin[1:, b].cpu())
        for b in range(config.followed)
    ]
    return Departure(decay, log_time, margin, torch.tensor(np.stack(undecayed, 1)))


def end_margin(decay: float) -> float:
    """The margin of the closed form at which the flow ends."""
    return closed_margin(ulpm.Problem([5] * 4, 4, weight_decay=(decay, decay), reduction="mean"))


def predicted_departure(decay: float) -> float:
    """log t with 2λ(q − 1)t = 1.594, q the margin of the closed form plus the lag at departure, log 2 + O(1)."""
    q = end_margin(decay) + _LAG - math.log(1 / -math.expm1(-_DEPARTS))
    return math.log(_DEPARTS / (2 * decay * (q - 1)))


def departure_claims(config: Config, ray: list[Departure], random: list[Departure]) -> list[Claim]:
    """The law of the lag on the ray, and log t at departure against log(1/λ) from random starts."""
    decays = f"λ = 1e-{min(config.exponents)} … 1e-{max(config.exponents)}"
    inverse = torch.tensor([math.log(1 / each.decay) for each in ray], dtype=torch.float64)
    lags = []
    for each in ray:
        law = torch.log(each.x / -torch.expm1(-each.x))
        q = each.undecayed
        lags.append(((each.undecayed - each.decayed - law).abs() * (q / q.log()) ** 2)[each.x > 1e-3])
    slopes = [line(inverse, torch.stack([each.at[b] for each in random]))[0] for b in range(config.followed)]
    return [
        Claim(
            "Collapsed start: distance of the lag of the margin from log[x/(1 − e^(−x))], x = 2λ(q − 1)t, in units "
            f"of (log q/q)², largest over all records with x > 0.001 and {decays}.",
            greatest(lags),
            "<=",
            2.0,
            "∫q dt = t(q − 1 + O(1/q)), and the terms e^(−q) that the law neglects are smaller",
        ),
        Claim(
            f"Random starts: slope of log t at departure against log(1/λ), distance from {config.departure_power:g}, "
            f"largest over {config.followed} starts, {decays}.",
            greatest(abs(slope - config.departure_power) for slope in slopes),
            "<=",
            2 / float(inverse.mean()),
            "t λ(q − 1) is constant and q grows like log(1/λ), which lowers the slope by 1/log(1/λ); the frozen "
            "parts of the starts are allowed as much again",
        ),
    ]
