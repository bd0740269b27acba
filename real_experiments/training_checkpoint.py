"""The state of a training run in one file: parameters, buffers, momentum, table, recipe and training set."""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from real_experiments.data import Dataset
from real_experiments.recipe import Recipe
from real_experiments.schedule import steps_per_epoch
from real_experiments.table import Row
from ulpm.support import files

__all__ = [
    "Checkpoint",
    "identify",
    "read_checkpoint",
    "restore_network",
    "restore_training",
    "training_state",
    "write_checkpoint",
]

_KIND = "training checkpoint"
_TABLE = "metrics"
# What torch's optimisers keep for each parameter, and the prefix of its tensors in the file.
_OF_OPTIMIZER = {
    "momentum_buffer": "momentum.",
    "exp_avg": "mean_gradient.",
    "exp_avg_sq": "mean_squared_gradient.",
    "step": "step.",
}


def identify(dataset: Dataset) -> dict[str, Any]:
    """The identity of a training set: its name, class counts and a checksum of images and labels."""
    images = zlib.crc32(dataset.images.float().cpu().contiguous().numpy())  # type: ignore[arg-type]  # a buffer
    return {
        "name": dataset.name,
        "class_counts": [int(count) for count in dataset.class_counts],
        "checksum": zlib.crc32(dataset.labels.cpu().contiguous().numpy(), images),  # type: ignore[arg-type]
    }


def training_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Every tensor that the next step depends on. Only the order is random, and (seed, epoch) determines it."""
    state: dict[str, Tensor] = {f"parameter.{name}": value for name, value in model.named_parameters()}
    state |= {f"buffer.{name}": value for name, value in model.named_buffers()}
    for name, parameter in model.named_parameters():
        kept = optimizer.state.get(parameter, {})
        state |= {f"{prefix}{name}": kept[key] for key, prefix in _OF_OPTIMIZER.items() if kept.get(key) is not None}
    return state


def write_checkpoint(
    path: Path,
    tensors: Mapping[str, Tensor],
    recipe: Recipe,
    dataset: Mapping[str, Any],
    steps: int,
    rows: Sequence[Row],
) -> None:
    """Replace ``path``; ``dataset`` is what ``identify`` returned, ``rows`` what metrics.csv holds.

    Raises: OSError if that is not possible.
    """
    columns = list(dict.fromkeys(name for row in [*rows[-1:], *rows] for name in row))
    metadata = {"kind": _KIND, "recipe": recipe.to_json(), "dataset": dict(dataset), "steps": steps, "columns": columns}
    values = [[row.get(name, torch.nan) for name in columns] for row in rows]
    table = torch.tensor(values, dtype=torch.float64).reshape(len(rows), len(columns))
    files.write_tensors(path, {**tensors, _TABLE: table}, metadata)


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint: tensors, the recipe and training set that they belong to, and the number of steps taken.

    ``rows`` are those of metrics.csv at that time.
    """

    path: Path
    tensors: dict[str, Tensor]
    recipe: Recipe
    dataset: dict[str, Any]
    steps: int
    rows: Sequence[Row]

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Raises: OSError with one sentence if the file is missing, damaged or something else."""
        tensors, metadata = files.read_tensors(path)
        if metadata.get("kind") != _KIND:
            raise OSError(f"{path} holds a {metadata.get('kind')}, not a {_KIND}.")
        try:
            table = tensors.pop(_TABLE)
            recipe, dataset = Recipe.from_json(metadata["recipe"]), dict(metadata["dataset"])
            dataset["class_counts"] = [int(count) for count in dataset["class_counts"]]
            rows = _rows(table, metadata["columns"])
            return cls(path, tensors, recipe, dataset, int(metadata["steps"]), rows)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise OSError(f"{path} is a checkpoint of another version of this program ({error}).") from error

    @property
    def epochs(self) -> int:
        """Complete epochs."""
        return self.steps // steps_per_epoch(sum(self.dataset["class_counts"]), self.recipe.batch_size)

    def require(self, recipe: Recipe, dataset: Mapping[str, Any]) -> None:
        """Raise OSError with one sentence if this is of another recipe or training set."""
        differences = self.recipe.differences(recipe)
        if differences:
            raise OSError(f"{self.path} is the checkpoint of another run, with {differences}: nothing was changed.")
        if self.dataset != dict(dataset):
            name = self.dataset.get("name")
            raise OSError(f"{self.path} was made with other images or labels of {name}: nothing was changed.")


def read_checkpoint(path: Path, recipe: Recipe, dataset: Mapping[str, Any]) -> tuple[dict[str, Tensor], int]:
    """The tensors and the number of steps taken.

    Raises: OSError with one sentence if the file is missing, damaged, or of another network, recipe or training set.
    """
    found = Checkpoint.read(path)
    found.require(recipe, dataset)
    return found.tensors, found.steps


def _rows(table: Tensor, columns: Sequence[str]) -> list[Row]:
    """Raises: ValueError if the table has not these columns."""
    rows = [dict(zip(columns, values, strict=True)) for values in table.tolist()]
    return [{**row, "epoch": int(row["epoch"])} for row in rows]


def restore_network(path: Path, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put parameters and buffers back; ``path`` is for the message.

    Raises: OSError with one sentence if they are not those of ``model``, which is then unchanged.
    """
    _restore(path, "parameter.", dict(model.named_parameters()), tensors)
    _restore(path, "buffer.", dict(model.named_buffers()), tensors)


def restore_training(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Restore the network and the state of the optimiser. Raises: OSError as ``restore_network``."""
    restore_network(path, model, tensors)
    for key, prefix in _OF_OPTIMIZER.items():
        moving = {name: value for name, value in model.named_parameters() if f"{prefix}{name}" in tensors}
        # Adam counts its steps in a scalar on the host.
        kept = {name: torch.zeros(()) if key == "step" else torch.empty_like(value) for name, value in moving.items()}
        _restore(path, prefix, kept, tensors)
        for name, parameter in moving.items():
            optimizer.state[parameter][key] = kept[name]


@torch.no_grad()
def _restore(path: Path, prefix: str, targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    found = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    shapes = {name: (value.shape, value.dtype) for name, value in targets.items()}
    if {name: (value.shape, value.dtype) for name, value in found.items()} != shapes:
        raise OSError(f"{path} is the checkpoint of another network: its {prefix.rstrip('.')}s do not fit.")
    for name, target in targets.items():
        target.copy_(found[name])
