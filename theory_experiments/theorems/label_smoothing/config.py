"""The settings with smoothed labels, and the negative controls."""

import dataclasses

__all__ = ["FEW", "FULL", "NEGATIVE_CONTROLS", "QUICK", "SIZE", "Config"]

SIZE = (4, 5, 20)
FEW = (4, 3, 6)  # K, n and d where a Hessian is decomposed


@dataclasses.dataclass(frozen=True)
class Config:
    """``strengths`` are Kc/(1 − α). ``scales`` are for starts without decay. The last fields are for controls."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    rtol: float = 1e-6
    smoothings: tuple[float, ...] = (0.05, 0.1, 0.3)
    strengths: tuple[float, ...] = (1e-4, 0.01, 0.1, 0.5, 0.95, 1.2, 3.0)
    scales: tuple[float, ...] = (0.1, 1.0, 3.0)
    decays: tuple[float, ...] = (1e-4, 1e-3)
    rates: bool = True
    smoothing_factor: float = 1.0
    rate_factor: float = 1.0


FULL = Config()
QUICK = Config(starts=2, smoothings=(0.3,), strengths=(0.1, 0.95, 1.2), scales=(0.1, 1.0), decays=(1e-3,))
_ENDS = dataclasses.replace(QUICK, scales=(), decays=(), rates=False)
NEGATIVE_CONTROLS = {
    "the end is claimed to be zero only for Kc ≥ 1, with the margin of plain labels": dataclasses.replace(
        _ENDS, strengths=(1.2,), smoothing_factor=0.0
    ),
    "the label α is claimed for each wrong class, not α/K": dataclasses.replace(
        QUICK, strengths=(), scales=(1.0,), decays=(), rates=False, smoothing_factor=4.0
    ),
    "the rate √n qα is claimed": dataclasses.replace(QUICK, strengths=(), scales=(), decays=(), rate_factor=4.0),
}
