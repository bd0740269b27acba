"""Features and classifier along the run, seen along the directions in which the classifier ends."""

import itertools
import math
from typing import Any

import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from ulpm.geometry import principal_axes
from ulpm.plotting import style
from ulpm.plotting.house import house_style
from ulpm.plotting.legends import legend_below
from ulpm.problem import Problem
from ulpm.trajectory import Trajectory

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
_MOST_PANELS = 6
_MOST_COLUMNS = 4
_CLOSE_UP = 1.4  # a panel whose content is smaller than the common frame by this is enlarged
_MOST_FEATURES = 600  # in a panel; more hide each other
_MOST_CLASSES_NAMED = 20
_MARGIN = 1.12  # room for arrow heads and markers
_ELEVATION, _AZIMUTH = 16.0, -85.0  # of the eye, in degrees
# Columns: the directions in space that point rightwards and upwards on the page.
_PAGE = torch.tensor(
    [
        [-math.sin(math.radians(_AZIMUTH)), -math.sin(math.radians(_ELEVATION)) * math.cos(math.radians(_AZIMUTH))],
        [math.cos(math.radians(_AZIMUTH)), -math.sin(math.radians(_ELEVATION)) * math.sin(math.radians(_AZIMUTH))],
        [0.0, math.cos(math.radians(_ELEVATION))],
    ],
    dtype=torch.float64,
    device="cpu",
)


@house_style()
def plot_collapse(path: Trajectory, replica: int = 0) -> Figure:
    """Features h_i, class means μ_k and classifier rows w_k at up to six snapshots, projected to two or three axes.

    The axes span the principal directions of the final classifier rows: two for K ≤ 3 or d ≤ 2, else the best three,
    turned so that w_0 points upwards. Features and class means are divided by max_i ‖h_i‖, classifier rows by
    max_k ‖w_k‖ of the same snapshot, because both norms grow without bound. Panels share a scale; one whose content
    is much smaller is enlarged, and says by how much. In the last panel the class means are joined: at neural collapse
    these are the edges of a simplex (for K > 4, of a projection of one), the features lie on their means and the
    classifier rows point at them.

    Args:
        path: A run with snapshots.
        replica: Which of its replicas.

    Raises:
        ValueError: If the trajectory has no snapshots or no such replica.

    Source: the picture of Papyan, Han, Donoho, "Prevalence of neural collapse during the terminal phase of deep
    learning training", 2020.
    """
    drawn = style.runs([path])
    W, H, records = _snapshots(path, replica)
    view = principal_axes(W[-1], H[0])
    count, dim = len(records), len(view)
    columns = count if count <= _MOST_COLUMNS else math.ceil(count / 2)
    lines = math.ceil(count / columns)
    heading = style.title("Features and classifier along the run", drawn, replica)
    figure = style.new_figure(max(3.5 * columns, 7.5), 3.8 * lines + 1.3, heading)
    times = path.log_time if path.log_time.ndim == 1 else path.log_time[:, replica]
    rows, features = W @ view.T, H.mT @ view.T
    points = torch.cat([rows, features, torch.zeros(count, 1, dim, dtype=W.dtype)], 1)
    widest = max(_extent(_on_page(here))[1] for here in points)
    for i, record in enumerate(records.tolist()):
        axes = figure.add_subplot(lines, columns, i + 1, projection="3d" if dim == 3 else None)
        enlarged = _frame(axes, points[i], widest)
        _draw_state(axes, path.problem, rows[i], features[i], edges=i == count - 1)
        log10_time = float(times[record]) / math.log(10)
        when = "$t$ = 0" if log10_time == -math.inf else f"{style.TIME_LABEL} = {style.number(log10_time)}"
        axes.set_title(when if enlarged == 1 else f"{when}   (enlarged ×{enlarged:.1f})", fontsize=11)
    _caption(figure, path.problem, dim)
    return figure


def _caption(figure: Figure, problem: Problem, dim: int) -> None:
    """What the axes and the marks are, below the panels."""
    lines = [
        f"axes: {dim} principal directions of the final classifier rows",
        r"unit of each panel: its largest $\Vert h_i\Vert$ (features, class means), $\Vert w_k\Vert$ (classifier rows)",
    ]
    joined = ("; " if figure.get_figwidth() > 9 else "\n").join(lines)
    legend_below(figure, _legend(problem), fontsize=9, title=joined, title_fontsize=9)


def _snapshots(
    path: Trajectory, replica: int
) -> tuple[Float[Tensor, "S K d"], Float[Tensor, "S d N"], Int[Tensor, " S"]]:
    """Up to six snapshots of one replica, each scaled to largest row and column 1, and the records they belong to."""
    replicas = path.log_time.shape[1] if path.log_time.ndim > 1 else 1
    if not 0 <= replica < replicas:
        raise ValueError(f"replica must be between 0 and {replicas - 1}, but {replica} was given.")
    if path.snapshots is None:
        raise ValueError("the trajectory has no snapshots to draw: ask for some with gradient_flow(..., snapshots=6).")
    W, H = (values.detach().double().cpu() for values in (path.snapshots.W, path.snapshots.H))
    if W.ndim == 4:
        W, H = W[:, replica], H[:, replica]
    reached = (~W.isnan().flatten(1).any(1)).nonzero()[:, 0]
    shown = reached[_spread(len(reached), _MOST_PANELS)]
    W, H = W[shown], H[shown]
    tiny = torch.finfo(W.dtype).tiny  # a state of zeros stays one
    longest_row, longest_column = W.norm(dim=2).amax(1).clamp(min=tiny), H.norm(dim=1).amax(1).clamp(min=tiny)
    return W / longest_row[:, None, None], H / longest_column[:, None, None], path.snapshots.records.cpu()[shown]


