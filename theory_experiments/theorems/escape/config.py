"""The block points to escape from, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "SHORT", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Starts near block points of ``cases`` (K, b, n) with smallest margin ``margin``, ε log-spaced over ``sizes``.

    ``witness`` and ``noise`` are the shares of ε along the witness and orthogonal to it; ``forget_growth`` predicts the
    rate ‖R‖_op/L.
    """

    seed: int
    starts: int
    cases: tuple[tuple[int, int, int], ...]
    log_time: float
    records: int
    sizes: tuple[float, float] = (1e-3, 1e-1)
    margin: float = 4.0
    witness: float = 1.0
    noise: float = 1.0
    forget_growth: bool = False
    device: str = "cpu"


FULL = Config(seed=0, starts=32, cases=((4, 2, 1), (4, 2, 5)), log_time=3e7, records=400)
QUICK = Config(seed=0, starts=3, cases=((4, 2, 1),), log_time=1e6, records=240, sizes=(5e-3, 1e-1))
SHORT = dataclasses.replace(QUICK, starts=2, log_time=1e4, sizes=(2e-2, 1e-1))
NEGATIVE_CONTROLS = {
    "the rate ‖R‖_op/L is claimed, without the growth of the norm": dataclasses.replace(SHORT, forget_growth=True),
    "the start is the block point itself": dataclasses.replace(SHORT, witness=0.0, noise=0.0),
}
