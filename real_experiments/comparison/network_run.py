"""A training run as `train` left it: its recipe, its measurements and its snapshots."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

import ulpm
from real_experiments.recipe import Recipe
from real_experiments.schedule import log_spaced_epochs
from real_experiments.training_checkpoint import Checkpoint
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
        """Raises: OSError with one sentence if there is no run, or it is damaged or has measured no epoch yet.

        The checkpoint has a checksum, so it decides what is true: config.json and metrics.csv must say the same, and no
        snapshot may be missing. A run that has no checkpoint yet is read as it is.
        """
        directory = TrainingDirectory(path)
        recipe = directory.read_recipe()
        checkpoint = directory.read_checkpoint() if directory.checkpoint.exists() else None
        rows = directory.read_rows()
        if checkpoint is not None:
            _require_whole(directory, checkpoint, rows)
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
        return _first_without_error(self.rows)

    def row(self, epoch: int) -> Row:
        """The measurement at an epoch. Raises: ValueError if there is none."""
        for row in self.rows:
            if row["epoch"] == epoch:
                return row
        raise ValueError(f"{self.directory.path} has no measurement at epoch {epoch}.")

    def state(self, epoch: int, device: torch.device) -> tuple[ulpm.Problem, ulpm.State]:
        """W, H and b of a snapshot in float64, and the model with the network's loss, without decay.

        Raises: ValueError if there is no snapshot, OSError if it is damaged.
        """
        available = self.directory.snapshot_files()
        if epoch not in available:
            known = ", ".join(map(str, available)) or "none"
            raise ValueError(f"{self.directory.path} has no snapshot at epoch {epoch}: there are {known}.")
        tensors, _ = self.directory.read_snapshot(epoch)
        try:
            W, H, labels = (tensors[name].to(device) for name in ("W", "H", "labels"))
            b = tensors["bias"].to(device).double() if self.recipe.bias else None
            problem, state = ulpm.from_features(H.T.double(), labels, classifier=W.double())
            loss, bias = self.recipe.model_loss, self.recipe.bias
            problem = ulpm.Problem(problem.class_counts, problem.feature_dim, loss, bias=bias)
            return problem, ulpm.State(state.W, state.H, b)
        except (KeyError, ValueError, TypeError, RuntimeError, IndexError) as error:
            file = available[epoch]
            raise OSError(f"{file} is damaged: it does not hold W, H and labels that fit together.") from error


def _require_whole(directory: TrainingDirectory, checkpoint: Checkpoint, rows: Sequence[Row]) -> None:
    """Raise OSError if the table or the snapshots lack or change something that was there at the checkpoint."""
    trained = checkpoint.epochs
    advice = "`train` with --resume makes it again from the checkpoint"
    if not directory.agrees_with(checkpoint.rows):
        raise OSError(f"{directory.metrics} is damaged: it differs from the table in the checkpoint; {advice}.")
    due = {epoch for epoch in log_spaced_epochs(trained, checkpoint.recipe.snapshots_per_doubling) if epoch <= trained}
    if trained == checkpoint.recipe.epochs:
        due.add(trained)
    first = _first_without_error(rows)
    if first is not None and first <= trained:
        due.add(first)
    missing = sorted(due - directory.snapshot_files().keys())
    if missing:
        raise OSError(f"{directory.snapshots} lacks the snapshot of epoch {missing[0]}, which the training wrote.")


def _first_without_error(rows: Sequence[Row]) -> int | None:
    return next((int(row["epoch"]) for row in rows if row["train_error"] == 0), None)
