"""Records at chosen times, and other methods than those by default."""

import math

import pytest
import torch

import ulpm
from ulpm.flow.handover import HandOver
from ulpm.flow.methods import TSITOURAS

PROBLEM = ulpm.Problem([3, 2], 3)
START = PROBLEM.random_state(seed=0)


def test_records_are_at_the_given_times_with_the_start_before_and_the_end_after():
    times = [-3.0, 0.0, 1.5, 40.0]
    path = ulpm.gradient_flow(PROBLEM, START, log_time=100.0, save_at=times, snapshots=2)
    assert path.log_time[0] == -torch.inf
    torch.testing.assert_close(
        path.log_time[1:], torch.tensor([*times, 100.0], dtype=torch.float64), rtol=1e-12, atol=1e-12
    )
    assert path.config["save_at"] == times
    assert path.snapshots.records.tolist() == [0, 5]


@pytest.mark.usefixtures("unchecked")
def test_what_is_recorded_at_a_time_is_where_a_flow_to_that_time_ends():
    path = ulpm.gradient_flow(PROBLEM, START, log10_time=10.0, save_at=torch.tensor([2.0, 9.0]), rtol=1e-9)
    for i, log_time in ((1, 2.0), (2, 9.0)):
        alone = ulpm.gradient_flow(PROBLEM, START, log_time=log_time, records=2, rtol=1e-9)
        assert float(path.log_loss[i]) == pytest.approx(float(alone.log_loss[-1]), abs=1e-7)
        assert float(path.squared_norm[i]) == pytest.approx(float(alone.squared_norm[-1]), rel=1e-7)


def test_a_time_that_is_the_end_is_recorded_once():
    path = ulpm.gradient_flow(PROBLEM, START, log_time=3.0, save_at=[1.0, 3.0])
    assert path.log_time[1:].tolist() == pytest.approx([1.0, 3.0], rel=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_a_run_with_chosen_times_is_resumed_bit_for_bit(tmp_path):
    replicas = PROBLEM.random_state(seed=0, replicas=2)
    whole = ulpm.gradient_flow(PROBLEM, replicas, log_time=300.0, save_at=[1.0, 10.0, 100.0])
    ulpm.gradient_flow(
        PROBLEM, replicas, log_time=300.0, save_at=[1.0, 10.0, 100.0], max_steps=20, checkpoint=tmp_path / "c"
    )
    resumed = ulpm.resume_flow(tmp_path / "c", max_steps=10_000)
    assert all(torch.equal(whole.columns()[name], column) for name, column in resumed.columns().items())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"save_at": [2.0, 1.0]}, "save_at must rise"),
        ({"save_at": [1.0, 1.0]}, "save_at must rise"),
        ({"save_at": [11.0]}, "not go beyond the end"),
        ({"save_at": [math.nan]}, "save_at\\[0\\] must be at least -650"),
        ({"save_at": 3.0}, "save_at must be a list"),
        ({"save_at": "1,2"}, "save_at must be a list"),
        ({"save_at": [1.0], "start_log_time": 2.0}, "save_at must lie after the start"),
        ({"save_at": [1.0], "log_time": None, "log_loss": -5.0}, "save_at are log times"),
    ],
)
def test_times_that_make_no_sense_are_refused_in_one_sentence(arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        ulpm.gradient_flow(PROBLEM, START, **({"log_time": 10.0} | arguments))


def test_a_solver_that_never_hands_over_stays_explicit_and_finds_the_same():
    explicit = ulpm.Solver(hand_over=HandOver(limited=math.inf, followed=math.inf))
    path = ulpm.gradient_flow(PROBLEM, START, log_time=400.0, records=5, solver=explicit)
    usual = ulpm.gradient_flow(PROBLEM, START, log_time=400.0, records=5)
    assert path.stats["jacobian_products"] == 0
    assert usual.stats["jacobian_products"] > 0
    torch.testing.assert_close(path.squared_norm, usual.squared_norm, rtol=1e-4, atol=0)
    assert ulpm.Solver().explicit is TSITOURAS
