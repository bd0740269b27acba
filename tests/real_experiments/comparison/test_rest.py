"""A network with weight decay ends where its own model says, if the network is the model; and a page says so."""

import json
import math
from pathlib import Path

import pytest
import torch
from flow_as_network import PROBLEM, TIME, write_run

import ulpm
from real_experiments.__main__ import main
from real_experiments.comparison.analysis import analyse
from real_experiments.comparison.network_run import NetworkRun
from real_experiments.comparison.pairing import OWN, OWN_MOBILE, Comparison, compare_with_model
from real_experiments.comparison.rest import Rest, decay_of_mean_loss, rest_quantities
from real_experiments.comparison.words import rest_words
from real_experiments.recipe import Recipe

pytestmark = pytest.mark.usefixtures("unchecked_module")

CPU = torch.device("cpu")
MOBILITY, DECAY, EPOCHS = 9.0, 0.1, 60
LOSSES = [{"label_smoothing": 0.1}, {"loss": "squared-error", "bias": True}]


def compared(path: Path) -> Comparison:
    return compare_with_model(NetworkRun.read(path), None, None, 0, 1e-6, CPU, path / "flows", progress=False)


def rest_of(path: Path, **changes: object) -> Rest:
    write_run(path, MOBILITY, EPOCHS, weight_decay=DECAY, **changes)
    found = compared(path).rest
    assert found is not None
    return found


@pytest.mark.parametrize("changes", LOSSES, ids=str)
def test_a_network_that_is_the_model_ends_at_the_optimum_of_the_model(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    rest = rest_of(tmp_path / "r", **changes)
    assert rest.weight_decay == pytest.approx((DECAY, DECAY / MOBILITY), rel=1e-5)
    assert rest.halvings == pytest.approx(2 * 15 * DECAY * EPOCHS * TIME / math.log(2))
    assert rest.optimum is not None
    assert rest.duality_gap == pytest.approx(0, abs=1e-12)
    assert rest.network["pull"] == pytest.approx(1, abs=5e-3)
    assert rest.optimum["pull"] == pytest.approx(1, abs=1e-6)
    for name in ("train_loss", "objective", "row_norm", "feature_norm", "mean_margin", "margin"):
        assert rest.network[name] == pytest.approx(rest.optimum[name], rel=5e-3), name
        assert rest.flows[OWN_MOBILE][name] == pytest.approx(rest.network[name], rel=1e-4), name
    assert rest.network["nc1_ratio"] < 1e-2
    assert abs(rest.flows[OWN]["nc1_ratio"] / rest.network["nc1_ratio"] - 1) > 0.1  # features of another mobility
    assert rest.network["objective"] >= rest.optimum["objective"] * (1 - 1e-9)
    assert ": at rest within 5%" in rest_words(rest)


def test_a_network_that_decay_had_no_time_for_is_not_at_rest(tmp_path: Path) -> None:
    write_run(tmp_path / "r", MOBILITY, EPOCHS, weight_decay=1e-4)
    rest = compared(tmp_path / "r").rest
    assert rest is not None
    assert rest.halvings < 0.1
    assert rest.network["pull"] > 2
    assert ": not at rest" in rest_words(rest)


def test_the_focal_loss_with_decay_is_compared_with_the_flows_alone(tmp_path: Path) -> None:
    rest = rest_of(tmp_path / "r", loss="focal")
    assert rest.optimum is rest.duality_gap is None
    assert rest.flows[OWN_MOBILE]["row_norm"] == pytest.approx(rest.network["row_norm"], rel=1e-4)
    assert "the optimum of this model is not known" in rest_words(rest).lower()


@pytest.mark.parametrize("changes", [{"loss": "squared-error"}, {"bias": True}], ids=str)
def test_other_losses_and_a_bias_are_compared_without_decay_too(tmp_path: Path, changes: dict[str, object]) -> None:
    write_run(tmp_path / "r", 1.0, EPOCHS, **changes)
    comparison = compared(tmp_path / "r")
    assert comparison.rest is None
    assert comparison.problem.loss == Recipe(**changes).model_loss  # type: ignore[arg-type]
    for each in analyse(comparison).forecasts[OWN]["flow_time"]:
        assert max(each.factor(name) for name in comparison.compared) < 1.005


@pytest.mark.usefixtures("unspaced")
def test_the_page_of_a_network_with_decay_says_where_both_end(tmp_path: Path) -> None:
    write_run(tmp_path / "r", MOBILITY, EPOCHS, weight_decay=DECAY, loss="squared-error")
    command = ["compare", str(tmp_path / "r"), "--out", str(tmp_path / "c"), "--no-progress"]
    assert main(command) == 0
    page = (tmp_path / "c" / "comparison.md").read_text()
    assert "squared error, weight decay 0.1, compared with the model" in page
    assert "## End states of network and model" in page
    assert "the model's optimum" in page
    assert "λ_W = 0.1" in page
    assert "nothing conserves Σ_k w_k" in page
    assert "nan" not in page
    assert "v*" not in page  # there is no margin problem
    numbers = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert numbers["rest"]["weight_decay"] == pytest.approx([DECAY, DECAY / MOBILITY], rel=1e-5)
    assert numbers["margin_ratio"] == [None, None]


def test_the_decay_of_the_mean_loss_is_that_of_the_optimiser() -> None:
    assert decay_of_mean_loss(Recipe(weight_decay=0.1, momentum=0.9)) == 0.1
    assert decay_of_mean_loss(Recipe(weight_decay=0.1, momentum=0.9, decoupled_decay=True)) == pytest.approx(0.01)
    assert decay_of_mean_loss(Recipe(weight_decay=0.1, optimizer="adamw")) == 0


def test_a_network_of_adam_is_compared_with_the_model_without_decay(tmp_path: Path) -> None:
    write_run(tmp_path / "r", 1.0, 30, optimizer="adam", weight_decay=DECAY)
    assert compared(tmp_path / "r").rest is None


def test_the_pull_is_what_the_loss_adds_to_the_norm_of_the_rows() -> None:
    problem = ulpm.Problem(PROBLEM.class_counts, 6, weight_decay=(0.3, 0.1), bias=True)
    state = problem.random_state(seed=0)
    state = ulpm.State(state.W, state.H, torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64))
    plain, h = ulpm.Problem(PROBLEM.class_counts, 6, bias=True), 1e-5
    losses = [float(ulpm.log_loss(plain, ulpm.State((1 + e) * state.W, state.H, state.b)).exp()) for e in (-h, h)]
    slope = (losses[1] - losses[0]) / (2 * h)
    expected = -slope / (0.3 * float(state.W.square().sum()))
    assert rest_quantities(problem, state)["pull"] == pytest.approx(expected, rel=1e-6)
