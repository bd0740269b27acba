"""The losses and their sizes, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """``gammas`` are exponents of focal loss, 0 for cross-entropy. From ``kappa_is_one`` on: negative controls."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    classes: int = 4
    samples: int = 5
    dim: int = 20
    gammas: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 5.0)
    log10_time: float = 1e6
    rtol: float = 1e-6
    smoothing: float = 0.1
    ending: tuple[str, ...] = ("smoothed labels", "squared error")
    ending_rtol: float = 1e-9
    small: float = 0.03
    kappa_is_one: bool = False
    value: str = "(K-1)√n"
    end_factor: float = 1.0  # multiplies K in the margin of smoothed labels
    end_frame: str = "orthogonal"
    power_law: bool = False


FULL = Config()
QUICK = Config(starts=2, gammas=(0.0, 2.0), log10_time=1e4)
_ENDLESS = dataclasses.replace(QUICK, gammas=(2.0,), log10_time=1e3, ending=())
_ENDING = dataclasses.replace(QUICK, gammas=())
NEGATIVE_CONTROLS = {
    "κ = 1 is claimed for focal loss of γ = 2": dataclasses.replace(_ENDLESS, kappa_is_one=True),
    "v* = K√n is claimed": dataclasses.replace(_ENDLESS, gammas=(0.0,), value="K√n"),
    "the margin log(1 + (1 − α)/α) is claimed for smoothed labels": dataclasses.replace(
        _ENDING, ending=("smoothed labels",), end_factor=0.25
    ),
    "a simplex is claimed as the end of squared error": dataclasses.replace(
        _ENDING, ending=("squared error",), end_frame="simplex"
    ),
    "the distance from the end is claimed to be a power of t": dataclasses.replace(
        _ENDING, ending=("squared error",), power_law=True
    ),
}
