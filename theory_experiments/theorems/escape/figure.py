"""Values along some flows, and all exits against ε."""

import math

import torch
from matplotlib.figure import Figure

from theory_experiments.theorems.escape.config import Config
from theory_experiments.theorems.escape.measurement import Case
from ulpm.plotting import style

__all__ = ["plot"]


def plot(config: Config, data: tuple[Case, ...]) -> Figure:
    """Values along the flows of the first case; all exits in s and in log t against ε."""
    figure = style.new_figure(13.0, 4.3, "Escape from block points: the smaller the perturbation, the later the exit")
    values, in_s, in_time = figure.subplots(1, 3)
    first = data[0]
    chosen = torch.linspace(0, config.starts - 1, min(5, config.starts)).round().int().tolist()
    shades = torch.linspace(0.75, 0.0, len(chosen)).tolist()
    for i, shade in zip(chosen, shades, strict=True):
        label = f"$\\varepsilon$ = {style.number(float(first.size[i]))}"
        values.plot(first.path.log_time[:, i].cpu(), first.share[:, i] + first.K - 1, color=str(shade), label=label)
    for level, word in ((first.K, "block point, $K$"), (first.K - 1, "optimum, $K-1$")):
        values.axhline(level, **style.THEORY)
        values.annotate(word, (0.02, level), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    values.set(xscale="log", xlim=(10, config.log_time), ylim=(first.K - 1.1, first.K + 0.3))
    values.set(xlabel=r"$\log\,t$", ylabel=r"value ½$\rho^2/q_{min}$")
    values.set_title(f"K = {first.K}, b = {first.b}, n = {first.n}", fontsize=9)
    for case, color, marker in zip(data, style.COLORS, "osD", strict=False):
        label = f"$K$ = {case.K}, $b$ = {case.b}, $n$ = {case.n}"
        look = {"color": color, "marker": marker, "linestyle": "none", "markersize": 4, "label": label}
        s, log_time = case.exits(case.s), case.exits(case.path.log_time.cpu())
        in_s.plot(case.size, s, **look)
        in_time.plot(case.size, log_time, **look)
        slope = 1 / case.rate(config)
        middle = case.size.log().mean()
        in_s.plot(case.size, s.mean() - slope * (case.size.log() - middle), **style.THEORY)
        exponent = -2 * slope / (case.K * math.sqrt(case.n))
        in_time.plot(case.size, (log_time.log().mean() + exponent * (case.size.log() - middle)).exp(), **style.THEORY)
    for axes, words in ((in_s, "exit in $s = \\int L\\,dt$"), (in_time, r"exit in $\log\,t$")):
        axes.plot([], [], **style.THEORY, label="predicted slope")
        axes.set(xscale="log", xlabel="relative perturbation $\\varepsilon$ along the witness", ylabel=words)
    in_time.set_yscale("log")
    for axes in (values, in_s, in_time):
        style.finish(axes)
        axes.legend(fontsize=8, frameon=False)
    return figure
