"""The sizes of the phase diagram, and its negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Each point has an eighth of the ``starts``. From ``count_power`` on: negative controls."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    rtol: float = 1e-6
    classes: tuple[int, ...] = (2, 3, 4, 8, 16)
    samples: tuple[int, ...] = (1, 3, 10, 30, 100)
    strengths: tuple[float, ...] = (0.01, 0.1, 0.5, 0.95, 1.05, 1.5, 5.0)
    ratio: float = 9.0
    count_power: float = 1.0  # of n in c²
    line: float = 1.0  # the value of Kc on the line


FULL = Config()
QUICK = Config(starts=8, classes=(4,), samples=(10,), strengths=(0.1, 0.9, 1.2))
_ONE = dataclasses.replace(QUICK, samples=())
NEGATIVE_CONTROLS = {
    "the line K√(λ_Wλ_H) = 1 is claimed, without n": dataclasses.replace(_ONE, strengths=(1.2,), count_power=0.0),
    "the line 2Kc = 1 is claimed": dataclasses.replace(_ONE, strengths=(0.9,), line=0.5),
}
