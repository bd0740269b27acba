"""Where to search for critical points, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "SHORT", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Block points of ``blocks`` (K, b, n) with d = K … K + 2, and critical points of ``problems`` (K, n).

    ``dims`` contains d − K; the claims are about values of at least ``claimed_from``. ``weight`` is the factor of
    ‖R‖_op in the formula. ``displacement``, relative to ρ, moves points away.
    """

    seed: int
    starts: int
    blocks: tuple[tuple[int, int, int], ...]
    problems: tuple[tuple[int, int], ...]
    dims: tuple[int, ...]
    norms: tuple[float, ...]
    iterations: int
    claimed_from: int = 0
    weight: float = 1.0
    displacement: float = 0.0
    device: str = "cpu"


FULL = Config(
    seed=0,
    starts=32,
    blocks=((4, 2, 1), (4, 2, 5), (6, 2, 1), (6, 3, 2), (9, 3, 1)),
    problems=((4, 1), (3, 2)),
    dims=(-2, -1, 0, 1, 2),
    norms=(4.0, 8.0),
    iterations=80,
)
QUICK = dataclasses.replace(
    FULL, starts=8, blocks=((4, 2, 1),), problems=((3, 1),), dims=(-1, 0, 1), norms=(5.0,), iterations=50
)
SHORT = dataclasses.replace(QUICK, starts=4, dims=(0,))
NEGATIVE_CONTROLS = {
    "d = 2 for four classes": dataclasses.replace(
        SHORT, starts=8, problems=((4, 1),), dims=(-2,), claimed_from=-2, norms=(8.0,)
    ),
    "the curvature μ − ½‖R‖_op is claimed": dataclasses.replace(SHORT, weight=0.5),
    "points are displaced by 1e-3": dataclasses.replace(SHORT, displacement=1e-3),
}
