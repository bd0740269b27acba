"""The figure of the rates: constants with their next terms, metrics with their powers, and all exponents."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.numerics.exponents import Interval
from theory_experiments.numerics.late_laws import quantities
from theory_experiments.theorems.rates.config import Config
from theory_experiments.theorems.rates.constants import constants
from theory_experiments.theorems.rates.exponents import claimed_exponents, measured_exponents, sharp_exponents
from theory_experiments.theorems.rates.measurement import Data
from ulpm.plotting import style
from ulpm.support import law_exponents

__all__ = ["plot"]

_CONSTANTS = (r"$L\,t\,\log t$ from $v^*/2$", r"$\rho^2/\log t$ from $2v^*$")
_SHOWN = (
    "nc1_distance",
    "nc3_difference",
    "nc2_norm_classifier",
    "nc3_duality",
    "nc2_norm_classifier_centered",
    "nc1_pinv",
)


def plot(config: Config, data: Data) -> Figure:
    """Constants with their next terms, metrics with their powers, and all exponents."""
    first = next(iter(data.paths.values()))
    intervals = measured_exponents(config, data)
    laws = {kind: claimed_exponents(config, kind, path) for kind, path in data.paths.items()}
    for path in data.sharp[1:]:  # the first has the size of the balanced run
        kind = f"balanced, K = {path.problem.num_classes}"
        intervals[kind], laws[kind] = sharp_exponents(path), law_exponents(path.problem)
    return _draw(first, constants(config, first), intervals, laws, config.starts)


def _draw(
    path: ulpm.Trajectory,
    constants: Sequence[tuple[str, Tensor, Tensor]],
    intervals: Mapping[str, Mapping[str, Interval]],
    laws: Mapping[str, Mapping[str, float]],
    starts: int,
) -> Figure:
    """``path`` and ``constants`` (name, distance, next term) are of the balanced run.

    ``intervals`` and ``laws`` are the measured and the predicted exponents of each kind of run.
    """
    heading = f"Constants and exponents of the late flow · {style.sizes(path.problem)} · {starts} starts"
    figure = style.new_figure(16, 7.6, heading)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
    (run,) = style.runs([path])
    _draw_constants(panels[0], run, constants)
    _draw_metrics(panels[1], run)
    _draw_exponents(panels[2], intervals, laws)
    for axes in panels:
        style.finish(axes)
    return figure


def _draw_constants(axes: Axes, run: style.Run, constants: Sequence[tuple[str, Tensor, Tensor]]) -> None:
    for i, (_, deviation, correction) in enumerate(constants):
        marks = {"linestyle": "none", "marker": "os"[i], "markersize": 4, "markevery": max(1, len(deviation) // 25)}
        style.draw(axes, run, deviation.abs(), color=style.COLORS[i], label=_CONSTANTS[i], **marks)
        style.draw(axes, run, correction.abs(), **style.THEORY)
    axes.plot([], [], **style.THEORY, label="next term of the expansion")
    axes.set(yscale="log", ylabel="relative distance from the limit")
    style.time_axis(axes, [run])
    axes.set_xlim(left=1)
    axes.set_ylim(top=3)
    axes.legend(fontsize=9, frameon=False)


def _draw_metrics(axes: Axes, run: style.Run) -> None:
    values = quantities(run.path)
    for i, name in enumerate(_SHOWN):
        power = law_exponents(run.path.problem)[name]
        label = f"{name}  {power:g}".replace("-", "−")
        style.draw(axes, run, values[name], color=style.COLORS[i], label=label, zorder=2)
        x, y = run.log10_time, style.summary(values[name])[1]
        late = x > 10
        axes.plot(x[late], y[-1] * (x[late] / x[-1]) ** power, **style.THEORY)
    axes.plot([], [], **style.THEORY, label="predicted power, through the last point")
    axes.set(yscale="log", ylabel="metric")
    style.time_axis(axes, [run])
    title = r"balanced: metric, power of $\log t$"
    axes.legend(fontsize=9, frameon=False, title=title, title_fontsize=9, loc="lower left")


def _draw_exponents(
    axes: Axes, intervals: Mapping[str, Mapping[str, Interval]], laws: Mapping[str, Mapping[str, float]]
) -> None:
    names = list(dict.fromkeys(name for found in intervals.values() for name in found))
    for i, (kind, found) in enumerate(intervals.items()):
        marker = "osD^"[i]
        axes.plot([], [], marker, color=style.COLORS[i], label=kind)
        for name, interval in found.items():
            y, predicted = names.index(name) + 0.22 * (i - 1.5), laws[kind].get(name)
            if predicted is not None:
                axes.plot([predicted] * 2, [y - 0.16, y + 0.16], color="0.25", linewidth=1.5)
            face = "none" if predicted is None else style.COLORS[i]
            looks: dict[str, Any] = {"fmt": marker, "color": style.COLORS[i], "markerfacecolor": face}
            axes.errorbar(interval.mean, y, xerr=interval.half_width, markersize=3.5, capsize=2.5, **looks)
    axes.plot([], [], color="0.25", linewidth=1.5, label="predicted")
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlim=(-3.3, 0.3))
    axes.set_xlabel(r"exponent of $\log t$ (95% intervals; hollow: no prediction)")
    axes.legend(fontsize=9, frameon=False, loc="center left", bbox_to_anchor=(0.08, 0.5))
