"""The sizes of the solved flows, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """``rays`` and ``hadamard`` are sizes (K, n, d), with ``starts`` starts each.

    ``gammas`` are exponents of focal loss, 0 for cross-entropy. ``points`` is the number of random σ for each K.

    The settings from ``time_factor`` on are for the negative controls.
    """

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    rays: tuple[tuple[int, int, int], ...] = ((2, 5, 3), (3, 1, 2), (4, 5, 20), (7, 3, 6), (10, 50, 12), (20, 2, 25))
    ray_rtols: tuple[float, ...] = (1e-6, 1e-9)
    log10_time: float = 1e6
    records: int = 60
    hadamard: tuple[tuple[int, int, int], ...] = ((4, 5, 3), (8, 2, 10), (16, 1, 15))
    hadamard_rtol: float = 3e-11
    hadamard_records: int = 150
    points: int = 20_000
    gammas: tuple[float, ...] = (0.0, 1.0, 2.0)
    time_factor: float = 2.0
    noise: float = 0.0
    turned: bool = False
    excess: float = 1.0
    function: str = "lyapunov"
    kappa_is_one: bool = False


FULL = Config()
QUICK = Config(
    starts=4,
    rays=((3, 1, 2), (4, 5, 20)),
    ray_rtols=(1e-6,),
    records=30,
    hadamard=((4, 5, 3), (16, 1, 15)),
    hadamard_records=80,
    hadamard_rtol=1e-8,
    points=500,
)
_RAY = dataclasses.replace(QUICK, starts=2, rays=((4, 5, 20),), hadamard=(), gammas=())
_HADAMARD = dataclasses.replace(QUICK, starts=3, rays=(), hadamard=((4, 5, 3),), gammas=(), points=10)
NEGATIVE_CONTROLS = {
    "the closed form has K√n in place of 2K√n": dataclasses.replace(_RAY, time_factor=1.0),
    "the start is 1% away from the ray": dataclasses.replace(_RAY, noise=0.01),
    "the singular vectors are not characters": dataclasses.replace(_HADAMARD, turned=True),
    "the start is not balanced: a = 2√n b": dataclasses.replace(_HADAMARD, excess=2.0),
    "log(max σ/min σ) is claimed as a Lyapunov function": dataclasses.replace(
        _HADAMARD, hadamard=((16, 1, 15),), function="log_ratio"
    ),
    "κ = 1 is claimed for focal loss of γ = 2": dataclasses.replace(_RAY, rays=(), gammas=(2.0,), kappa_is_one=True),
}
