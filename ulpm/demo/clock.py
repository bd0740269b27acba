"""The time axis that slider and curves share, and how numbers without bounds are written."""

import dataclasses
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ulpm.flow.clock import elapsed

__all__ = ["Clock", "epochs", "flow_time", "power_of_ten", "scientific", "spread_out"]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclasses.dataclass(frozen=True)
class Clock:
    """Frames on the slider: ``positions`` in [0, 1], what each is called, and the labelled ``ticks``."""

    title: str
    positions: list[float]
    words: list[str]
    ticks: list[tuple[float, str]]


def flow_time(log_time: Float[Tensor, " F"]) -> Clock:
    """Even in log(1 + log(1 + t)), as the records of a flow are: t from 0 to far beyond any number of a computer."""
    end = float(elapsed(log_time[-1]))
    last = float(log_time[-1]) / math.log(10)
    powers = [x for x in (0, 1, 3, 10, 30, 100, 300, *(10.0**k for k in range(3, 20))) if x <= last + 1e-9 * abs(last)]
    marks = [(-math.inf, "0"), *((x, "1" if x == 0 else power_of_ten(x)) for x in powers)]
    ticks = [
        (float(elapsed(torch.tensor(x * math.log(10), dtype=torch.float64, device="cpu"))) / end, label)
        for x, label in marks
    ]
    return Clock(
        title="flow time t",
        positions=(elapsed(log_time) / end).tolist(),
        words=[f"t = {scientific(x)}" for x in (log_time / math.log(10)).tolist()],
        ticks=spread_out(ticks, 0.07),
    )


def epochs(numbers: Sequence[int]) -> Clock:
    """Even in the logarithm of the epoch."""
    end = math.log(numbers[-1] / numbers[0])
    marks = [x * 10**k for k in range(6) for x in (1, 2, 5) if numbers[0] <= x * 10**k <= numbers[-1]]
    return Clock(
        title="epoch of training",
        positions=[math.log(n / numbers[0]) / end for n in numbers],
        words=[f"epoch {n}" for n in numbers],
        ticks=[(math.log(n / numbers[0]) / end, str(n)) for n in marks],
    )


def scientific(log10: float, digits: int = 2) -> str:
    """10^log10 as a person writes it, however large or small: 0, 0.35, 42, 6.9·10⁻¹², 3.1·10⁴²³."""
    if log10 == -math.inf:
        return "0"
    if not math.isfinite(log10):
        return "–"
    if -3 < log10 < 4:
        return f"{10**log10:.{digits}g}" if log10 < digits else f"{10**log10:.0f}"
    exponent = math.floor(log10)
    mantissa = f"{10 ** (log10 - exponent):.{digits - 1}f}"
    if mantissa.startswith("10"):
        exponent, mantissa = exponent + 1, f"{1:.{digits - 1}f}"
    return power_of_ten(exponent) if float(mantissa) == 1 else f"{mantissa}·{power_of_ten(exponent)}"


def power_of_ten(exponent: float) -> str:
    """10 with the exponent, a whole number, in superscript digits."""
    return "10" + str(round(exponent)).translate(_SUPERSCRIPTS)


def spread_out(ticks: list[tuple[float, str]], least: float) -> list[tuple[float, str]]:
    """Those of ascending ticks that are so far apart that they can be read; the last one stays."""
    kept: list[tuple[float, str]] = []
    for tick in ticks:
        if not kept or tick[0] - kept[-1][0] >= least:
            kept.append(tick)
        elif tick is ticks[-1]:
            kept[-1] = tick
    return kept
