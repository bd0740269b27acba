"""A training run as a directory: config.json, metrics.csv, snapshots/ and checkpoint.safetensors.

Each file is either its old version or the whole new one, whenever the process is killed.
"""

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ulpm.support import files

__all__ = ["Row", "TrainingDirectory"]

Row = dict[str, float]
"""The numbers of a measured epoch by column; "epoch" is the first."""


class TrainingDirectory:
    """The files of one training run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.metrics = path / "metrics.csv"
        self.checkpoint = path / "checkpoint.safetensors"
        self.snapshots = path / "snapshots"

    def holds_a_run(self) -> bool:
        """Whether something is here that a new run would overwrite."""
        return any(file.exists() for file in (self.config, self.metrics, self.checkpoint))

    def clear(self) -> None:
        """Remove the files of an earlier run, and no others."""
        for file in (self.checkpoint, self.metrics, *self.snapshot_files().values(), self.config):
            with contextlib.suppress(FileNotFoundError):
                file.unlink()

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Raises: OSError with one sentence if it cannot be written."""
        files.write_text(self.config, json.dumps(config, indent=2, allow_nan=False) + "\n")

    def read_config(self) -> dict[str, Any]:
        """What ``write_config`` wrote. Raises: OSError with one sentence if it is missing or damaged."""
        text = files.read_text(self.config)
        try:
            config = json.loads(text)
            if not isinstance(config["arguments"], dict):
                raise TypeError
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(f"{self.config} is damaged: it is not the configuration of a training run.") from error
        return dict(config)

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Replace metrics.csv by these rows; a column that only some have, as after an update, is nan in the others."""
        text = io.StringIO()
        columns = list(dict.fromkeys(name for row in [*rows[-1:], *rows] for name in row))
        writer = csv.DictWriter(text, columns or ["epoch"], restval="nan", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: repr(value) for name, value in row.items()} for row in rows)
        files.write_text(self.metrics, text.getvalue())

    def read_rows(self) -> list[Row]:
        """The rows of metrics.csv, oldest first; none if there is no such file.

        Raises: OSError with one sentence if it is damaged.
        """
        if not self.metrics.exists():
            return []
        header, *lines = [*csv.reader(io.StringIO(files.read_text(self.metrics)))] or [[]]
        try:
            rows = [{name: float(cell) for name, cell in zip(header, line, strict=True)} for line in lines]
            rows = [{**row, "epoch": int(row["epoch"])} for row in rows]
            if "epoch" not in header or any(a["epoch"] >= b["epoch"] for a, b in itertools.pairwise(rows)):
                raise ValueError
        except (ValueError, KeyError, OverflowError) as error:
            raise OSError(f"{self.metrics} is damaged: it is not the table of a training run.") from error
        return rows

    def write_snapshot(self, epoch: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Write snapshots/epoch_000123.safetensors. Raises: OSError with one sentence if that is not possible."""
        file = self.snapshots / f"epoch_{epoch:06d}.safetensors"
        files.write_tensors(file, tensors, {"kind": "snapshot", "epoch": epoch, **metadata})

    def read_snapshot(self, epoch: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """W [K, d], H [d, N] and labels [N] (sorted) at an epoch, and the metadata.

        Raises: OSError with one sentence if there is no such snapshot or it is damaged.
        """
        return files.read_tensors(self.snapshots / f"epoch_{epoch:06d}.safetensors")

    def snapshot_files(self) -> dict[int, Path]:
        """The snapshots by epoch, in order."""
        files = sorted(self.snapshots.glob("epoch_*.safetensors"))
        return {int(file.stem.removeprefix("epoch_")): file for file in files}

    def rewind(self, epoch: int) -> list[Row]:
        """Drop what is later than ``epoch``, which a resumed run makes again. Returns: the rows that are left."""
        rows = self.read_rows()
        kept = [row for row in rows if row["epoch"] <= epoch]
        if len(kept) < len(rows):
            self.write_rows(kept)
        for later, file in self.snapshot_files().items():
            if later > epoch:
                file.unlink()
        for file in (self.config, self.metrics, self.checkpoint, self.snapshots / "epoch_"):
            files.remove_leftovers(file)
        return kept
