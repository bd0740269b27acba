"""A forecast of a network that is the model itself comes true, and is the one that a comparison of the run makes."""

import math

import numpy as np
import pytest
import torch

import ulpm
from ulpm.forecasting import COMPARED, with_mobility

PROBLEM = ulpm.Problem([5, 4, 3], 6)
MOBILITY, TIME = 9.0, 0.05  # flow time of an epoch

pytestmark = pytest.mark.usefixtures("unchecked")  # flows in full


def network(epoch: float, b: bool = False) -> ulpm.State:
    """The state at an epoch of the flow with MOBILITY from a state with ‖H‖² = MOBILITY · ‖W‖²."""
    drawn = PROBLEM.random_state(seed=3)
    bias = 0.1 * drawn.W[:, 0] if b else None
    start = ulpm.State(3 * drawn.W / drawn.W.norm(), 3 * drawn.H / drawn.H.norm(), bias)
    if epoch == 0:
        return with_mobility(start, 1 / MOBILITY)
    problem = ulpm.Problem(PROBLEM.class_counts, PROBLEM.feature_dim, bias=b)
    log_time = math.log(epoch * TIME * math.sqrt(MOBILITY))
    path = ulpm.gradient_flow(problem, start, log_time=log_time, rtol=1e-8, records=2)
    return with_mobility(path.final_state, 1 / MOBILITY)


def snapshot(epoch: float, b: bool = False) -> ulpm.Features:
    state = network(epoch, b)
    return ulpm.Features.of(state.H.T.contiguous(), PROBLEM.labels, state.W, state.b)


@pytest.mark.parametrize("b", [False, True])
def test_the_future_of_a_network_that_is_the_model_is_forecast(b: bool) -> None:
    found = ulpm.forecast(snapshot(20, b), snapshot(60, b), (20, 60), (120, 300), rtol=1e-7)
    mobile, plain = found.flows["mobile"], found.flows["plain"]
    for i, epoch in enumerate((120, 300)):
        state = network(epoch, b)
        true = ulpm.neural_collapse(state.W, state.H, PROBLEM.labels, state.b)
        for key in COMPARED:
            assert mobile.metrics[key][i] == pytest.approx(float(true[key]), rel=1e-5), key
        problem = ulpm.Problem(PROBLEM.class_counts, PROBLEM.feature_dim, bias=b)
        loss = float(ulpm.log_loss(problem, state).exp()) / PROBLEM.num_samples
        assert mobile.train_loss[i] == pytest.approx(loss, rel=1e-5)
    assert (
        max(abs(a / b - 1) for a, b in zip(plain.metrics["nc1_ratio"], mobile.metrics["nc1_ratio"], strict=True)) > 0.05
    )
    assert found.second["nc1_pinv"] == pytest.approx(float(snapshot(60, b).measure().metrics["nc1_pinv"]))


def test_an_early_epoch_is_as_exact_beside_a_late_one_as_alone() -> None:
    """Records over so long a time are far apart: the flow has one at each epoch that is asked for."""
    problem, epochs = ulpm.Problem([3, 3], 2), (61, 70, 1e5, 1e7)
    start = problem.random_state(seed=1, scale=1.5)

    def at(epoch: float) -> ulpm.State:
        return ulpm.gradient_flow(problem, start, log_time=math.log(epoch * TIME), rtol=1e-9, records=2).final_state

    first, second = (ulpm.Features.of(at(e).H.T.contiguous(), problem.labels, at(e).W) for e in (20, 60))
    plain = ulpm.forecast(first, second, (20, 60), epochs, rtol=1e-8).flows["plain"]
    for i, epoch in enumerate(epochs):
        true = ulpm.neural_collapse(at(epoch).W, at(epoch).H, problem.labels)
        for key in COMPARED:
            assert plain.metrics[key][i] == pytest.approx(float(true[key]), rel=1e-5, abs=1e-12), (key, epoch)
        loss = float(ulpm.log_loss(problem, at(epoch)).exp()) / problem.num_samples
        assert plain.train_loss[i] == pytest.approx(loss, rel=1e-6)
    assert len(plain.curve.flow_time) == 200 + len(epochs) - 1


def test_an_epoch_that_rounding_does_not_tell_from_the_second_snapshot_has_its_metrics() -> None:
    epoch, end = float(np.nextafter(25, 26)), 25
    assert epoch * 0.013 == end * 0.013
    found = ulpm.forecast(snapshot(20), snapshot(60), (20, end), (epoch, 100), time_per_epoch=0.013)
    for flow in found.flows.values():
        for key in COMPARED:
            assert flow.metrics[key][0] == pytest.approx(found.second[key], rel=1e-12), key


