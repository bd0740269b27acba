"""The phase diagram: margins in colour, the line, and the ends of flows."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from theory_experiments.theorems.phase_diagram.config import Config
from theory_experiments.theorems.phase_diagram.measurement import ZERO, Data, Point
from ulpm.plotting import style

__all__ = ["plot"]


def plot(config: Config, data: Data) -> Figure:
    """The margin in colour, the line, and the ends of flows, against K on the left and n on the right."""
    figure = style.new_figure(12, 5, "Where weight decay leaves a classifier · marks are ends of flows")
    left, right = figure.subplots(1, 2)
    _panel(left, data.over_classes, lambda p: p.setting.classes, lambda y: (y, 5.0))
    _panel(right, data.over_samples, lambda p: p.setting.samples, lambda y: (4.0, y))
    left.set(ylabel="classes $K$, with $n$ = 5")
    right.set(ylabel="samples of a class $n$, with $K$ = 4")
    for axes in (left, right):
        style.finish(axes)
    return figure


def _panel(
    axes: Axes,
    points: Sequence[Point],
    height: Callable[[Point], float],
    sizes: Callable[[np.ndarray], tuple[float | np.ndarray, float | np.ndarray]],
) -> None:
    """λ_Wλ_H across, the height of ``points`` up; ``sizes`` gives K and n at a height."""
    if not points:
        return
    products, heights = [point.product for point in points], [height(point) for point in points]
    x = np.geomspace(min(products) / 2, max(products) * 2, 300)
    y = np.geomspace(min(heights) / 1.3, max(heights) * 1.3, 200)
    K, n = (np.broadcast_to(size, y.shape)[:, None] for size in sizes(y))
    c = np.sqrt(n * x)
    # Beyond the line there is no margin to draw.
    q = np.ma.masked_where(K * c >= 1, np.log(np.maximum(1 - (K - 1) * c, c) / c))
    top = max(float(point.margins.max()) for point in points)
    scale: dict[str, Any] = {"cmap": "viridis_r", "vmin": 0, "vmax": top}
    mesh = axes.pcolormesh(x, y, q, rasterized=True, **scale)
    axes.figure.colorbar(mesh, ax=axes, label="margin $q$")
    axes.plot(1 / (n * K**2)[:, 0], y, **style.THEORY | {"color": "0", "linewidth": 1.6}, label="$Kc=1$")
    left = [point for point in points if float(point.margins.max()) >= ZERO]
    gone = [point for point in points if float(point.margins.max()) < ZERO]
    at = [point.product for point in left], [height(point) for point in left]
    axes.scatter(*at, color="white", s=110)
    axes.scatter(
        *at,
        c=[float(point.margins.median()) for point in left],
        edgecolors="black",
        s=45,
        label="collapsed",
        **scale,
    )
    axes.plot([p.product for p in gone], [height(p) for p in gone], "x", color="0", label="zero")
    axes.set(xscale="log", yscale="log", xlabel=r"$\lambda_W\lambda_H$")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticks(sorted(set(heights)), [f"{size:g}" for size in sorted(set(heights))])
    axes.legend(fontsize=8, loc="lower left")
