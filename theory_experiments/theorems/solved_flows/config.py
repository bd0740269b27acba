"""The settings of the experiment on solved flows."""

import dataclasses

__all__ = ["Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """``rays`` and ``hadamard`` are sizes (K, n, d), run from ``starts`` starts each; ``gammas`` are exponents of focal
    loss, 0 for cross-entropy; ``points`` are random σ for each K.

    From ``time_factor`` on these are settings of the negative controls.
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
