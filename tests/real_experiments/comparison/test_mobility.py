"""What is read off the norms of a network: of one that is the model itself, the mobility that it was made with."""

from pathlib import Path

import pytest
import torch
from flow_as_network import END, PROBLEM, START, write_run

import ulpm
from real_experiments.comparison.mobility import means_and_outside, mobility_history
from real_experiments.comparison.network_run import NetworkRun

pytestmark = pytest.mark.usefixtures("unchecked_module")


@pytest.mark.parametrize("mobility", [1.0, 9.0])
def test_norms_gain_in_the_ratio_of_the_mobility(tmp_path: Path, mobility: float) -> None:
    write_run(tmp_path / "r", mobility)
    first, last = mobility_history(NetworkRun.read(tmp_path / "r"))
    assert (first.epoch, last.epoch) == (START, END)
    assert first.gained is None
    assert first.ratio == pytest.approx(mobility, rel=1e-6)
    assert last.gained == pytest.approx(mobility, rel=1e-4)


def test_classes_and_centred_parts_are_measured_by_their_definitions(tmp_path: Path) -> None:
    write_run(tmp_path / "r", 4.0)
    run = NetworkRun.read(tmp_path / "r")
    first = mobility_history(run)[0]
    _, state = run.state(START, torch.device("cpu"))
    W, H = state.W, state.H
    of_classes = [float(H[:, 5 * k : 5 * k + 5].square().sum() / W[k].square().sum()) for k in range(3)]
    assert first.class_scatter == pytest.approx(float(torch.tensor(of_classes).log().std()), rel=1e-5)
    centred = (H - H.mean(1, keepdim=True)).square().sum() / (W - W.mean(0)).square().sum()
    assert first.centered == pytest.approx(float(centred), rel=1e-6)


def test_means_in_the_span_of_the_rows_have_no_part_outside_it() -> None:
    state = ulpm.collapsed_state(PROBLEM, norm=3.0)
    inside, outside = means_and_outside(PROBLEM, state)
    assert outside < 1e-14 * inside
    # A direction orthogonal to every row, along which the means of two classes differ by 2.
    direction = torch.linalg.qr(state.W.mT, mode="complete").Q[:, -1:]
    signs = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)[PROBLEM.labels]
    moved = ulpm.State(state.W, state.H + direction * signs)
    assert means_and_outside(PROBLEM, moved)[1] == pytest.approx(2**0.5, rel=1e-12)
