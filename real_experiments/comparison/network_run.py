"""A training run as `train` left it: its recipe, its measurements and its snapshots."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

import ulpm
from real_experiments.recipe import Recipe
from real_experiments.training_directory import Row, TrainingDirectory

__all__ = ["NetworkRun"]


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkRun:
    """A training run as it is on disk."""

    directory: TrainingDirectory
    recipe: Recipe
    rows: Sequence[Row]

    @classmethod
    def read(cls, path: Path) -> "NetworkRun":
        """Raises: OSError with one sentence if there is no run, or it is damaged or has measured no epoch yet."""
        directory = TrainingDirectory(path)
        config = directory.read_config()
        try:
            recipe = Recipe.from_json(config["arguments"])
        except (TypeError, ValueError) as error:
            raise OSError(f"{directory.config} is damaged: it is not the configuration of a training run.") from error
        rows = directory.read_rows()
        if not rows:
            raise OSError(f"{path} has measured no epoch yet: train it first.")
        return cls(directory, recipe, rows)

    @property
    def name(self) -> str:
        """As in "resnet18 (width 16) on fashion-mnist, 2000 images"."""
        r = self.recipe
        images = f", {r.subset} images" if r.subset else f", {r.class_counts} images" if r.class_counts else ""
        images += " of the test split" if r.split == "test" else ""
        how = f", {how}" if (how := r.deviation()) else ""
        return f"{r.model} (width {r.width}) on {r.dataset}{images}{how}"

    def epoch_without_error(self) -> int | None:
        """The first measured epoch at zero training error."""
        return next((int(row["epoch"]) for row in self.rows if row["train_error"] == 0), None)

    def row(self, epoch: int) -> Row:
        """The measurement at an epoch. Raises: ValueError if there is none."""
        for row in self.rows:
            if row["epoch"] == epoch:
                return row
        raise ValueError(f"{self.directory.path} has no measurement at epoch {epoch}.")

    def state(self, epoch: int, device: torch.device) -> tuple[ulpm.Problem, ulpm.State]:
        """W and H of a snapshot in float64. Raises: ValueError if there is none, OSError if it is damaged."""
        available = list(self.directory.snapshot_files())
        if epoch not in available:
            known = ", ".join(map(str, available)) or "none"
            raise ValueError(f"{self.directory.path} has no snapshot at epoch {epoch}: there are {known}.")
        tensors, _ = self.directory.read_snapshot(epoch)
        W, H, labels = (tensors[name].to(device) for name in ("W", "H", "labels"))
        return ulpm.from_features(H.T.double(), labels, classifier=W.double())
