"""What the figures share: the time axis, how runs are told apart, and the words of titles."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)
from torch import Tensor

from ulpm import _checks
from ulpm.problem import Problem
from ulpm.trajectory import Trajectory

# Okabe and Ito, "Color Universal Design", 2008: told apart in every common form of colour blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
THEORY: dict[str, Any] = {"color": "0.25", "linestyle": (0, (5, 3)), "linewidth": 1.1, "zorder": 2.5}
FLOOR: dict[str, Any] = {"facecolor": "0.88", "edgecolor": "0.6", "linewidth": 0.6, "linestyle": ":", "zorder": 0.5}
TIME_LABEL = "$\\log_{10}\\, t$"

# No dashes among these: a dashed line is always the theory.
LineStyle = Literal["-", "-."] | tuple[float, tuple[float, ...]]
LINE_STYLES: tuple[LineStyle, ...] = ("-", (0, (1.2, 1.2)), "-.", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
_LN10 = math.log(10)
# The left edge of a time axis: on its scale t = 0.001 cannot be told from t = 0.
_EARLIEST = -3.0
# A quantity that never exceeds this is zero but for rounding, and its curve on a log axis would be noise.
ROUNDING = 1e-13
_MOST_PROBLEMS = 3  # named in a title


@dataclasses.dataclass(frozen=True)
class Run:
    """A trajectory and how its lines look."""

    path: Trajectory
    label: str
    color: str
    line_style: LineStyle

    @property
    def method(self) -> str:
        """What moved the state, as in "gradient flow"."""
        return str(self.path.config.get("method", "run"))

    @property
    def log10_time(self) -> Float[np.ndarray, " R"]:
        """log10 t of the records, −inf at t = 0; the median over replicas."""
        return summary(self.path.log_time)[1] / _LN10

    def proxy(self) -> Line2D:
        """The entry of a legend."""
        return Line2D([], [], color=self.color, linestyle=self.line_style, linewidth=1.8, label=self.label)


def runs(paths: Sequence[Trajectory], labels: Sequence[str] | None = None) -> list[Run]:
    """The runs of a figure, labelled as given, or by their methods; equal methods are numbered.

    Where the problems differ, each label also states the sizes of its own.

    Raises:
        ValueError: If there are not as many labels as runs.
    """
    for path in paths:
        _checks.instance("path", path, Trajectory)
    if labels is None:
        methods = [str(path.config.get("method", "run")) for path in paths]
        labels = [
            name if methods.count(name) == 1 else f"{name} ({methods[: i + 1].count(name)})"
            for i, name in enumerate(methods)
        ]
    if len(labels) != len(paths):
        raise ValueError(f"there must be a label for each of the {len(paths)} runs, but {len(labels)} were given.")
    labels = [as_text(label) for label in labels]
    if len({path.problem for path in paths}) > 1:
        labels = [f"{label}: {sizes(path.problem)}" for label, path in zip(labels, paths, strict=True)]
    return [
        Run(path, label, COLORS[i % len(COLORS)], LINE_STYLES[i % len(LINE_STYLES)])
        for i, (path, label) in enumerate(zip(paths, labels, strict=True))
    ]


def as_text(label: str) -> str:
    """A label, which may be the name of any file, that matplotlib shows as it is: no formula, and not hidden."""
    plain = "".join(letter if letter.isprintable() else " " for letter in label.encode("utf-8", "replace").decode())
    # It leaves labels with an underscore in front out of legends.
    return (" " if plain.startswith("_") else "") + plain.replace("$", r"\$")


def distinct(
    figure_runs: Sequence[Run], value: Callable[[Run], float | None]
) -> list[tuple[Run, float, dict[str, Any]]]:
    """The values that theory gives for the runs, without None and repetitions: first run, value, look of its line.

    A value that all share is drawn in the grey of theory, others in the colours of their runs.
    """
    found: dict[float | None, Run] = {}
    for run in figure_runs:
        found.setdefault(value(run), run)
    looks = [THEORY if len(found) == 1 else THEORY | {"color": run.color} for run in found.values()]
    return [(run, own, look) for (own, run), look in zip(found.items(), looks, strict=True) if own is not None]


def title(what: str, figure_runs: Sequence[Run], replica: int | None = None) -> str:
    """What is shown, for which problems, by which methods, and of which replicas if there are several."""
    problems = list(dict.fromkeys(sizes(run.path.problem) for run in figure_runs))
    words = ["; ".join(problems) if len(problems) <= _MOST_PROBLEMS else f"{len(problems)} problems"]
    words.append(" and ".join(dict.fromkeys(run.method for run in figure_runs)))
    times = [run.path.log_time for run in figure_runs]
    if any(time.ndim > 1 for time in times):
        counts = dict.fromkeys(str(time.shape[1] if time.ndim > 1 else 1) for time in times)
        everyone = f"{' or '.join(counts)} replicas (median, and band from least to greatest)"
        words.append(everyone if replica is None else f"replica {replica}")
    return f"{what}\n{' · '.join(words)}"


def sizes(problem: Problem) -> str:
    """The sizes of a problem, as in "K = 4, n = 5, d = 20", and what is minimised if that is not the default."""
    counts = problem.class_counts
    if problem.balanced:
        n = str(counts[0])
    elif len(counts) <= 8:
        n = f"({', '.join(map(str, counts))})"
    else:
        n = f"{min(counts)} to {max(counts)}"
    model = f", {problem.model}" if problem.model else ""
    return f"$K$ = {problem.num_classes}, $n$ = {n}, $d$ = {problem.feature_dim}{model}"


def summary(values: Float[Tensor, " R *batch"]) -> tuple[Float[np.ndarray, " R"], ...]:
    """Least value, median and greatest value over the replicas that reached each record; without replicas all equal."""
    array = values.double().numpy(force=True)
    if array.ndim == 1:
        return array, array, array
    median = np.full(len(array), np.nan)
    reached = ~np.isnan(array).all(1)
    median[reached] = np.nanmedian(array[reached], axis=1)
    return np.fmin.reduce(array, axis=1), median, np.fmax.reduce(array, axis=1)


def draw(axes: Axes, run: Run, values: Float[Tensor, " R *batch"], **looks: object) -> Line2D:
    """Draw a recorded quantity against log10 t: a line, and with replicas the band from least to greatest.

    Replicas that share a record but not its time (runs to a given loss) are drawn at their median time.
    """
    low, middle, high = summary(values)
    line = Line2D([], [])
    line.update({"color": run.color, "linestyle": run.line_style, "linewidth": 1.8, **looks})
    line.set_data(run.log10_time, middle)
    axes.add_line(line)
    finite = middle[np.isfinite(middle)]
    axes.update_datalim(np.stack([finite, finite], 1), updatex=False)  # t = 0 counts too, though log10 t = −∞ there
    axes.autoscale_view(scalex=False)
    if values.ndim > 1:
        x = run.log10_time  # a band, unlike a line, leaves out what is infinite: t = 0 goes to the edge
        x = np.where(np.isneginf(x), min(_EARLIEST, x[np.isfinite(x)].min(initial=0.0) - 1), x)
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.22, linewidth=0)
    return line


def mark_floor(
    axes: Axes,
    run: Run,
    values: Float[Tensor, " R *batch"],
    floor: Float[Tensor, " R *batch"] | None,
    signed: bool = False,
) -> bool:
    """Shade what lies below the floor of a run on a logarithmic axis, if any of its records does; whether one does.

    The view stays as it is, on the data. ``signed`` values are logarithms, others are compared by their size.
    """
    if floor is None or not bool(((values if signed else values.abs()) < floor).any()):
        return False
    level, low = summary(floor)[1], axes.get_ylim()
    axes.fill_between(run.log10_time, low[0], level, **FLOOR)
    axes.set_ylim(low)
    return True


def floor_proxy() -> Patch:
    """The entry of a legend that says what is shaded."""
    return Patch(**FLOOR, label="below the floor: may be off by more than 2%")


def time_axis(axes: Axes, figure_runs: Sequence[Run]) -> None:
    """An axis of log10 t on the scale log(1 + log(1 + t)).

    That is the scale in which records are even. It has room for t = 0 (at the left edge), and late on it is that of
    log log t, so that powers of log t are straight lines on a logarithmic y axis.
    """
    finite = np.concatenate([run.log10_time for run in figure_runs])
    finite = finite[np.isfinite(finite)]
    end = float(finite.max()) if len(finite) else 1.0
    axes.set_xscale("function", functions=(_even_scale, _even_scale_inverse))
    axes.set_xlim(min(_EARLIEST, end - 1), end)
    fix_ticks(axes, "x", _round_numbers(end) if end > 0 else [math.floor(end) - 1.0, float(math.floor(end))])
    axes.set_xlabel(TIME_LABEL)


def log10_loss_axis(axes: Axes) -> None:
    """A y axis of log10 L that holds 1 and −10⁶ alike: linear within ±1, logarithmic beyond."""
    low, high = axes.dataLim.intervaly
    axes.set_yscale("asinh", linear_width=1.0)
    fix_ticks(axes, "y", sorted({*_round_numbers(high), *(-tick for tick in _round_numbers(-low))}))
    axes.set_ylabel("$\\log_{10}\\, L$")


def value_axis(axes: Axes, curves: Sequence[Line2D], rounding: float = ROUNDING) -> bool:
    """A logarithmic y axis, or a linear one with a note if no curve exceeds rounding; whether it is logarithmic."""
    values = np.concatenate([np.asarray(curve.get_ydata(), dtype=float) for curve in curves])
    values = values[np.isfinite(values)]
    if not len(values):
        note(axes, "not defined at any record", 0.5, 0.5, ha="center")
        return False
    greatest = float(values.max())
    if greatest > rounding:
        axes.set_yscale("log", nonpositive="mask")
        axes.autoscale_view(scalex=False)
        log_ticks(axes)
        return True
    axes.set_ylim(-0.06, 1.06)
    size = "at every record" if greatest <= 0 else f"up to rounding\n(≤ {number(greatest)})"
    note(axes, f"zero {size}", 0.5, 0.5, ha="center")
    return False


def log_ticks(axes: Axes) -> None:
    """Labels at 1, 2, 5, 10, … on a logarithmic axis that is too short for powers of ten alone."""
    low, high = axes.get_ylim()
    if high < 4 * low:
        middle = math.sqrt(low * high)
        low, high = middle / 2, middle * 2
        axes.set_ylim(low, high)
    axes.yaxis.set_minor_formatter(NullFormatter())
    if high < 200 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def note(axes: Axes, text: str, x: float, y: float, ha: str = "left", va: str = "center") -> None:
    """A few words inside a panel, on white so that they stay legible over lines."""
    back = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(x, y, text, transform=axes.transAxes, ha=ha, va=va, fontsize=9, color="0.15", bbox=back, zorder=4)


def fix_ticks(axes: Axes, which: str, ticks: Sequence[float]) -> None:
    """Ticks at these numbers, large ones written as powers of ten."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FixedFormatter([number(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def finish(axes: Axes) -> None:
    """The look that all panels share."""
    axes.grid(True, which="major", color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def linear_ticks(axes: Axes) -> None:
    """Few ticks on a linear y axis."""
    axes.yaxis.set_major_locator(MaxNLocator(5))


def new_figure(width: float, height: float, heading: str) -> Figure:
    """A figure that belongs to no window and no global state."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    figure.suptitle(heading, fontsize=12)
    return figure


def _even_scale(log10_time: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """log(1 + log(1 + t)); 0 at t = 0."""
    position: Float[np.ndarray, "..."] = np.log1p(np.logaddexp(0.0, log10_time * _LN10))
    return position


def _even_scale_inverse(position: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    # Positions left of t = 0, which margins can ask for, are those of a time just after it.
    log1p_time = np.maximum(np.expm1(position), 1e-9)
    log10_time: Float[np.ndarray, "..."] = (log1p_time + np.log(-np.expm1(-log1p_time))) / _LN10
    return log10_time


def _round_numbers(end: float) -> list[float]:
    """0, 1 and the powers of ten up to ``end``, with 2 and 5 between them (and −1 before them) where there is room."""
    if end < 0:
        return [0.0]
    end *= 1 + 1e-9  # an end that misses its number by rounding has its tick
    steps = (1, 2, 5) if end < 60 else (1,)
    decades = range(math.floor(math.log10(max(end, 1.0))) + 1)
    ticks = [0.0, *(float(step * 10**decade) for decade in decades for step in steps)]
    return [tick for tick in ([-1.0, *ticks] if end < 3 else ticks) if tick <= end]


def number(value: float) -> str:
    """A number as text: plain up to four digits, else as a multiple of a power of ten."""
    if value == 0 or 1e-3 <= abs(value) < 9999.5:
        return (f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}").replace("-", "−")
    mantissa, exponent = f"{value:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    factor = {"1": "", "-1": "-"}.get(mantissa, f"{mantissa} \\times ")
    return f"${factor}10^{{{int(exponent)}}}$"
