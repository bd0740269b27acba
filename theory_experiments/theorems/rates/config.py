"""The runs of the rates, and the negative controls."""

import dataclasses

__all__ = ["FULL", "NEGATIVE_CONTROLS", "QUICK", "SHARP", "SHARP_RANGE", "Config"]

# The quantities whose exponents are claimed to 0.01: those of the paper, and the same with raw rows.
SHARP = (
    "nc1_distance",
    "nc2_norm_classifier",
    "nc2_norm_classifier_centered",
    "nc2_angle_classifier",
    "nc2_angle_classifier_centered",
    "nc2_etf_classifier",
    "nc2_etf_classifier_centered",
    "nc3_difference",
    "nc3_duality",
)
SHARP_RANGE = (1e3, 1e5)  # of log t


@dataclasses.dataclass(frozen=True)
class Config:
    """``fit_from`` is the log t from which exponents are fitted. Those of the sizes ``sharp`` are claimed to 0.01."""

    seed: int = 0
    starts: int = 32
    device: str = "cpu"
    log10_time: float = 1e5
    rtol: float = 1e-7
    records: int = 150
    fit_from: float = 1e4
    runs: tuple[str, ...] = ("balanced", "unequal", "centred")
    counts: tuple[int, ...] = (5, 5, 5, 5)
    dim: int = 20
    unequal_counts: tuple[int, ...] = (6, 3, 2)
    centred_as_generic: bool = False
    constant: str = "(K-1)√n"
    sharp: tuple[tuple[tuple[int, ...], int], ...] = (((5,) * 4, 20), ((50,) * 10, 64))
    sharp_starts: int = 8
    one_power: bool = False


FULL = Config()
QUICK = Config(
    starts=16, log10_time=1000.0, rtol=1e-6, records=60, fit_from=200.0, sharp=FULL.sharp[:1], sharp_starts=6
)
_FALSE = dataclasses.replace(QUICK, runs=("balanced",), starts=4, records=40, sharp=())
NEGATIVE_CONTROLS = {
    "v* = K√n is claimed, the value of the suboptimal KKT points": dataclasses.replace(_FALSE, constant="K√n"),
    "v* = (K−1)n is claimed": dataclasses.replace(_FALSE, constant="(K-1)n"),
    "d = 2 < K − 1: too small for collapse": dataclasses.replace(_FALSE, dim=2, log10_time=300.0, fit_from=50.0),
    "a start with Σ_k w_k = 0 is treated as generic": dataclasses.replace(_FALSE, centred_as_generic=True),
    "the power 1/log t is claimed for all, raw rows and distances included": dataclasses.replace(
        _FALSE, sharp=QUICK.sharp, one_power=True
    ),
}
