"""The problems, norms and searches, and the negative controls."""

import dataclasses
import math

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "SHORT", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """``problems`` (class counts, d). ``margins`` are margins q of collapse and set the norms of the comparison.

    At the margins ``searched`` there are searches, each of ``iterations`` steps, and tests of the second order.
    The direction claimed to be lowest is made from ``frame``, with W multiplied and H divided by ``stretch``. The
    bound by D is multiplied by ``price``.
    """

    seed: int
    starts: int
    problems: tuple[tuple[tuple[int, ...], int], ...]
    margins: tuple[float, ...]
    searched: tuple[float, ...]
    iterations: int
    frame: str = "simplex"
    stretch: float = 1.0
    price: float = 1.0
    device: str = "cpu"


FULL = Config(
    seed=0,
    starts=32,
    problems=(((4,) * 2, 2), ((2,) * 3, 2), ((5,) * 4, 8), ((1,) * 6, 5), ((5,) * 10, 16)),
    margins=(0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 1e2, 1e3, 1e4, 1e5, 1e6),
    searched=(0.5, 5.0, 50.0),
    iterations=1500,
)
QUICK = dataclasses.replace(
    FULL, starts=4, problems=(((2,) * 3, 2), ((2,) * 4, 5)), searched=(1.0, 10.0), iterations=600
)
SHORT = dataclasses.replace(QUICK, starts=2, problems=(((2,) * 4, 5),), iterations=200)
NEGATIVE_CONTROLS = {
    "the class counts are unequal": dataclasses.replace(SHORT, problems=(((6, 3, 2, 1), 5),)),
    "an orthogonal frame is called collapse": dataclasses.replace(SHORT, frame="orthogonal"),
    "W is twice as long as H": dataclasses.replace(SHORT, stretch=math.sqrt(2)),
    "d = K − 2, one dimension too few": dataclasses.replace(SHORT, problems=(((2,) * 4, 2),)),
    "the bound is claimed with 2D": dataclasses.replace(SHORT, price=2.0),
}
