"""Curvature against the formula, and kinds of points by dimension."""

import torch
from matplotlib.figure import Figure

from theory_experiments.theorems.benign_landscape.config import Config
from theory_experiments.theorems.benign_landscape.measurement import Found
from ulpm.plotting import style

__all__ = ["KINDS", "WORDS", "plot"]

KINDS = ("global_minimum", "strict_saddle", "undetermined", "not_critical")
WORDS = ("proven global minimum", "strict saddle", "undetermined", "search failed")


def plot(config: Config, data: tuple[Found, ...]) -> Figure:
    """Left: curvature against the formula. Right: kinds by dimension."""
    figure = style.new_figure(11.0, 4.6, "Critical points of the loss on spheres")
    left, right = figure.subplots(1, 2)
    groups = (
        ("found, $d < K$", style.COLORS[1], "x", [f for f in data if f.excess < 0]),
        ("found, $d \\geq K$", style.COLORS[0], "o", [f for f in data if f.excess >= 0 and not f.of_blocks]),
        ("block points, $d \\geq K$", style.COLORS[6], "s", [f for f in data if f.of_blocks]),
    )
    for label, color, marker, chosen in groups:
        if not chosen:
            continue
        critical = torch.tensor([kind != "not_critical" for f in chosen for kind in f.kinds])
        scale = torch.cat([f.operator_norm for f in chosen])[critical]
        x = torch.cat([f.multiplier for f in chosen])[critical] / scale - 1
        y = torch.cat([f.curvature for f in chosen])[critical] / scale
        fill = {"markerfacecolor": "none"} if marker != "x" else {}
        left.plot(x, y, marker, color=color, markersize=5, label=label, **fill)
    ends = [min(-1.0, left.get_xlim()[0]), 0.0]
    left.plot(ends, ends, **style.THEORY, label=r"$\mu - \|R\|_{op}$")
    left.set(xlabel=r"$(\mu - \|R\|_{op})/\|R\|_{op}$", ylabel=r"least curvature$/\|R\|_{op}$")
    searched = [f for f in data if not f.of_blocks]
    dims = sorted({f.excess for f in searched})
    bottom = torch.zeros(len(dims), dtype=torch.float64)
    hatches = ("", "//", "xx", "..")
    for kind, words, color, hatch in zip(KINDS, WORDS, ("#0072B2", "#E69F00", "#D55E00", "0.85"), hatches, strict=True):
        count = torch.tensor([float(sum(f.kinds.count(kind) for f in searched if f.excess == d)) for d in dims])
        right.bar(dims, count, bottom=bottom, color=color, hatch=hatch, edgecolor="white", width=0.75, label=words)
        bottom = bottom + count
    right.axvline(-0.5, **style.THEORY)
    right.set(xlabel="$d - K$  (the theorem holds to the right of the dashed line)", ylabel="starts of the search")
    right.set_xticks(dims)
    left.legend(fontsize=8, frameon=False, loc="lower right")
    right.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=4)
    for axes in (left, right):
        style.finish(axes)
    return figure
