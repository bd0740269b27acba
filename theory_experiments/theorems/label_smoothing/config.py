"""The settings with smoothed labels, and the negative controls."""

import dataclasses

__all__ = ["FALSIFIED", "FEW", "FULL", "QUICK", "SIZE", "Config"]

SIZE = (4, 5, 20)
FEW = (4, 3, 6)  # K, n and d where a Hessian is decomposed


@dataclasses.dataclass(frozen=True)
class Config:
    """``strengths`` are Kc/(1 − α); ``scales`` are of starts without decay. From ``smoothing_factor`` on: controls."""

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
FALSIFIED = {
    "the end is zero only for Kc ≥ 1, and its margin that of plain labels": dataclasses.replace(
        _ENDS, strengths=(1.2,), smoothing_factor=0.0
    ),
    "each wrong class has the label α, not α/K": dataclasses.replace(
        QUICK, strengths=(), scales=(1.0,), decays=(), rates=False, smoothing_factor=4.0
    ),
    "the rate is √n qα": dataclasses.replace(QUICK, strengths=(), scales=(), decays=(), rate_factor=4.0),
}
