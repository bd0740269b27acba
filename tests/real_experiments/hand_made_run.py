"""A training run as ``train`` leaves it, without a training: its numbers are made up."""

import math
from pathlib import Path

import torch

from real_experiments.recipe import Recipe
from real_experiments.schedule import measured_epochs, snapshot_epochs
from real_experiments.training_checkpoint import write_checkpoint
from real_experiments.training_directory import Row, TrainingDirectory

EPOCHS = 24
RECIPE = Recipe(width=4, dataset="fashion-mnist-sample", subset=6, batch_size=3, epochs=EPOCHS)
FIRST = 7  # epoch without training error


def rows() -> list[Row]:
    """A row for each epoch that the recipe measures."""
    return [
        {
            "epoch": e,
            "train_error": float(e < FIRST),
            "nc0": 0.1 + 1 / 3**e,
            "certificate_gap": math.inf if e < 5 else 0.5,
        }
        for e in measured_epochs(EPOCHS)
    ]


def made_run(path: Path) -> TrainingDirectory:
    """The run."""
    directory = TrainingDirectory(path)
    directory.write_config({"arguments": RECIPE.to_json()})
    directory.write_rows(rows())
    for epoch in sorted({*snapshot_epochs(EPOCHS), FIRST}):
        tensors = {"W": torch.eye(2, 3), "H": torch.ones(3, 6), "labels": torch.arange(6) // 3}
        directory.write_snapshot(epoch, tensors, {"first_without_error": epoch == FIRST})
    dataset = {"name": "made up", "class_counts": [3, 3], "checksum": 0}
    write_checkpoint(directory.checkpoint, {"parameter.x": torch.ones(3)}, RECIPE, dataset, 2 * EPOCHS, rows())
    return directory
