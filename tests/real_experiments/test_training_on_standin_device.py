"""A network trains, is measured and is compared with its model on a device as on the CPU, to the last bit."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from both_devices import on_both
from standin_device import NAME, count, parameters_on_the_device

sys.path.insert(0, str(Path(__file__).parent / "comparison"))
from flow_as_network import START, STEP, write_run

import ulpm
from real_experiments.__main__ import main
from real_experiments.comparison.network_run import NetworkRun
from real_experiments.recipe import Recipe
from real_experiments.trainer import Trainer
from real_experiments.training_directory import TrainingDirectory
from ulpm.forecasting import ModelFlow, measured_mobility
from ulpm.support import Shard

TINY = Recipe(model="resnet18", width=2, dataset="fashion-mnist-sample", class_counts="8,6,4", batch_size=8, epochs=1)
CHANGES: dict[str, dict[str, object]] = {
    "as it is": {},
    "adam, bias and focal loss": {"optimizer": "adam", "bias": True, "loss": "focal", "gamma": 1.5},
    "decoupled decay and squared error": {"decoupled_decay": True, "weight_decay": 0.01, "loss": "squared-error"},
}


def trainer(recipe: Recipe, device: str) -> Trainer:
    where = torch.device(device)
    with parameters_on_the_device():
        return Trainer(recipe, recipe.load_data(where), Shard(device=where))


@pytest.mark.parametrize("changes", CHANGES)
def test_an_epoch_and_its_measurement_are_those_of_the_cpu(changes: str) -> None:
    recipe = dataclasses.replace(TINY, **CHANGES[changes])

    def epoch(device: str) -> list[object]:
        run = trainer(recipe, device)
        while not run.at_end_of_epoch or run.steps == 0:
            run.step()
        assert all(parameter.device.type == device for parameter in run.model.parameters())
        row, measurement = run.measure()
        return [run.running_loss_and_error(), row, measurement, run.state()]

    on_both(epoch)


def test_batches_of_an_epoch_never_wait_for_the_device() -> None:
    run = trainer(TINY, NAME)
    run.step()
    with count() as counts:
        run.step()
    assert counts.waits == 0, counts.by_site


def test_the_command_line_trains_and_resumes_on_the_device(tmp_path: Path) -> None:
    sizes = "--model resnet18 --width 2 --dataset fashion-mnist-sample --class-counts 8,6,4 --batch-size 8 --epochs 2"
    for device in (NAME, "cpu"):
        with parameters_on_the_device():
            command = ["train", *sizes.split(), "--no-progress", "--device", device, "--out", str(tmp_path / device)]
            if device == NAME:
                assert main([*command[:-2], "--epochs", "1", *command[-2:]]) == 0
                command.append("--resume")
            assert main(command) == 0
    there, here = (TrainingDirectory(tmp_path / device) for device in (NAME, "cpu"))
    assert there.read_rows() == here.read_rows()
    assert there.checkpoint.read_bytes() == here.checkpoint.read_bytes()


def test_a_flow_of_a_comparison_is_that_of_the_cpu(tmp_path: Path) -> None:
    write_run(tmp_path / "r", mobility=4.0, epochs=START + 2 * STEP)
    run = NetworkRun.read(tmp_path / "r")

    def followed(device: str) -> list[object]:
        problem, state = run.state(START, torch.device(device))
        flow = ModelFlow("own", problem, state, measured_mobility(state), starts_at=1.0)
        path = flow.follow(0.5, 1.02, tmp_path / device, rtol=1e-3, progress=False)
        return [path, flow.curve(path), flow.network_state(path.final_state)]

    path = on_both(followed)[0]
    assert isinstance(path, ulpm.Trajectory)
    assert path.final_state.W.device.type == NAME