def test_mobility_and_the_time_of_an_epoch_are_found() -> None:
    found = ulpm.forecast(snapshot(20), snapshot(60), (20, 60), [100], rtol=1e-7)
    assert found.flows["mobile"].mobility == pytest.approx(MOBILITY, rel=1e-6)
    assert found.gained == pytest.approx(MOBILITY, rel=1e-5)
    assert found.flows["mobile"].time_per_epoch == pytest.approx(TIME, rel=1e-5)
    errors = found.check()
    assert errors["mobile"] == pytest.approx(1, abs=1e-5)
    assert min(errors["constant"], errors["plain"]) > 1.1
    given = ulpm.forecast(snapshot(20), snapshot(60), (20, 60), [100], rtol=1e-7, time_per_epoch=TIME)
    assert given.check() == {}
    for key in COMPARED:
        expected = found.flows["mobile"].metrics[key][0]
        assert given.flows["mobile"].metrics[key][0] == pytest.approx(expected, rel=1e-4), key


def test_a_loose_tolerance_does_not_drown_features_that_are_small_beside_the_classifier() -> None:
    problem = ulpm.Problem([5] * 3, 6)
    drawn = problem.random_state(seed=0, scale=0.1)
    path = ulpm.gradient_flow(problem, drawn, log_time=1.5, snapshots=2)
    W, H = 1e4 * path.snapshots.W[-1], 1e-4 * path.snapshots.H[-1]
    data = ulpm.Features.of(H.T.contiguous(), problem.labels, W)
    loose, tight = (ulpm.forecast(data, data, (1, 2), [4], time_per_epoch=1.0, rtol=rtol) for rtol in (1e-4, 1e-8))
    found, expected = (each.flows["plain"].metrics["nc1_distance"][0] for each in (loose, tight))
    assert found == pytest.approx(expected, rel=1e-3)


def test_snapshots_that_allow_no_forecast_get_one_sentence() -> None:
    early, late = snapshot(20), snapshot(60)
    bare = ulpm.Features.of(torch.eye(12), PROBLEM.labels)
    other = ulpm.Features.of(torch.eye(12), PROBLEM.labels, torch.ones(3, 12))
    zero = ulpm.Features.of(torch.zeros(12, 6, dtype=torch.float64), PROBLEM.labels, network(20).W)
    names = [("a", "b", "c")[k] for k in PROBLEM.labels]
    renamed = ulpm.Features.of(torch.eye(12)[:, :6], names, torch.ones(3, 6))
    for first, second, epochs, at, words in (
        (late, early, (20, 60), [100], "the loss must fall from the first snapshot to the second"),
        (early, late, (60, 20), [100], "epochs must grow"),
        (early, late, (20, 60), [], "epochs must grow"),
        (early, late, (20, 60), [100, 80], "epochs must grow"),
        (early, late, (20, 60), [50], "at must be above 60"),
        (early, bare, (20, 60), [100], "needs the classifier W"),
        (early, other, (20, 60), [100], "the same samples and network"),
        (zero, late, (20, 60), [100], "the features of a snapshot must not be all zero"),
        (early, late, (20, 40, 60), [100], "epochs must hold two"),
        (early, renamed, (20, 60), [100], "the same classes, but theirs are 0, 1, 2 and a, b, c"),
    ):
        with pytest.raises(ValueError, match=words):
            ulpm.forecast(first, second, epochs, at)


def test_a_time_of_an_epoch_that_is_none_is_refused_by_its_name() -> None:
    for time, kind in ((0.0, ValueError), (-1.0, ValueError), ("1", TypeError)):
        with pytest.raises(kind, match="time_per_epoch must be"):
            ulpm.forecast(snapshot(20), snapshot(60), (20, 60), [100], time_per_epoch=time)  # type: ignore[arg-type]


def test_what_is_no_snapshot_or_no_sequence_of_epochs_gets_one_sentence() -> None:
    early = snapshot(20)
    for first, second, epochs, at, words in (
        (early, "b.npz", (20, 60), [100], "second must be ulpm.Features, as ulpm.load_features returns"),
        (early, early, 20, [100], "epochs must be a sequence of epochs"),
        (early, early, (20, 60), 100, "at must be a sequence of epochs"),
    ):
        with pytest.raises(TypeError, match=words):
            ulpm.forecast(first, second, epochs, at)
