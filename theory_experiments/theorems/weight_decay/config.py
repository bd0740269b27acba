"""The settings with weight decay, and the negative controls."""

import dataclasses

from theory_experiments.numerics.decayed_ends import Setting

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "Config"]

_SIZES = ((4, 5, 20), (10, 10, 12), (2, 3, 3))


@dataclasses.dataclass(frozen=True)
class Config:
    """``ends`` are settings. ``exponents`` are −log10 λ for departures, ``far`` those for limits of the direction."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    rtol: float = 1e-6
    ends: tuple[Setting, ...] = tuple(
        Setting(K, n, d, strength, ratio)
        for K, n, d in _SIZES
        for strength, ratio in ((1e-6, 1.0), (0.01, 100.0), (0.5, 0.01), (0.95, 1.0), (1.05, 1.0), (2.0, 4.0))
    )
    exponents: tuple[int, ...] = (4, 8, 16, 32)
    records: int = 200  # of departures
    far: tuple[int, ...] = (4, 8, 16, 32, 64, 100)
    counts: tuple[int, ...] = (6, 3, 2)
    followed: int = 8  # starts of the flows that depart, and of those with unequal counts
    ratios: tuple[int, ...] = (4, 12, 20, 23, 26, 30, 48)
    minority_decay: float = 0.02
    sample_factor: float = 1.0
    departure_power: float = 1.0
    limit: str = "SELI"
    threshold_factor: float = 1.0


FULL = Config()
QUICK = Config(
    starts=2,
    ends=tuple(Setting(4, 5, 4, strength, ratio) for strength, ratio in ((0.01, 100.0), (0.95, 1.0), (1.2, 1.0))),
    exponents=(4, 8),
    records=80,
    far=(6, 20),
    followed=2,
    ratios=(23, 26),
)
_NOTHING = dataclasses.replace(QUICK, ends=(), exponents=(), far=(), ratios=())
NEGATIVE_CONTROLS = {
    "c = √(λ_Wλ_H) is claimed, without n": dataclasses.replace(_NOTHING, ends=QUICK.ends[:1], sample_factor=0.2),
    "departure at t ∝ λ^(−1/2) is claimed": dataclasses.replace(_NOTHING, exponents=(4, 8), departure_power=0.5),
    "a simplex is claimed as the limit of the direction for unequal counts": dataclasses.replace(
        _NOTHING, far=(6, 20), limit="simplex"
    ),
    "rare classes are claimed to merge at twice the threshold": dataclasses.replace(
        _NOTHING, ratios=(30,), threshold_factor=2.0
    ),
}
