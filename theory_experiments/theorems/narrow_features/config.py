"""The sizes with d < K, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Flows for ``sizes`` (K, d). ``expected`` are their values: K − 1 if d ≥ K − 1, else the best value known.

    ``departures``: whether a flow starts near a saddle that was found. The predicted growth is (log t)^{``rate``·κ}.
    """

    seed: int
    starts: int
    sizes: tuple[tuple[int, int], ...]
    log_time: float
    departures: bool = True
    rate: float = 0.5
    min_resolved: float = 0.75
    device: str = "cpu"


FULL = Config(seed=0, starts=32, sizes=((4, 3), (5, 4), (6, 5), (4, 2), (5, 2), (5, 3), (6, 3), (6, 4)), log_time=1e6)
QUICK = Config(seed=0, starts=3, sizes=((4, 3), (5, 3)), log_time=1e4)
NEGATIVE_CONTROLS = {
    "flows end at log t = 10": dataclasses.replace(QUICK, log_time=10.0),
    "flows leave a saddle like (log t)^κ": dataclasses.replace(QUICK, sizes=((5, 3),), rate=1.0),
}
