"""How small a recorded quantity may be before the tolerance of its flow, or the number format, is all that it shows."""

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.metrics.floors import rounding_floors
from ulpm.metrics.records import METRICS

__all__ = ["above_floor", "certificate_floors", "log_loss_floor", "metric_floors"]

# Multiples of rtol, or of its square. With them the battery of tests/ulpm/flow/test_reported_accuracy.py, 68 starts at
# rtol 1e-6 with 200 records each, is within 2% of rtol 1e-10 above the floors.
_OF_CLASSES = 3.0
_OF_PRODUCT = 15.0
_WITHIN_NARROW, _DISTANCE_NARROW, _PINV_WIDE, _PINV_OF_TWO = 0.6, 0.8, 6e-3, 9e3
_GAP, _SQUARED_GAP, _COMPLEMENTARITY, _STATIONARITY = 50.0, 4.5e8, 70.0, 105.0
_RESIDUAL = 50.0


def metric_floors(
    far_H: Float[Tensor, "*batch"],
    nc0: Float[Tensor, "*batch"],
    margin: Float[Tensor, "*batch"],
    num_classes: int,
    feature_dim: int,
    rtol: float,
    epsilon: float,
) -> dict[str, Float[Tensor, "*batch"]]:
    """Of each metric the value below which a record may be more than 2% off: the larger of two floors.

    That of the number format is ``ulpm.metrics.precision_floors`` with q = q_W = 1, for features of size η/m =
    ``far_H`` and a classifier with ‖W̄‖²/‖W‖² = 1 − nc0²/K. That of the tolerance was measured:

        nc2_*, nc3_difference, nc3_duality     3 rtol
        nc3_product                            15 rtol, since a Gram matrix sees the error of both factors
        nc1_pinv, nc1_ratio, nc1_cdnv          0.6 rtol² if d < K, where they vanish faster than the error
        nc1_distance                           0.8 rtol  if d < K
        nc1_pinv                               rtol²·0.006 if d ≥ K, where the features keep what is orthogonal to W and
                                               the other three have no floor of this kind; of two classes also
                                               9000 rtol²/max(1, q_min)², as what the residual may be off by moves the
                                               features by rtol/q_min along their one direction; at most 3 rtol/q_min
        nc0, nc4_mismatch                      none: conserved but for rounding, and a count

    ``rtol`` is 0 for descent, whose steps are what they are. Late in a run errors fade, so that this is cautious there.
    """
    K = num_classes
    far_W = (1 - nc0.square() / K).clamp(min=epsilon).rsqrt()
    narrow = feature_dim < K
    tolerance = dict.fromkeys(METRICS, _OF_CLASSES * rtol) | {
        "nc0": 0.0,
        "nc1_pinv": (_WITHIN_NARROW if narrow else _PINV_WIDE) * rtol**2,
        "nc1_ratio": _WITHIN_NARROW * rtol**2 * narrow,
        "nc1_cdnv": _WITHIN_NARROW * rtol**2 * narrow,
        "nc1_distance": _DISTANCE_NARROW * rtol * narrow,
        "nc3_product": _OF_PRODUCT * rtol,
        "nc4_mismatch": 0.0,
    }
    rounding = dict.fromkeys(METRICS, torch.zeros_like(far_H)) | rounding_floors(far_H, far_W, K, epsilon)
    floors = {key: floor.clamp(min=tolerance[key]) for key, floor in rounding.items()}
    if K == 2 and not narrow:
        moved = rtol / margin.clamp(min=1)
        of_two = torch.minimum(_PINV_OF_TWO * moved.square(), _OF_CLASSES * moved)
        floors["nc1_pinv"] = torch.maximum(floors["nc1_pinv"], of_two)
    return floors


def certificate_floors(
    squared_norm: Float[Tensor, "*batch"],
    margin: Float[Tensor, "*batch"],
    stationarity: Float[Tensor, "*batch"],
    rtol: float,
    epsilon: float,
) -> dict[str, Float[Tensor, "*batch"]]:
    """The same of a certificate's gap and KKT residuals.

    A step may change the residual R/L by rtol·(3 + 100 s), s = min(1, stationarity), and rounding of margins by 2ερ²:
    with r the sum of both, floors are 70 r/max(1, q_min) of complementarity, and of stationarity 105 rtol + 50·2ερ².
    That of the gap is the smaller of 50 r and 4.5·10⁸ (rtol + 2ερ²)²: near the optimum the gap is the square of a
    distance, which is off by some 100 rtol.
    """
    rounding = 2 * epsilon * squared_norm
    residual = rtol * (3 + 100 * stationarity.clamp(max=1)) + rounding
    return {
        "gap": torch.minimum(_GAP * residual, _SQUARED_GAP * (rtol + rounding).square()),
        "stationarity": _STATIONARITY * rtol + 50 * rounding,
        "complementarity": _COMPLEMENTARITY * residual / margin.clamp(min=1),
    }


def log_loss_floor(
    squared_norm: Float[Tensor, "*batch"], num_samples: int, rtol: float, epsilon: float
) -> Float[Tensor, "*batch"]:
    """log of the squared error ½‖Y − Z‖² below which it may be more than 2% off where it falls to 0.

    It is log ½(50 (rtol √N + ερ²))²: a step may change the residual by rtol·‖Y‖, ‖Y‖ = √N, and rounding of logits does
    by ερ². The 50 leaves room for what many steps add up to.
    """
    residual = _RESIDUAL * (rtol * num_samples**0.5 + epsilon * squared_norm)
    floor: Tensor = (residual.square() / 2).log()
    return floor


def above_floor(values: Float[Tensor, "*batch"], floor: Float[Tensor, "*batch"] | None) -> Float[Tensor, "*batch"]:
    """``values`` with nan where they are below their floor, if they have one."""
    return values if floor is None else torch.where(values.abs() >= floor, values, torch.nan)
