"""What a monitor has measured, as a table with a row a number."""

import csv
import html
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ulpm import _files

if TYPE_CHECKING:
    import xarray

__all__ = ["COLUMNS", "Table"]

COLUMNS = ("epoch", "split", "layer", "metric", "value")

_SHOWN = 20


class Table(Sequence[Mapping[str, Any]]):
    """Rows of epoch, split, layer, metric and value, in the order in which they were measured.

    It is a sequence of mappings, which ``pandas.DataFrame`` and ``polars.DataFrame`` take as it is.

    Args:
        rows: Mappings with these five keys.

    >>> table = ulpm.monitor.Table([{"epoch": 0, "split": "train", "layer": "fc", "metric": "nc1_pinv", "value": 0.5}])
    >>> table.select(metric="nc1_pinv")[0]["value"]
    0.5
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._rows = [{name: row[name] for name in COLUMNS} for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> "Table": ...

    def __getitem__(self, index: int | slice) -> "Mapping[str, Any] | Table":
        return Table(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self._rows == other._rows

    __hash__ = None  # type: ignore[assignment]

    def select(self, **columns: Any) -> "Table":
        """The rows in which every column named has the value given, such as ``split="test", metric="nc1_pinv"``.

        Raises:
            ValueError: For a name that is no column.
        """
        unknown = [name for name in columns if name not in COLUMNS]
        if unknown:
            raise ValueError(f"the columns are {', '.join(COLUMNS)}, but {unknown[0]!r} was given.")
        return Table(row for row in self._rows if all(row[name] == value for name, value in columns.items()))

    def flat(self) -> dict[str, float]:
        """Each value under "split/layer/metric", as loggers have it; of several epochs the last."""
        rows = sorted(self._rows, key=lambda row: row["epoch"])  # a training that starts again measures earlier epochs
        return {f"{row['split']}/{row['layer']}/{row['metric']}": row["value"] for row in rows}

    def to_csv(self, file: str | os.PathLike[str]) -> None:
        """Replace ``file`` by the table, a line a row; it is the old one or the whole new one at any time.

        Args:
            file: The path of the file.

        Raises:
            OSError: If it cannot be written.
        """

        def write(temporary: Path) -> None:
            with temporary.open("w", newline="", encoding="utf-8") as text:
                table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
                table.writeheader()
                table.writerows(self._rows)

        _files.replace_file(Path(file), write)

    def to_xarray(self) -> "xarray.Dataset":
        """An xarray.Dataset with a variable a metric on the dimensions epoch, split and layer; NaN where there is none.

        Raises:
            ImportError: If xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            raise ImportError("to_xarray needs the package xarray: pip install 'ulpm[xarray]'.") from error
        names = ("epoch", "split", "layer")
        coordinates = {name: list(dict.fromkeys(row[name] for row in self._rows)) for name in names}
        coordinates["epoch"].sort()
        places = {name: {value: i for i, value in enumerate(values)} for name, values in coordinates.items()}
        shape = tuple(len(values) for values in coordinates.values())
        columns: dict[str, np.ndarray[Any, Any]] = {}
        for row in self._rows:
            column = columns.setdefault(row["metric"], np.full(shape, math.nan))
            column[tuple(places[name][row[name]] for name in names)] = row["value"]
        return xarray.Dataset({metric: (names, values) for metric, values in columns.items()}, coordinates)

    def __repr__(self) -> str:
        lines = [
            f"{row['epoch']:>6} {row['split']:18} {row['layer']:18} {row['metric']:29} {row['value']:.6g}"
            for row in self._rows[-_SHOWN:]
        ]
        more = [f"… {len(self) - _SHOWN} rows before these"] if len(self) > _SHOWN else []
        return "\n".join([f"{'epoch':>6} {'split':18} {'layer':18} {'metric':29} value", *more, *lines])

    def _repr_html_(self) -> str:
        cells = [
            [*(html.escape(str(row[name])) for name in COLUMNS[:-1]), f"{row['value']:.6g}"]
            for row in self._rows[-_SHOWN:]
        ]
        head = "".join(f"<th>{name}</th>" for name in COLUMNS)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{len(self)} rows</p>"