def _on_page(points: Float[Tensor, "P p"]) -> Float[Tensor, "P 2"]:
    """Where points are seen: as they are in the plane, in space along the line of sight."""
    return points @ _PAGE if points.shape[1] == 3 else points


def _spread(count: int, most: int) -> Int[Tensor, " S"]:
    """At most ``most`` of the indices 0 … count − 1, evenly spread, the first and the last among them."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float32, device="cpu").round().long()


def _extent(seen: Float[Tensor, "P 2"]) -> tuple[Float[Tensor, " 2"], float]:
    """Centre and half width of the least upright square around what is seen."""
    low, high = seen.amin(0), seen.amax(0)
    return 0.5 * (low + high), 0.5 * float((high - low).max())


def _frame(axes: Any, points: Float[Tensor, "P p"], widest: float) -> float:
    """Equal scales around what is shown, no ticks, as lengths are relative and directions arbitrary; the enlargement.

    The common scale is that of the widest panel in space and of the unit circle, which is drawn, in the plane.
    """
    flat = points.shape[1] == 2
    centre, half = _extent(_on_page(points))
    common = 1.0 if flat else widest
    enlarged = common / half if 0 < half * _CLOSE_UP < common else 1.0
    if flat and enlarged == 1.0:
        centre = torch.zeros(2, dtype=torch.float64, device="cpu")
    half = (common / enlarged or 1.0) * _MARGIN
    if flat:
        x, y = centre.tolist()
        axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal", xticks=[], yticks=[])
        axes.add_line(Line2D(*_circle(), color="0.85", linewidth=0.8, zorder=0))
        for side in axes.spines.values():
            side.set_color("0.8")
        return enlarged
    axes.set_proj_type("ortho")
    axes.view_init(elev=_ELEVATION, azim=_AZIMUTH)
    middle = (_PAGE @ centre).tolist()
    axes.set(**{f"{axis}lim": (m - half, m + half) for axis, m in zip("xyz", middle, strict=True)})
    axes.set_box_aspect((1, 1, 1))
    ends = [torch.cat([_PAGE @ centre + sign * half * _PAGE[:, 1], torch.ones(1)]).tolist() for sign in (-1, 1)]
    heights = [y / w for _, y, _, w in (axes.get_proj() @ end for end in ends)]
    low, high = axes.transAxes.inverted().transform(axes.transData.transform([(0, y) for y in heights]))[:, 1]
    axes.set_box_aspect((1, 1, 1), zoom=1 / (high - low))
    axes.set_axis_off()
    return enlarged


def _draw_state(
    axes: Any, problem: Problem, rows: Float[Tensor, "K p"], features: Float[Tensor, "N p"], edges: bool
) -> None:
    """Dots, means and arrows of one snapshot, in the coordinates of the page."""
    means = torch.stack([part.mean(0) for part in torch.split(features, list(problem.class_counts))])
    if edges:
        width = 0.9 if problem.num_classes <= 4 else 0.4
        for j, k in itertools.combinations(range(problem.num_classes), 2):
            axes.plot(*torch.stack([means[j], means[k]]).T.numpy(), color="0.6", linewidth=width, zorder=1)
    most = max(3, _MOST_FEATURES // problem.num_classes)
    for k, part in enumerate(torch.split(features, list(problem.class_counts))):
        kept = _spread(len(part), most)
        color, marker = _look(k)
        flat = {"depthshade": False} if rows.shape[1] == 3 else {}
        axes.scatter(*part[kept].T.numpy(), s=14, color=color, marker=marker, alpha=0.55, linewidth=0, zorder=2, **flat)
        axes.scatter(*means[k : k + 1].T.numpy(), s=80, color=color, marker=marker, edgecolor="black", zorder=4, **flat)
        _arrow(axes, rows[k], color)


def _arrow(axes: Any, tip: Float[Tensor, " p"], color: str) -> None:
    """A classifier row, from the origin."""
    start = [0.0] * len(tip)
    if len(tip) == 3:
        axes.quiver(*start, *tip.tolist(), color=color, linewidth=1.8, arrow_length_ratio=0.12, zorder=3)
    else:
        scaling = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.008}
        axes.quiver(*start, *tip.tolist(), color=color, zorder=3, **scaling)


def _look(k: int) -> tuple[str, str]:
    """Colour and marker of a class: the pairs repeat only after 40 classes."""
    return style.COLORS[k % len(style.COLORS)], _MARKERS[k % len(_MARKERS)]


def _legend(problem: Problem) -> list[Line2D]:
    """What dots, large markers and lines are, and the classes if they are few enough to be named."""
    plain: dict[str, Any] = {"linestyle": "none", "color": "0.4"}
    entries = [
        Line2D([], [], marker="o", markersize=4, markeredgewidth=0, label="feature $h_i$", **plain),
        Line2D([], [], marker="o", markersize=9, markeredgecolor="black", label=r"class mean $\mu_k$", **plain),
        Line2D([], [], color="0.4", linewidth=1.8, marker=">", markevery=[-1], label="classifier row $w_k$"),
        Line2D([], [], color="0.6", linewidth=0.8, label="edge between class means"),
    ]
    if problem.num_classes <= _MOST_CLASSES_NAMED:
        for k in range(problem.num_classes):
            color, marker = _look(k)
            entries.append(
                Line2D([], [], linestyle="none", color=color, marker=marker, markersize=7, label=f"class {k}")
            )
    return entries


def _circle() -> tuple[list[float], list[float]]:
    angles = [2 * math.pi * i / 200 for i in range(201)]
    return [math.cos(angle) for angle in angles], [math.sin(angle) for angle in angles]
