"""The value along each flow, by the kind of the KKT point near its end."""

import collections
import math

from matplotlib.figure import Figure

from theory_experiments.theorems.narrow_features.config import Config
from theory_experiments.theorems.narrow_features.measurement import Size
from ulpm.plotting import style

__all__ = ["LOOKS", "WORDS", "plot"]

LOOKS = {"minimum": ("0.1", "-"), "saddle": (style.COLORS[1], "-."), "undecided": (style.COLORS[4], ":")}
LOOKS["unresolved"] = LOOKS["undecided"]
WORDS = {"minimum": "strict local minimum", "saddle": "saddle", "undecided": "undecided", "unresolved": "undecided"}


def plot(config: Config, data: tuple[Size, ...]) -> Figure:
    """One panel for each size: ½ρ²/q_min along the flows, by the kind of the KKT point near their ends."""
    columns = min(4, len(data))
    rows = math.ceil(len(data) / columns)
    figure = style.new_figure(3.6 * columns, 0.7 + 3.0 * rows, "Flows with $d < K$, and the KKT points near their ends")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, size in zip(panels, data, strict=False):
        problem = size.path.problem
        value = size.path.columns()["upper_bound"].cpu()
        counts = collections.Counter(WORDS[ending.kind] for ending in size.endings)
        shown: set[str] = set()
        for i, ending in enumerate(size.endings):
            color, line = LOOKS[ending.kind]
            words = WORDS[ending.kind]
            label = f"{words}: {counts[words]}" if words not in shown else None
            shown.add(words)
            log_time = size.path.log_time[:, i].cpu()
            axes.plot(log_time, value[:, i], color=color, linestyle=line, linewidth=0.9, alpha=0.7, label=label)
        levels = sorted({round(ending.value, 6) for ending in size.endings if ending.kind in ("minimum", "saddle")})
        for level in levels:
            axes.axhline(level, **style.THEORY)
        if math.isfinite(size.best):
            at = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            words = axes.annotate(
                f"{size.best:.4f}", (0.98, size.best), (0, -3), **at, ha="right", va="top", fontsize=8
            )
            words.set_in_layout(False)
        base = problem.num_classes - 1
        axes.set(xscale="log", xlim=(3, config.log_time), ylim=(base - 0.1, 1.35 * base + 1))
        if math.isfinite(size.best):
            axes.set_ylim(0.98 * size.best, 1.13 * size.best)
        axes.set_title(f"$K$ = {problem.num_classes}, $d$ = {problem.feature_dim}", fontsize=10)
        axes.set(xlabel=r"$\log\,t$", ylabel=r"value ½$\rho^2/q_{min}$")
        style.finish(axes)
        axes.legend(fontsize=8, frameon=False, loc="upper right")
    for axes in panels[len(data) :]:
        axes.remove()
    return figure
