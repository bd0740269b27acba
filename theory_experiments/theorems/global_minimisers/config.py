"""The problems to solve and to follow, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "SHORT", "Config", "Size"]

Size = tuple[tuple[int, ...], int]  # class counts, feature dimension


@dataclasses.dataclass(frozen=True)
class Config:
    """``grid``: problems to solve. ``flows``: problems whose flow starts at random. The constant is (K − c)√n."""

    seed: int
    starts: int
    grid: tuple[Size, ...]
    flows: tuple[Size, ...]
    log_time: float
    c: float = 1.0
    device: str = "cpu"


FULL = Config(
    seed=0,
    starts=32,
    grid=tuple(((n,) * K, d) for K in (2, 3, 4, 6, 10) for n in (1, 5, 50) for d in (K - 1, K, 2 * K)),
    flows=(((2,) * 3, 3), ((5,) * 4, 8), ((1,) * 6, 6), ((2,) * 10, 12)),
    log_time=1e6,
)
QUICK = Config(seed=0, starts=4, grid=(((3,) * 4, 3), ((1,) * 6, 8)), flows=(((5,) * 4, 8),), log_time=1e5)
SHORT = dataclasses.replace(QUICK, starts=2, log_time=1e3)
NEGATIVE_CONTROLS = {
    "the constant K√n is claimed": dataclasses.replace(SHORT, c=0.0),
    "d = K − 2, one dimension too few": dataclasses.replace(SHORT, grid=(((1,) * 5, 3),), flows=(((1,) * 5, 3),)),
    "the counts are unequal": dataclasses.replace(SHORT, grid=(((6, 3, 2, 1), 4),), flows=(((6, 3, 2, 1), 4),)),
}
