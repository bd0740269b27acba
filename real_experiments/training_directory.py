"""A training run as a directory: config.json, metrics.csv, snapshots/ and checkpoint.safetensors.

Each file is either its old version or the whole new one, whenever the process is killed.
"""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from real_experiments.recipe import Recipe
from real_experiments.table import Row, rows_from_csv, rows_to_csv, same_rows
from real_experiments.training_checkpoint import Checkpoint
from ulpm.support import files

__all__ = ["Row", "TrainingDirectory"]

_SNAPSHOT = re.compile(r"epoch_(\d{6,})\.safetensors")


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
        for file in self.files():
            file.unlink()
        with contextlib.suppress(OSError):
            self.snapshots.rmdir()

    def files(self) -> list[Path]:
        """The files of the run that are there, and no others."""
        files = (self.checkpoint, self.metrics, *self.snapshot_files().values(), self.config)
        return [file for file in files if file.exists()]

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Raises: OSError with one sentence if it cannot be written."""
        files.write_text(self.config, json.dumps(config, indent=2, allow_nan=False) + "\n")

    def read_config(self) -> dict[str, Any]:
        """The values that ``write_config`` wrote. Raises: OSError with one sentence if it is missing or damaged."""
        text = files.read_text(self.config)
        try:
            config = json.loads(text)
            if not isinstance(config["arguments"], dict):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise OSError(f"{self.config} is damaged: it is not the configuration of a training run.") from error
        return dict(config)

    def read_recipe(self) -> Recipe:
        """The recipe in config.json. Raises: OSError with one sentence if it is missing or damaged."""
        try:
            return Recipe.from_json(self.read_config()["arguments"])
        except ValueError as error:  # such as a network that only another copy of this program has
            raise OSError(f"{self.config} is not the configuration of a training run here: {error}") from error
        except (TypeError, AttributeError, OverflowError) as error:
            raise OSError(f"{self.config} is damaged: it is not the configuration of a training run.") from error

    def read_checkpoint(self) -> Checkpoint:
        """Raises: OSError with one sentence if it is missing, damaged, or of another run than config.json says."""
        recipe, checkpoint = self.read_recipe(), Checkpoint.read(self.checkpoint)
        checkpoint.require(recipe, checkpoint.dataset)
        return checkpoint

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Replace metrics.csv by these rows; a column that only some have, as after an update, is nan in the others."""
        files.write_text(self.metrics, rows_to_csv(rows))

    def read_rows(self) -> list[Row]:
        """The rows of metrics.csv, oldest first; none if there is no such file.

        Raises: OSError with one sentence if it is damaged.
        """
        return rows_from_csv(files.read_text(self.metrics), self.metrics) if self.metrics.exists() else []

    def agrees_with(self, rows: Sequence[Row]) -> bool:
        """Whether metrics.csv begins with these rows; it may hold later ones."""
        try:
            there = self.read_rows()
        except OSError:
            return False
        last = max((row["epoch"] for row in rows), default=0)
        return same_rows([row for row in there if row["epoch"] <= last], rows)

    def write_snapshot(self, epoch: int, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Write snapshots/epoch_000123.safetensors. Raises: OSError with one sentence if that is not possible."""
        file = self.snapshots / f"epoch_{epoch:06d}.safetensors"
        files.write_tensors(file, tensors, {"kind": "snapshot", "epoch": epoch, **metadata})

    def read_snapshot(self, epoch: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """W [K, d], H [d, N] and labels [N] (sorted) at an epoch, and the metadata.

        Raises: OSError with one sentence if there is no such snapshot, or it is damaged or that of another epoch.
        """
        file = self.snapshots / f"epoch_{epoch:06d}.safetensors"
        tensors, metadata = files.read_tensors(file)
        if metadata.get("kind") != "snapshot" or metadata.get("epoch") != epoch:
            found = f"{metadata.get('kind')} of epoch {metadata.get('epoch')}"
            raise OSError(f"{file} holds a {found}, not the snapshot that its name promises: put the right file there.")
        return tensors, metadata

    def snapshot_files(self) -> dict[int, Path]:
        """The snapshots by epoch, in order."""
        found = {file: _SNAPSHOT.fullmatch(file.name) for file in self.snapshots.glob("epoch_*.safetensors")}
        epochs = {int(match[1]): file for file, match in found.items() if match}
        return {epoch: epochs[epoch] for epoch in sorted(epochs)}

    def rewind(self, epoch: int, rows: Sequence[Row] | None = None) -> list[Row]:
        """Remove everything after ``epoch``, which a resumed run makes again. Returns: the remaining rows.

        ``rows`` are those of the checkpoint, from which metrics.csv is written again if it differs.
        """
        kept = [row for row in (self.read_rows() if rows is None else rows) if row["epoch"] <= epoch]
        there = self.metrics.read_bytes() if self.metrics.exists() else b""
        if (kept or there) and there != rows_to_csv(kept).encode():
            self.write_rows(kept)
        for later, file in self.snapshot_files().items():
            if later > epoch:
                file.unlink()
        for file in (self.config, self.metrics, self.checkpoint, self.snapshots / "epoch_"):
            files.remove_leftovers(file)
        return kept
