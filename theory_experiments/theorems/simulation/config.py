"""The size of the simulated flow, and its negative controls."""

import dataclasses
import math

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Balanced classes unless ``counts`` says otherwise."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    counts: tuple[int, ...] = (50,) * 10
    dim: int = 64
    log10_time: float = 1000.0
    rtol: float = 1e-6
    records: int = 100
    guide_as_law: bool = False

    @property
    def fit_from(self) -> float:
        """The log t from which exponents are fitted: the start of its last decade."""
        return self.log10_time * math.log(10) / 10


FULL = Config()
QUICK = Config(starts=4, counts=(5,) * 4, dim=16, records=50)
NEGATIVE_CONTROLS = {
    "the counts are unequal": dataclasses.replace(QUICK, counts=(20, 10, 5, 1)),
    "d = 2 < K − 1: a simplex does not fit": dataclasses.replace(QUICK, dim=2, log10_time=100.0),
    "the guide 1/log t is claimed as the law of all four panels": dataclasses.replace(QUICK, guide_as_law=True),
}
