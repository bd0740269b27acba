"""The claims about solved flows: invariants, the ray, the singular values, the constants of losses."""

from theory_experiments.harness.claim import Claim
from theory_experiments.numerics.invariants import invariant_claims
from theory_experiments.theorems.solved_flows.config import Config
from theory_experiments.theorems.solved_flows.hadamard_claims import hadamard_claims
from theory_experiments.theorems.solved_flows.losses import loss_claims
from theory_experiments.theorems.solved_flows.measurement import Data
from theory_experiments.theorems.solved_flows.ray import ray_claims

__all__ = ["check"]


def check(config: Config, data: Data) -> list[Claim]:
    """Invariants, the ray, the singular values, the Lyapunov function, and the constants of losses."""
    claims = [*ray_claims(config, data.rays), *hadamard_claims(config, data.diagonals, data.excess)]
    claims += loss_claims(data.direct, data.constants)
    coarse = [each.path for each in data.rays if each.rtol == max(config.ray_rtols)]
    fine = [each.path for each in data.diagonals]
    kept = [*(invariant_claims(coarse, max(config.ray_rtols)) if coarse else ())]
    kept += invariant_claims(fine, config.hadamard_rtol) if fine else []
    return [*kept, *claims]
