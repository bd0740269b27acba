"""A trajectory in a few lines of text, and as a small table with curves for a notebook: SVG, without matplotlib."""

import html
import math
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

__all__ = ["as_html", "as_text", "class_sizes", "span"]

_WIDTH, _HEIGHT = 120, 22
_MOST_CURVES = 8
_MOST_COUNTS = 8


def as_text(facts: Mapping[str, str], columns: Mapping[str, Float[Tensor, " R *batch"]]) -> str:
    """A line each for the facts, the first of which is the heading, and for the first and last value of a column."""
    heading, *names = facts
    width = max(map(len, [*names, *columns]))
    lines = [f"{heading} of {facts[heading]}"]
    lines += [f"  {name:{width}}  {facts[name]}" for name in names]
    lines += [f"  {name:{width}}  {span(first)} -> {span(last)}" for name, (first, last) in _ends(columns).items()]
    return "\n".join(lines)


def as_html(facts: Mapping[str, str], columns: Mapping[str, Float[Tensor, " R *batch"]]) -> str:
    """The same as a table, in which each column has a curve over its records: on a log scale if all are positive."""
    rows = [
        f"<tr><th>{html.escape(name)}</th><td colspan=3>{html.escape(text)}</td></tr>" for name, text in facts.items()
    ]
    for name, (first, last) in _ends(columns).items():
        values = f"<td>{span(first)}</td><td>{_curve(name, columns[name])}</td><td>{span(last)}</td>"
        rows.append(f"<tr><th>{html.escape(name)}</th>{values}</tr>")
    return "<table style='text-align: left'>" + "".join(rows) + "</table>"


def class_sizes(class_counts: Sequence[int]) -> str:
    """The classes of a problem in words.

    >>> class_sizes([5, 5, 5]), class_sizes([7, 5, 4])
    ('3 classes of 5 samples', 'classes of 7, 5, 4 samples')
    """
    least, most = min(class_counts), max(class_counts)
    if least == most:
        return f"{len(class_counts)} classes of {most} sample{'s' * (most > 1)}"
    if len(class_counts) > _MOST_COUNTS:
        return f"{len(class_counts)} classes of {least} to {most} samples"
    return f"classes of {', '.join(map(str, class_counts))} samples"


def span(values: Sequence[float]) -> str:
    """One number, or the least and the largest of those of several replicas.

    >>> span([0.123456]), span([1.0, 2e-9])
    ('0.1235', '2e-09 to 1')
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "nan"
    least, most = f"{min(known):.4g}", f"{max(known):.4g}"
    return least if least == most else f"{least} to {most}"


def _ends(columns: Mapping[str, Tensor]) -> dict[str, tuple[list[float], list[float]]]:
    """The first value of each replica, and that of the last record that it reached, where not all columns are nan."""
    curves = {name: _curves(column) for name, column in columns.items()}
    records = [list(zip(*of_replica, strict=True)) for of_replica in zip(*curves.values(), strict=True)]
    ends = [max((i for i, row in enumerate(rows) if not all(map(math.isnan, row))), default=0) for rows in records]
    return {
        name: ([curve[0] for curve in found], [curve[end] for curve, end in zip(found, ends, strict=True)])
        for name, found in curves.items()
    }


def _curves(column: Tensor) -> list[list[float]]:
    """A list of records for each replica."""
    curves: list[list[float]] = column.detach().cpu().reshape(len(column), -1).T.tolist()
    return curves


def _curve(name: str, column: Tensor) -> str:
    """The finite values of a column as lines in an SVG, one a replica."""
    scale = "a log" if not (column <= 0).any() else "a linear"
    drawn = [
        [(i, math.log(value) if scale == "a log" else value) for i, value in enumerate(curve) if math.isfinite(value)]
        for curve in _curves(column)[:_MOST_CURVES]
    ]
    heights = [y for points in drawn for _, y in points]
    if not heights:
        return ""
    low, room, steps = min(heights), (max(heights) - min(heights)) or 1.0, max(len(column) - 1, 1)
    lines = ""
    for points in drawn:
        places = " ".join(
            f"{1 + (_WIDTH - 2) * i / steps:.1f},{_HEIGHT - 2 - (_HEIGHT - 4) * (y - low) / room:.1f}"
            for i, y in points
        )
        lines += f"<polyline points='{places}' fill='none' stroke='currentColor'/>"
    label = f"{html.escape(name)} over the records, on {scale} scale"
    return f"<svg width='{_WIDTH}' height='{_HEIGHT}' role='img' aria-label='{label}'>{lines}</svg>"
