"""Late-time power laws in log t, drawn beside a run, and the exponents that the run shows."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from ulpm.floors import above_floor
from ulpm.laws import law_exponent
from ulpm.plotting import style
from ulpm.plotting.style import THEORY, Run

_EXPONENT_TEXT = {-3.0: r"$\propto(\log t)^{-3}$", -2.0: r"$\propto(\log t)^{-2}$", -1.0: r"$\propto(\log t)^{-1}$"}
_EXPONENT_TEXT |= {-0.5: r"$\propto(\log t)^{-1/2}$", 0.0: r"$\to$ constant $>0$"}

_LATE = 10.0
_FEWEST = 5  # records that a slope is measured from


def law_of(run: Run, name: str) -> float | None:
    """The exponent in log t of a quantity, or None where no law is known; whether Σ_k w_k = 0 the run itself tells."""
    start = run.path.metrics["nc0"][0] if "nc0" in run.path.metrics else None
    centred = start is not None and bool((start <= style.ROUNDING).all())
    return law_exponent(run.path.problem, name, centred=centred)


def measured_exponent(
    run: Run, values: Float[Tensor, " R *batch"], floor: Float[Tensor, " R *batch"] | None = None
) -> float | None:
    """d log value / d log log t by least squares over the last third of the records with log t > 10.

    Of replicas the median, the same ones at every record; records at which it is zero or not resolved are left out.
    None if fewer than five records remain.
    """
    log_time, value = _resolved(run.path.log_time, values, floor)
    late = np.flatnonzero(log_time > _LATE)
    late = late[len(late) - len(late) // 3 :]
    late = late[(value[late] > 0) & np.isfinite(value[late])]
    if len(late) < _FEWEST:
        return None
    x, y = np.log(log_time[late]), np.log(value[late])
    x = x - x.mean()
    return float(x @ y / (x @ x)) if np.ptp(x) > 0 else None


def compare(
    axes: Axes,
    run: Run,
    values: Float[Tensor, " R *batch"],
    exponent: float | None,
    floor: Float[Tensor, " R *batch"] | None = None,
) -> tuple[bool, bool]:
    """Draw the law through the last record, and note its exponent and that of the run; which of the two there are.

    The line agrees with its last record by construction: what can disagree is the measured exponent. Laws are of late
    time, so that there is neither if the run ends below its floor, or where the flow comes to rest.
    """
    if not run.path.problem.has_margins:
        return False, False
    known = _resolved(run.path.log_time, values, floor)[1]
    if np.fmax.reduce(known, initial=0.0) <= style.ROUNDING or not np.isfinite(known[-1]):
        return False, False
    law = None if exponent is None else draw_law(axes, exponent, run, values)
    measured = measured_exponent(run, values, floor)
    words = [] if law is None or exponent is None else [_EXPONENT_TEXT[exponent]]
    if measured is not None:
        words.append(f"measured {_signed(measured)}")
    if words:
        falls = exponent != 0.0 if measured is None else measured < -0.1
        low_left, low_right, high_right = (
            (0.05, 0.06, "left", "bottom"),
            (0.97, 0.06, "right", "bottom"),
            (0.97, 0.97, "right", "top"),
        )
        place = low_left if falls else low_right if _ends_high(axes, values) else high_right
        style.note(axes, "\n".join(words), *place)
    return law is not None, measured is not None


def measured_proxy(whose: str = "") -> Line2D:
    """The entry of a legend that says what "measured" means."""
    text = "measured: exponent of $\\log t$, least squares over\nthe last third of the records with $\\log t > 10$"
    return Line2D([], [], linestyle="none", label=text + whose)


def draw_law(axes: Axes, exponent: float, run: Run, values: Float[Tensor, " R *batch"]) -> Line2D | None:
    """The power law (log t)^exponent through the last positive record, from t = 10 on; the view stays on the data."""
    time, value = run.log10_time, style.summary(values)[1]
    usable = np.flatnonzero((time > 1) & (value > 0))
    if not len(usable):
        return None
    last = usable[-1]
    x = np.geomspace(1.0, time[last], 60)
    axes.set_ylim(axes.get_ylim())
    return axes.plot(x, value[last] * (x / time[last]) ** exponent, **THEORY)[0]


def _resolved(
    log_time: Float[Tensor, " R *batch"], values: Float[Tensor, " R *batch"], floor: Float[Tensor, " R *batch"] | None
) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    """log t and values, nan below the floor; with replicas the medians of those that have a value at the last record.

    A replica below its floor counts as small, and is not left out: those that remain are the large ones. So the median
    is known, whatever such replicas are, where the smaller of the two middle values is above the floors of all.
    """
    if values.ndim == 1:
        return log_time.numpy(force=True), above_floor(values, floor).double().numpy(force=True)
    here = ~values[-1].isnan()
    if not bool(here.any()):
        nothing = np.full(len(values), np.nan)
        return nothing, nothing
    values = values[:, here].double()
    middle = np.median(values.numpy(force=True), axis=1)
    if floor is not None:
        known = values.median(1).values >= floor[:, here].amax(1)
        middle[~known.numpy(force=True)] = np.nan
    return np.median(log_time[:, here].numpy(force=True), axis=1), middle


def _ends_high(axes: Axes, values: Float[Tensor, " R *batch"]) -> bool:
    """Whether the last finite value lies in the upper part of the panel."""
    value = style.summary(values)[1]
    point = axes.transData.transform((1.0, value[np.isfinite(value)][-1]))
    return bool(axes.transAxes.inverted().transform(point)[1] > 0.6)


def _signed(exponent: float) -> str:
    """Two decimals, with a minus sign only before what is not zero."""
    return f"{round(exponent, 2) + 0.0:.2f}".replace("-", "−")
