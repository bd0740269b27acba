"""The table of a training run: a row for each measured epoch, and a check for lost or changed rows."""

import csv
import io
import itertools
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

from real_experiments.recipe import Recipe
from real_experiments.schedule import measured_epochs

__all__ = ["Row", "checksum", "lost_epochs", "rows_from_csv", "rows_to_csv", "same_rows"]

Row = dict[str, float]
"""The numbers of a measured epoch by column; "epoch" is the first."""


def rows_to_csv(rows: Sequence[Row]) -> str:
    """metrics.csv; a column that only some rows have, as after an update, is nan in the others."""
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in [*rows[-1:], *rows] for name in row))
    writer = csv.DictWriter(text, columns or ["epoch"], restval="nan", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: repr(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def rows_from_csv(text: str, path: Path) -> list[Row]:
    """Undo ``rows_to_csv``; ``path`` is for the message. Raises: OSError with one sentence if the text is damaged."""
    try:
        header, *lines = [*csv.reader(io.StringIO(text), strict=True)] or [[]]
        rows = [{name: float(cell) for name, cell in zip(header, line, strict=True)} for line in lines]
        epochs = [row["epoch"] for row in rows]
        if "epoch" not in header or len({*header}) < len(header) or any(a >= b for a, b in itertools.pairwise(epochs)):
            raise ValueError
        if any(epoch != int(epoch) for epoch in epochs):
            raise ValueError
        return [{**row, "epoch": int(row["epoch"])} for row in rows]
    except (csv.Error, ValueError, KeyError, OverflowError) as error:
        raise OSError(f"{path} is damaged: it is not the table of a training run.") from error


def same_rows(some: Sequence[Row], others: Sequence[Row]) -> bool:
    """Whether both are equal, bit for bit; a missing column counts as nan."""
    columns = {name for row in [*some, *others] for name in row}
    return len(some) == len(others) and all(
        _equal(a.get(name, math.nan), b.get(name, math.nan))
        for a, b in zip(some, others, strict=True)
        for name in columns
    )


def checksum(rows: Sequence[Row]) -> int:
    """CRC-32 of the table: it finds damage, not forgery."""
    return zlib.crc32(rows_to_csv(rows).encode())


def lost_epochs(rows: Sequence[Row], recipe: Recipe, trained: int) -> list[int]:
    """The epochs up to ``trained`` that the recipe measures for any last epoch, and that have no row."""
    due = {epoch for epoch in measured_epochs(trained + 1, recipe.measurements_per_doubling) if epoch <= trained}
    return sorted(due - {int(row["epoch"]) for row in rows})


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))
