"""A checkpoint holds all that the next step depends on, and is refused when it belongs to something else."""

import dataclasses
from pathlib import Path

import pytest
import torch

from real_experiments.recipe import Recipe
from real_experiments.trainer import Trainer
from real_experiments.training_checkpoint import identify, read_checkpoint, write_checkpoint
from ulpm import _files
from ulpm.support import Shard

CPU = torch.device("cpu")
TINY = Recipe(model="resnet18", width=4, dataset="fashion-mnist-sample", subset=60, batch_size=16, epochs=3)


def trainer(recipe: Recipe = TINY) -> Trainer:
    return Trainer(recipe, recipe.load_data(CPU), Shard())


def written(path: Path, made: Trainer) -> Path:
    write_checkpoint(path, made.state(), made.recipe, identify(made.dataset), made.steps, [])
    return path


@pytest.mark.parametrize("momentum", [0.0, 0.3])
@pytest.mark.parametrize("steps", [0, 3, 4, 6])
def test_a_run_cut_after_any_step_goes_on_with_the_same_bits(tmp_path: Path, steps: int, momentum: float) -> None:
    recipe = dataclasses.replace(TINY, momentum=momentum)
    whole = trainer(recipe)
    for _ in range(steps):
        whole.step()
    file = written(tmp_path / "c.safetensors", whole)
    again = trainer(recipe)
    again.restore(file, *read_checkpoint(file, recipe, identify(again.dataset)))
    for _ in range(4):
        whole.step()
        again.step()
    states = whole.state(), again.state()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert any(name.startswith("momentum.") for name in states[0]) == (momentum > 0)


@pytest.mark.parametrize(
    "changes",
    [{"label_smoothing": 0.1}, {"loss": "focal"}, {"loss": "squared-error", "decoupled_decay": True}],
    ids=str,
)
def test_a_run_with_decay_bias_and_another_loss_goes_on_with_the_same_bits(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    recipe = dataclasses.replace(TINY, weight_decay=0.01, bias=True, **changes)
    whole = trainer(recipe)
    for _ in range(3):
        whole.step()
    file = written(tmp_path / "c.safetensors", whole)
    again = trainer(recipe)
    again.restore(file, *read_checkpoint(file, recipe, identify(again.dataset)))
    for _ in range(3):
        whole.step()
        again.step()
    assert all(torch.equal(value, again.state()[name]) for name, value in whole.state().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "vgg13"}, "another run, with --model resnet18 \\(not vgg13\\): nothing was changed"),
        ({"width": 8, "seed": 3}, "with --width 4 \\(not 8\\), --seed 0 \\(not 3\\)"),
        ({"weight_decay": 0.1}, "--weight-decay 0.0 \\(not 0.1\\)"),
        ({"loss": "squared-error"}, "--loss cross-entropy \\(not squared-error\\)"),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    file = written(tmp_path / "c.safetensors", trainer())
    other = dataclasses.replace(TINY, **change)
    with pytest.raises(OSError, match=message):
        read_checkpoint(file, other, identify(other.load_data(CPU)))


def test_a_checkpoint_of_other_images_is_refused(tmp_path: Path) -> None:
    made = trainer()
    file = written(tmp_path / "c.safetensors", made)
    images = made.dataset.images.clone()
    images[0, 0, 0, 0] += 1
    other = identify(dataclasses.replace(made.dataset, images=images))
    with pytest.raises(OSError, match="made with other images or labels of fashion-mnist-sample"):
        read_checkpoint(file, TINY, other)


def test_a_checkpoint_of_another_network_leaves_this_one_as_it_was(tmp_path: Path) -> None:
    made, other = trainer(), trainer(dataclasses.replace(TINY, width=2))
    before = {name: value.clone() for name, value in made.state().items()}
    with pytest.raises(OSError, match="the checkpoint of another network: its parameters do not fit"):
        made.restore(tmp_path / "c.safetensors", other.state(), 3)
    assert all(torch.equal(value, before[name]) for name, value in made.state().items())
    assert made.steps == 0


def test_files_that_are_torn_or_something_else_are_refused(tmp_path: Path) -> None:
    made = trainer()
    dataset = identify(made.dataset)
    file = written(tmp_path / "c.safetensors", made)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(OSError, match="damaged or truncated"):
        read_checkpoint(file, TINY, dataset)
    _files.write_tensors(file, {}, {"kind": "trajectory"})
    with pytest.raises(OSError, match="holds a trajectory, not a training checkpoint"):
        read_checkpoint(file, TINY, dataset)
    _files.write_tensors(file, {}, {"kind": "training checkpoint", "recipe": {"unheard": 1}})
    with pytest.raises(OSError, match="another version of this program"):
        read_checkpoint(file, TINY, dataset)
