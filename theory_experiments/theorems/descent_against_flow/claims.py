"""The claims about descent: orders in the rate, late time, and departures of loss-scaled runs."""

import math

from jaxtyping import Float
from torch import Tensor

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.exponents import confidence
from theory_experiments.numerics.invariants import ROUNDING
from theory_experiments.theorems.descent_against_flow.config import Config
from theory_experiments.theorems.descent_against_flow.measurement import Data
from theory_experiments.theorems.descent_against_flow.stability import (
    departures,
    growth_between_records,
    latest_departure,
    threshold,
)

__all__ = ["check"]

_CURVATURE = 7.0  # Λ at the start: ‖R‖_op + ½(‖W‖² + ‖H‖²)_op of a random start of scale 1 at these sizes


def check(config: Config, data: Data) -> list[Claim]:
    """The invariant, orders in the rate, the distance at late times, and the departures of loss-scaled runs."""
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
        (f"the distance with momentum {config.momentum:g}", data.momentum),
        ("the drift of WᵀW − HHᵀ", data.balancedness),
    ):
        order = confidence(_orders(config, values)[-1])
        claims.append(
            Claim(
                f"Order in η of {name} at t = {config.times[-1]:g}, between η = {coarse:g} and {fine:g}, {order} "
                f"(95%, {config.starts} starts): distance from 1 to the far end of the interval.",
                order.distance(1.0),
                "<=",
                coarse * _CURVATURE,
                f"Euler's method has order 1; the next term is smaller by ηΛ, where Λ ≈ {_CURVATURE:g} is the "
                "largest eigenvalue of ∇²L at the start",
            )
        )
    growth = data.plain[-1, -1] / data.plain[-1, 0]
    claims.append(
        Claim(
            f"Relative distance from the flow at t = {config.times[-1]:g}, divided by that at t = "
            f"{config.times[0]:g}, η = {fine:g}, largest over {config.starts} starts.",
            float(growth.max()),
            "<=",
            1.0,
            "the eigenvalues of ∇²L fall like 1/t, so late steps add almost no distance while ρ grows",
        )
    )
    for rate, path in zip(config.scaled_rates, data.scaled, strict=True):
        departure = departures(path) / threshold(config, rate)
        claims += [
            Claim(
                f"ρ² at which the rate {rate:g}/L departs from the flow, divided by the limit of stability, least "
                f"over {config.starts} starts.",
                float(departure.min()),
                ">=",
                1.0,
                "below the limit a perturbation shrinks at every step",
            ),
            Claim(
                f"ρ² at which the rate {rate:g}/L departs from the flow, divided by the limit of stability, largest "
                f"over {config.starts} starts.",
                float(departure.max()),
                "<=",
                latest_departure(rate, path.problem.minimum_norm_value) * growth_between_records(rate, path),
                "beyond the limit each step multiplies a perturbation of the size of rounding, 2e-16, by ηλ − 1, "
                "while λ grows by 2η/v*; at the bound it has reached 1, and the next record shows it",
            ),
        ]
    return claims


def _orders(config: Config, values: Float[Tensor, "E T B"]) -> Float[Tensor, "T B"]:
    """The order in the rate between the two finest."""
    return (values[-2] / values[-1]).log() / math.log(config.rates[-2] / config.rates[-1])
