"""The rates of descent, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """``momentum_time`` is the flow time of a step over η, by default 1/(1−β). ``threshold`` multiplies ρ²."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    counts: tuple[int, ...] = (5, 5, 5, 5)
    dim: int = 10
    rates: tuple[float, ...] = (0.04, 0.02, 0.01)
    momentum: float = 0.3
    momentum_time: float | None = None
    times: tuple[float, ...] = (3.0, 30.0, 100.0)
    scaled_rates: tuple[float, ...] = (0.1, 0.05, 0.025)
    threshold: float = 1.0
    flow_records: int = 150


FULL = Config()
QUICK = Config(starts=8, rates=(0.02, 0.01), times=(2.0, 6.0), scaled_rates=(0.2,), flow_records=30)
_FALSE = dataclasses.replace(QUICK, rates=(0.04, 0.02))
NEGATIVE_CONTROLS = {
    "a step with momentum is counted as η of flow time, not η/(1−β)": dataclasses.replace(_FALSE, momentum_time=1.0),
    "the rate is beyond stability": dataclasses.replace(_FALSE, rates=(2.0, 1.0), times=(4.0, 12.0)),
    "the loss-scaled rate is claimed to be stable up to four times the norm": dataclasses.replace(
        _FALSE, threshold=4.0
    ),
}
