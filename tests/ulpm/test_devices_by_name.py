"""Any accelerator that torch knows may be named; what is not here, or has no float64, is refused in one sentence."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from standin_device import NAME, parameters_on_the_device, without_float64

import ulpm
from ulpm import _checks
from ulpm.cli import main

pytestmark = pytest.mark.usefixtures("unchecked")

PROBLEM = ulpm.Problem([2, 3], 4)


def one_sentence(message: pytest.ExceptionInfo[ValueError]) -> None:
    text = str(message.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert ". " not in text


@pytest.mark.parametrize("name", [NAME, f"{NAME}:0", "cpu"])
def test_a_device_that_is_here_is_found(name: str) -> None:
    assert _checks.device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["meta", "abacus", "", "xpu:7", "mps", "hpu", "vulkan"])
def test_a_device_that_is_not_here_is_one_sentence(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"device {name!r} is not available here: use 'cpu'")) as message:
        PROBLEM.random_state(device=name)
    one_sentence(message)


def test_a_registered_device_is_accepted_wherever_one_is_named(tmp_path: Path) -> None:
    state = PROBLEM.random_state(device=NAME)
    assert state.W.device.type == PROBLEM.random_state().to(NAME).H.device.type == NAME
    assert ulpm.ClassMoments(2, 4, device=torch.device(NAME)).counts.device.type == NAME
    ulpm.gradient_flow(PROBLEM, PROBLEM.random_state(), log_time=3, max_steps=2, checkpoint=tmp_path / "c")
    path = ulpm.resume_flow(tmp_path / "c", device=NAME, max_steps=4)
    assert path.final_state.W.device.type == NAME
    assert path.config["device"] == NAME


def test_the_command_line_takes_a_registered_device(tmp_path: Path) -> None:
    flow = ["flow", "--class-counts", "2,2", "--feature-dim", "2", "--log-time", "0", "--records", "3"]
    quiet = ["--no-progress", "--no-figures"]
    for device in (NAME, "cpu"):
        assert main([*flow, *quiet, "--device", device, "--out", str(tmp_path / device)]) == 0
    there, here = (ulpm.Trajectory.load(tmp_path / device / "trajectory.safetensors") for device in (NAME, "cpu"))
    assert there.config["device"].startswith(NAME)
    assert there.stats == here.stats
    assert torch.equal(there.log_loss, here.log_loss)


NEEDING_FLOAT64: dict[str, Callable[[], object]] = {
    "random_state": lambda: PROBLEM.random_state(device=NAME),
    "state": lambda: PROBLEM.random_state().to(NAME),
    "moments": lambda: ulpm.ClassMoments(2, 4, device=NAME),
}


@pytest.mark.parametrize("name", NEEDING_FLOAT64)
def test_a_device_without_float64_is_one_sentence_that_names_float32(name: str) -> None:
    with (
        without_float64(),
        pytest.raises(ValueError, match=f"device '{NAME}' has no float64: use float32 there") as message,
    ):
        NEEDING_FLOAT64[name]()
    one_sentence(message)


MEASURED: dict[str, Callable[[ulpm.State], object]] = {
    "flow": lambda state: ulpm.gradient_flow(PROBLEM, state, log_time=1),
    "descent": lambda state: ulpm.gradient_descent(PROBLEM, state, steps=2),
    "certificate": lambda state: ulpm.certify(PROBLEM, state),
    "landscape": lambda state: ulpm.sphere_critical_point(PROBLEM, state),
    "metrics": lambda state: ulpm.neural_collapse(state.W, state.H, PROBLEM.labels),
}


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_computed_in_float64_says_where_to_compute_it(name: str) -> None:
    with without_float64():
        state = PROBLEM.random_state(dtype=torch.float32, device=NAME)
        with pytest.raises(ValueError, match="the device 'standin:0' has only float32: use the CPU") as message:
            MEASURED[name](state)
    one_sentence(message)


def test_a_network_on_a_device_without_float64_is_measured_on_the_cpu() -> None:
    torch.manual_seed(0)
    layers = torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    network, batch = torch.nn.Sequential(*layers), (torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
    expected = ulpm.measure(network, [batch])
    with without_float64(), parameters_on_the_device():
        found = ulpm.measure(network.to(NAME), [batch])
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_float32_is_all_that_a_start_on_a_device_without_float64_needs() -> None:
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % 2
    expected = ulpm.from_features(features, labels)[1]
    with without_float64():
        state = PROBLEM.random_state(dtype=torch.float32, device=NAME)
        built = ulpm.from_features(features.to(NAME), labels)[1]
    assert torch.equal(state.W.cpu(), PROBLEM.random_state(dtype=torch.float32).W)
    assert torch.equal(built.W.cpu(), expected.W)
    assert torch.equal(built.H.cpu(), expected.H)
