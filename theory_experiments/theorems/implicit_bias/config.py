"""The problems for the implicit bias, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """``power`` is the power of ρ in the smoothed margin; ``from_the_start`` drops the hypothesis L < log 2."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    log10_time: float = 1e4
    rtol: float = 1e-6
    records: int = 120
    problems: tuple[tuple[tuple[int, ...], int], ...] = (((5, 5, 5, 5), 20), ((6, 3, 2), 8), ((3, 3, 3, 3), 2))
    power: float = 2.0
    from_the_start: bool = False
    weight_decay: float = 0.0


FULL = Config()
QUICK = Config(starts=4, log10_time=100.0, records=40)
_SMALL = dataclasses.replace(QUICK, problems=QUICK.problems[:1])
NEGATIVE_CONTROLS = {
    "the smoothed margin has ρ⁴ in place of ρ²": dataclasses.replace(_SMALL, power=4.0),
    "the hypothesis L < log 2 is dropped": dataclasses.replace(
        QUICK, problems=QUICK.problems[2:], from_the_start=True, starts=16, log10_time=10.0
    ),
    "features are one-dimensional, so no run reaches L < log 2": dataclasses.replace(
        _SMALL, problems=(((3, 3, 3, 3), 1),), log10_time=2.0
    ),
    "weight decay 0.01 is added to the flow": dataclasses.replace(_SMALL, weight_decay=0.01, log10_time=2.2),
}
