"""Values of block points against the optimum, and how far flows that start there move."""

import torch
from matplotlib.figure import Figure

from theory_experiments.theorems.suboptimal_kkt_points.config import Config
from theory_experiments.theorems.suboptimal_kkt_points.measurement import Data, moved
from ulpm.plotting import style

__all__ = ["plot"]


def plot(config: Config, data: Data) -> Figure:
    """Left: values of the points against the optimum. Right: how far flows that start there move."""
    figure = style.new_figure(10.5, 4.4, "Block points: stationary, and one √n above the optimum")
    left, right = figure.subplots(1, 2)
    v = [point.problem.minimum_norm_value for point in data.points]
    equal = [point.problem.balanced for point in data.points]
    for balanced, marker, color in ((True, "o", style.COLORS[0]), (False, "D", style.COLORS[1])):
        chosen = [i for i, same in enumerate(equal) if same == balanced]
        left.plot(
            [v[i] for i in chosen],
            [data.points[i].value for i in chosen],
            marker,
            color=color,
            markerfacecolor="none",
            label=f"block points, {'equal' if balanced else 'unequal'} counts",
        )
    line = [0.7 * min(v), 1.4 * max(v)]
    left.plot(line, line, **style.THEORY, label="value = optimum")
    left.set(xlabel="optimum $v^*$ of the margin problem", ylabel="value ½$\\rho^2/q_{min}$ of the block point")
    left.set(xscale="log", yscale="log")
    late = slice(1, None)
    for path, (K, b, n), color in zip(data.paths, config.equal, style.COLORS, strict=False):
        log1p_time = torch.nn.functional.softplus(path.log_time[:, 0]).cpu()
        distance = moved(path)
        label = f"$K$ = {K}, $b$ = {b}, $n$ = {n}"
        right.plot(log1p_time[late], distance.quantile(0.5, dim=1)[late], color=color, label=label)
        right.fill_between(
            log1p_time[late], distance.amin(1)[late], distance.amax(1)[late], color=color, alpha=0.2, lw=0
        )
    guide = torch.tensor([10.0, config.log_time])
    right.plot(guide, 1e-16 * (guide / 10).sqrt(), **style.THEORY, label=r"rounding, amplified $\propto(\log t)^{1/2}$")
    right.set(xscale="log", yscale="log", xlabel=r"$\log(1+t)$", ylabel="distance of the direction from its start")
    right.set_title("median and range over rotated copies of the start", fontsize=9)
    for axes in (left, right):
        style.finish(axes)
        axes.legend(fontsize=8, frameon=False)
    return figure
