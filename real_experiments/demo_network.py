"""The small file that shows a trained network on the page of ``ulpm demo``: a few features a class, on three axes.

    python -m real_experiments.demo_network runs/r --out ulpm/data/demo_network.npz

The axes are the principal directions of the last classifier and the same at all epochs. Lengths are relative: class
means and features are taken from the mean μ_G of the class means and divided by the root mean square of ‖μ_k − μ_G‖,
the rows of the classifier from their own mean, which changes no prediction, and divided by their root mean square.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

import ulpm
from real_experiments.datasets import find_dataset
from real_experiments.models import find_network
from real_experiments.training_directory import TrainingDirectory
from ulpm.demo import closest_rotation, principal_axes
from ulpm.support import files, in_any_terminal, wide_enough

__all__ = ["DemoNetwork", "main"]

_FEATURES_OF_A_CLASS = 10
_COLUMNS = (
    "train_loss",
    "train_error",
    "nc1_pinv",
    "nc2_angle_means",
    "certificate_lower_bound",
    "certificate_nuclear_upper_bound",
)


@dataclasses.dataclass(frozen=True)
class DemoNetwork:
    """Make the file from the snapshots of a training run with the same number of images in each class."""

    run_directory: tyro.conf.Positional[Path]
    """The --out of `python -m real_experiments train`."""
    out: Path
    """The .npz file to write."""

    def run(self) -> None:
        directory = TrainingDirectory(self.run_directory)
        config = directory.read_config()
        counts = config["dataset"]["class_counts"]
        if len(set(counts)) > 1:
            raise ValueError(f"the page draws classes of equal size, but the run has {counts}.")
        rows = {row["epoch"]: row for row in directory.read_rows()}
        epochs = [epoch for epoch in directory.snapshot_files() if epoch in rows]
        if len(epochs) < 2:
            raise ValueError(f"{self.run_directory} has fewer than 2 snapshots of measured epochs: train on.")
        lacking = [name for name in _COLUMNS if name not in rows[epochs[-1]]]
        if lacking:
            raise ValueError(f"{directory.metrics} lacks {lacking[0]}: the page shows networks of cross-entropy.")
        snapshots = [directory.read_snapshot(epoch)[0] for epoch in epochs]
        states = [_relative(snapshot) for snapshot in snapshots]
        last_rows, last_features, _ = states[-1]
        axes = principal_axes(last_rows, last_features.T)
        target = ulpm.simplex_etf(*last_rows.shape)
        arrays = {
            "rows": torch.stack([W @ axes.T for W, _, _ in states]),
            "features": torch.stack([shown @ axes.T for _, shown, _ in states]),
            "means": torch.stack([means @ axes.T for _, _, means in states]),
            "target": target @ closest_rotation(target, last_rows) @ axes.T,
            **{name: torch.tensor([rows[epoch][name] for epoch in epochs]) for name in _COLUMNS},
            "nc3_duality": torch.stack([_self_duality(snapshot) for snapshot in snapshots]),
        }
        found = {name: array.float().numpy() for name, array in arrays.items()}
        found["epochs"] = np.array(epochs)
        found["feature_classes"] = np.repeat(np.arange(len(counts)), last_features.shape[0] // len(counts))
        about = {
            "samples_of_a_class": counts[0],
            # A run may have only the first of the classes.
            "class_names": find_dataset(config["arguments"]["dataset"]).classes[: len(counts)],
            **_words(config["arguments"], config["num_samples"], len(counts), epochs[-1]),
        }
        found["about"] = np.array(json.dumps(about))
        files.replace_file(self.out, lambda temporary: np.savez_compressed(temporary, allow_pickle=False, **found))


def _relative(snapshot: dict[str, Tensor]) -> tuple[Float[Tensor, "K d"], Float[Tensor, "M d"], Float[Tensor, "K d"]]:
    """Classifier rows, the first features of each class and the class means, from their means and divided as said."""
    W, H, labels = snapshot["W"].double(), snapshot["H"].double(), snapshot["labels"]
    by_class = H.T.reshape(len(W), -1, H.shape[0])  # [K, n, d]: columns are sorted by class
    if not torch.equal(labels, torch.arange(len(W)).repeat_interleave(by_class.shape[1])):
        raise ValueError("a snapshot's features must be sorted by class, with the same number in each.")
    means = by_class.mean(1)
    origin = means.mean(0)
    size = (means - origin).square().sum(1).mean().sqrt()
    rows = W - W.mean(0)
    shown = by_class[:, :_FEATURES_OF_A_CLASS].flatten(0, 1)
    return rows / rows.square().sum(1).mean().sqrt(), (shown - origin) / size, (means - origin) / size


def _self_duality(snapshot: dict[str, Tensor]) -> Tensor:
    """nc3_duality of the whole state: table and snapshot agree, but tables of earlier versions have no such column."""
    return ulpm.neural_collapse(snapshot["W"], snapshot["H"], snapshot["labels"])["nc3_duality"]


def _words(arguments: dict[str, object], images: int, classes: int, epochs: int) -> dict[str, str]:
    """Caption and facts. No measured number is in them."""
    model, data = find_network(str(arguments["model"])).title, find_dataset(str(arguments["dataset"])).title
    caption = (
        f"A real network, {model} on {images:,} images: while it trains, its last-layer features gather by class and "
        f"turn towards the same simplex, but {epochs} epochs are an early time of the flow."
    )
    facts = (
        f"{model} of width {arguments['width']}, {images:,} images of {data} in {classes} classes; stochastic gradient "
        f"descent, learning rate {arguments['learning_rate']}, momentum {arguments['momentum']}, batches of "
        f"{arguments['batch_size']}, weight decay {arguments['weight_decay']:g}, seed {arguments['seed']}; "
        "measured in evaluation mode at the epochs of its snapshots. "
        "Scale: class means and features from the mean of the class means, classifier rows from their mean, each "
        "divided by its root mean square length."
    )
    return {"caption": caption, "facts": facts}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the file. Returns: the exit status, 0 if all went well, 1 with one sentence on standard error otherwise."""
    return in_any_terminal("real_experiments", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    with wide_enough():
        command = tyro.cli(DemoNetwork, prog="python -m real_experiments.demo_network", args=arguments)
    try:
        command.run()
    except (ValueError, OSError) as error:
        print(f"real_experiments: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
