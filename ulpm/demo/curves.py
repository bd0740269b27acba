"""The three panels beside the scene: collapse metrics, loss, and what each moment proves about the optimum."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from ulpm.demo.clock import power_of_ten, scientific, spread_out

__all__ = ["Curve", "Panel", "bounds_panel", "distance_panel", "loss_panel", "metrics_panel"]

# Below, a metric is drawn at the edge of its panel.
_LEAST_METRIC = -14.0
_METRICS = {
    "nc1_pinv": "NC1 spread",
    "nc2_angle_means": "NC2 angles",
    "nc3_duality": "NC3 self-duality",
}
# What takes the place of a metric that was not measured: ‖Wᵀ/‖W‖ − M/‖M‖‖, in which raw rows keep their mean.
_INSTEAD = {"nc3_duality": ("nc3_difference", "NC3 difference")}


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line: where it runs (None: nowhere), and each value as words. ``band``: filled up to the next curve."""

    name: str
    heights: list[float | None]
    words: list[str]
    band: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
    """Curves over the common time axis on a vertical axis of their own.

    ``level`` is a dashed line, with a name above its ``level_end``.
    """

    title: str
    curves: list[Curve]
    range: tuple[float, float]
    ticks: list[tuple[float, str]]
    level: tuple[float, str] | None = None
    level_end: Literal["left", "right"] = "right"


def metrics_panel(metrics: Mapping[str, Float[Tensor, " F"]]) -> Panel:
    """Three metrics that vanish at neural collapse, on a logarithmic axis that holds 10 and all that is greater.

    NC3 is the self-duality of Ji, Lu, Zhang, Deng and Su where it was measured, else the difference of classifier and
    means, under its own name.
    """
    shown = dict(entry if entry[0] in metrics else _INSTEAD[entry[0]] for entry in _METRICS.items())
    logs = {key: metrics[key].log10() for key in shown}
    finite = [value[value.isfinite()] for value in logs.values() if bool(value.isfinite().any())]
    bottom = max(_LEAST_METRIC, math.floor(min(float(value.min()) for value in finite)))
    top = max(1.0, max(float(value.max()) for value in finite) + 0.3)
    step = 1 if bottom >= -3 else 2 if bottom >= -6 else 4
    ticks = [(float(y), "1" if y == 0 else power_of_ten(y)) for y in range(0, int(bottom) - 1, -step)]
    curves = [
        Curve(name, [max(y, bottom) for y in logs[key].tolist()], [scientific(y) for y in logs[key].tolist()])
        for key, name in shown.items()
    ]
    return Panel("Distance from neural collapse", curves, (bottom - 0.3, top), ticks)


def distance_panel(distance: Float[Tensor, " F"], title: str, name: str) -> Panel:
    """A distance on a logarithmic axis that ends at 2."""
    values = distance.log10().tolist()
    bottom = math.floor(min(values))
    ticks = [(float(y), "1" if y == 0 else power_of_ten(y)) for y in range(0, bottom - 1, -1)]
    return Panel(title, [Curve(name, values, [scientific(y) for y in values])], (bottom - 0.1, math.log10(2)), ticks)


def loss_panel(
    log10_loss: Float[Tensor, " F"], title: str, name: str = "loss L", error: Float[Tensor, " F"] | None = None
) -> Panel:
    """log10 L on an axis that is even near 1 and logarithmic in log10 L far from it, as the time axis is.

    With an ``error``, the share of samples that are classified wrongly, as a second curve, which ends where it is 0.
    """

    def warped(y: float) -> float:
        return math.copysign(math.log10(1 + abs(y)), y)

    values = log10_loss.tolist()
    low, high = warped(min(values)), warped(max(max(values), 0.5))
    marks = [*(-(10.0**k) for k in range(19, -1, -1)), 0.0, 1.0]
    names = {0.0: "1", 1.0: "10"}
    ticks = [(warped(y), names.get(y) or power_of_ten(y)) for y in marks if low <= warped(y) <= high + 0.1]
    ticks = spread_out(ticks, 0.17 * (high - low))
    curves = [Curve(name, [warped(y) for y in values], [scientific(y) for y in values])]
    if error is not None:
        heights = [max(low, warped(math.log10(x))) if x > 0 else None for x in error.tolist()]
        curves.append(Curve("training error", heights, [f"{100 * x:.3g}%" for x in error.tolist()]))
    return Panel(title, curves, (low - 0.1, high + 0.15), ticks)


def bounds_panel(
    lower: Float[Tensor, " F"], upper: Float[Tensor, " F"], level: tuple[float, str] | None, logarithmic: bool = False
) -> Panel:
    """Lower and upper bound of the optimum v* that each moment proves, and v* where it is known.

    Its name is at the end, where the bounds of a flow have met it. Those of a network, on a logarithmic axis, stay
    close to it on either side; at the start there is no upper bound yet, and room.
    """
    place = math.log10 if logarithmic else float
    low = float(lower.min())
    found = upper[upper.isfinite()] if bool(upper.isfinite().any()) else lower
    if logarithmic:
        bottom, top = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(float(found.max())))
    else:
        bottom, top = 0.75 * low, 1.7 * float(found[-1])
    marks = _decades(bottom, top) if logarithmic else _round_marks(bottom, top)
    curves = []
    for name, bound in (("proven upper bound", upper), ("proven lower bound", lower)):
        heights = [place(min(x, 2 * top)) if math.isfinite(x) else None for x in bound.tolist()]
        words = [f"{x:.6g}" if math.isfinite(x) else "none yet" for x in bound.tolist()]
        curves.append(Curve(name, heights, words, band=bound is upper))
    return Panel(
        "Optimum v* of the margin problem: bounds",
        curves,
        (place(bottom), place(top)),
        [(place(x), f"{x:g}") for x in marks],
        None if level is None else (place(level[0]), level[1]),
        "left" if logarithmic else "right",
    )


def _round_marks(bottom: float, top: float) -> Sequence[float]:
    """Two to four round numbers between the two."""
    power = 10.0 ** math.floor(math.log10(top - bottom))
    step = next(step for step in (0.5 * power, power, 2 * power, 5 * power) if top - bottom < 4 * step)
    first = math.ceil(bottom / step)
    return [step * i for i in range(first, math.floor(top / step) + 1)]


def _decades(bottom: float, top: float) -> Sequence[float]:
    return [10.0**k for k in range(round(math.log10(bottom)), round(math.log10(top)) + 1)]


def plain(panel: Panel) -> dict[str, Any]:
    """The panel as JSON holds it: heights to four digits, which is finer than a pixel."""
    found = dataclasses.asdict(panel)
    for curve in found["curves"]:
        curve["heights"] = [None if y is None or math.isnan(y) else float(f"{y:.4g}") for y in curve["heights"]]
    return found
