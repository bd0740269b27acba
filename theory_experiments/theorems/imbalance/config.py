"""The imbalances, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "Config"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Two frequent and two rare classes at several imbalances, and the end time of the flow."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    majority: int = 2
    minority: int = 2
    minority_count: int = 2
    ratios: tuple[int, ...] = (1, 10, 100)
    feature_dim: int = 6
    log_time: float = 1e6
    rtol: float = 1e-6
    records: int = 80
    geometry: str = "SELI"  # claimed for the classifier's Gram matrix and nc3_difference; or "ETF"
    constant: str = "SELI"  # whose v* is claimed; or "balanced"
    exponent: float = -2.0  # claimed for nc1_pinv


FULL = Config()
QUICK = Config(starts=3, ratios=(4,), log_time=3e3, records=30)
_SMALL = dataclasses.replace(QUICK, starts=2, ratios=(4,), log_time=1e3)
NEGATIVE_CONTROLS = {
    "the classifier is claimed to be an ETF": dataclasses.replace(_SMALL, geometry="ETF"),
    "the value of equal counts, (K − 1)√(N/K), is claimed": dataclasses.replace(_SMALL, constant="balanced"),
    "the exponent of equal counts, −3, is claimed": dataclasses.replace(_SMALL, exponent=-3.0),
    "d = 2 features, fewer than K − 1": dataclasses.replace(_SMALL, feature_dim=2),
}
