"""A flow that goes on from the end of another has the clock of the whole way."""

import math

import pytest
import torch

import ulpm

pytestmark = pytest.mark.usefixtures("unchecked")  # checks cost several times what the flows themselves do

PROBLEM = ulpm.Problem([5] * 4, feature_dim=20)


@pytest.mark.parametrize(
    ("between", "end"), [(2.0, 9.0), (50.0, 1000.0), pytest.param(1e4, 1e6, marks=pytest.mark.slow)]
)
def test_two_parts_of_a_way_end_where_the_whole_ends(between, end):
    start = PROBLEM.random_state(seed=0)
    whole = ulpm.gradient_flow(PROBLEM, start, log10_time=end, rtol=1e-8, records=2)
    first = ulpm.gradient_flow(PROBLEM, start, log10_time=between, rtol=1e-8, records=2)
    second = ulpm.gradient_flow(
        PROBLEM, first.final_state, log10_time=end, rtol=1e-8, records=3, start_log_time=first.log_time[-1]
    )
    assert float(second.log_time[0]) == pytest.approx(float(first.log_time[-1]), rel=1e-14)
    assert float(second.log_time[-1]) == pytest.approx(float(whole.log_time[-1]), rel=1e-12)
    assert float(second.log_loss[-1]) == pytest.approx(float(whole.log_loss[-1]), abs=1e-6)
    assert float(second.margin[-1]) == pytest.approx(float(whole.margin[-1]), rel=1e-7)
    rho = float(whole.squared_norm[-1].sqrt())
    assert float((second.final_state.H - whole.final_state.H).norm()) < 1e-6 * rho


def test_records_are_even_from_the_start_on():
    path = ulpm.gradient_flow(
        PROBLEM, PROBLEM.random_state(seed=0), log10_time=100, records=5, start_log_time=math.log(1e3)
    )
    marks = torch.log1p(torch.log1p(torch.exp(path.log_time)))
    assert float(path.log_time[0]) == pytest.approx(math.log(1e3), rel=1e-14)
    torch.testing.assert_close(marks.diff(), marks.diff().mean().expand(4), rtol=1e-9, atol=0)


def test_each_replica_goes_on_from_its_own_time_to_a_loss():
    start = PROBLEM.random_state(seed=1, replicas=3)
    whole = ulpm.gradient_flow(PROBLEM, start, log_loss=-50.0, rtol=1e-8, records=2)
    first = ulpm.gradient_flow(PROBLEM, start, log_loss=-5.0, rtol=1e-8, records=2)
    second = ulpm.gradient_flow(
        PROBLEM, first.final_state, log_loss=-50.0, rtol=1e-8, records=2, start_log_time=first.log_time[-1]
    )
    assert second.config["start_log_time"] == first.log_time[-1].tolist()
    torch.testing.assert_close(second.log_time[0], first.log_time[-1], rtol=1e-13, atol=0)
    torch.testing.assert_close(second.log_time[-1], whole.log_time[-1], rtol=0, atol=1e-6)


def test_a_start_time_of_minus_infinity_is_what_leaving_it_out_says():
    with pytest.raises(ValueError, match="start_log_time must be finite"):
        ulpm.gradient_flow(PROBLEM, PROBLEM.random_state(), log_time=1, start_log_time=-math.inf)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (5.0, ValueError, "the end must lie after the start, log t = 5, but log t = 3 is given"),
        (-700.0, ValueError, "must lie within ±650"),
        (torch.zeros(2), ValueError, r"shape \[\] of the replicas, but its shape is \[2\]"),
        (torch.tensor(1), TypeError, "start_log_time must have dtype float32 or float64"),
        ("now", TypeError, "start_log_time"),
    ],
)
def test_a_start_time_that_makes_no_sense_is_refused_in_one_sentence(given, error, words):
    with pytest.raises(error, match=words):
        ulpm.gradient_flow(PROBLEM, PROBLEM.random_state(), log_time=3.0, start_log_time=given)


def test_a_run_that_began_late_is_resumed_bit_for_bit(tmp_path):
    start, file = PROBLEM.random_state(seed=0), tmp_path / "checkpoint"
    ends = {"log10_time": 1000.0, "start_log_time": 7.0, "records": 20}
    whole = ulpm.gradient_flow(PROBLEM, start, **ends)
    ulpm.gradient_flow(PROBLEM, start, **ends, max_steps=30, checkpoint=file)
    resumed = ulpm.resume_flow(file, max_steps=100_000)
    assert torch.equal(resumed.log_time, whole.log_time)
    assert torch.equal(resumed.final_state.H, whole.final_state.H)
