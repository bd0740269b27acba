import functools
import math
import re

import numpy as np
import pytest
import torch
from oracles import collapsed_arrays, plain_flow, random_arrays, reference_flow

import ulpm
from ulpm import Problem, State, Status, gradient_flow
from ulpm.flow.cohort import largest_cohort
from ulpm.objective import Objective

# The run-time checks cost more than the arithmetic of these small problems; the tests of the loop run with them.
pytestmark = pytest.mark.usefixtures("unchecked_module")

CASES = {
    "balanced": ([5] * 3, 8, 1.0),
    "imbalanced": ([7, 3, 2, 1], 6, 1.0),
    "d < K-1": ([4] * 6, 3, 1.0),
    "seven classes": ([3] * 7, 10, 1.0),
    "two classes, one sample each": ([1, 1], 1, 1.0),
    "1 : 200": ([1, 200], 2, 1.0),
    "tiny start": ([2] * 3, 4, 1e-6),
    "logits of 100": ([2] * 3, 4, 10.0),
}
LOG_TIMES = (5.0, 50.0, 500.0)
QUICK = ("balanced", "imbalanced", "d < K-1", "seven classes")


@functools.cache
def reference(name):
    """Start and scipy's (log L, flat state) at LOG_TIMES."""
    counts, d, scale = CASES[name]
    W, H, labels = random_arrays(1, counts, d, scale)
    return State(torch.tensor(W), torch.tensor(H)), reference_flow(W, H, labels, LOG_TIMES)


def flat(state):
    return torch.cat([state.W.flatten(), state.H.flatten()]).double().numpy()


def errors(path, answer):
    """Relative errors of log L and of (W, H) at the end of a path."""
    log_loss, v = answer
    state_error = np.linalg.norm(flat(path.final_state) - v) / np.linalg.norm(v)
    return abs(float(path.log_loss[-1]) - log_loss) / abs(log_loss), state_error


@pytest.mark.parametrize("log_time", LOG_TIMES)
@pytest.mark.parametrize("name", CASES)
def test_the_flow_agrees_with_scipy_and_keeps_its_invariants(name, log_time):
    counts, d, _ = CASES[name]
    state, answers = reference(name)
    rtol = 1e-8
    path = gradient_flow(Problem(counts, d), state, log_time=log_time, rtol=rtol, records=8)
    assert path.status is Status.LOG_TIME_REACHED
    # A few hundred steps, each wrong by at most rtol, of a flow that contracts towards collapse at late time.
    log_loss_error, state_error = errors(path, answers[LOG_TIMES.index(log_time)])
    assert log_loss_error < 1e-6
    assert state_error < 1e-6
    # Balancedness is lost by truncation errors only. Runge–Kutta methods keep linear invariants to rounding.
    assert float(path.invariant_drift["balancedness"].max()) <= 10 * rtol
    assert float(path.invariant_drift["classifier_sum"].max()) <= 1e-12


@pytest.mark.parametrize("name", QUICK)
def test_the_flow_agrees_with_scipy_in_flow_time_itself(name):
    counts, d, _ = CASES[name]
    W, H, labels = random_arrays(1, counts, d)
    path = gradient_flow(
        Problem(counts, d), State(torch.tensor(W), torch.tensor(H)), log_time=5.0, rtol=1e-8, records=3
    )
    assert max(errors(path, plain_flow(W, H, labels, math.exp(5.0)))) < 1e-6


@pytest.mark.parametrize(
    ("name", "log_time"),
    [
        ("balanced", 5.0),
        ("imbalanced", 50.0),
        *(
            pytest.param(name, log_time, marks=pytest.mark.slow)
            for name in QUICK
            for log_time in LOG_TIMES
            if (name, log_time) not in {("balanced", 5.0), ("imbalanced", 50.0)}
        ),
    ],
)
def test_errors_shrink_in_proportion_to_the_tolerance(name, log_time):
    """With h ∝ rtol^(1/5) and errors h⁵ a unit of s the slope is 1.

    It must exceed 0.8: a clock or interpolant of one order less would give 4/5 or less. Above 1 is luck at one end.
    """
    counts, d, _ = CASES[name]
    state, answers = reference(name)
    rtols = 10.0 ** np.arange(-9, -3)
    ends = [gradient_flow(Problem(counts, d), state, log_time=log_time, rtol=r, records=2) for r in rtols]
    state_errors = [errors(path, answers[LOG_TIMES.index(log_time)])[1] for path in ends]
    assert np.polyfit(np.log(rtols), np.log(state_errors), 1)[0] > 0.8
    # "rtol bounds the local error", and a run has hundreds of steps.
    assert max(np.array(state_errors) / rtols) < 100


# --- ends, records, statuses -----------------------------------------------------------------------------------------

PROBLEM = Problem([3, 2, 2], 4)


def start(seed=0, **options):
    return PROBLEM.random_state(seed=seed, **options)


@pytest.mark.parametrize("log_time", [-300.0, -20.0, -1e-3, 0.0, 1.0, 37.0, 800.0])
def test_a_run_stops_exactly_at_the_requested_time(log_time):
    path = gradient_flow(PROBLEM, start(), log_time=log_time, records=4)
    assert path.status is Status.LOG_TIME_REACHED
    assert abs(float(path.log_time[-1]) - log_time) <= 1e-12 * max(1, abs(log_time))
    assert float(path.log_time[0]) == -math.inf
    assert torch.equal(path.final_state.W, gradient_flow(PROBLEM, start(), log_time=log_time, records=4).final_state.W)


def test_a_run_stops_exactly_at_a_time_below_the_root_of_the_smallest_float():
    path = gradient_flow(PROBLEM, start(), log_time=-500.0, records=4)
    assert float(path.log_time[-1]) == pytest.approx(-500, abs=1e-9)


@pytest.mark.parametrize("below", [1e-9, 1.0, 30.0, 500.0])
def test_a_run_stops_exactly_at_the_requested_loss(below):
    log_loss = float(ulpm.log_loss(PROBLEM, start())) - below
    path = gradient_flow(PROBLEM, start(), log_loss=log_loss, records=4)
    assert path.status is Status.LOG_LOSS_REACHED
    assert abs(float(path.log_loss[-1]) - log_loss) <= 1e-12 * max(1, abs(log_loss))
    assert float(ulpm.log_loss(PROBLEM, path.final_state)) == pytest.approx(log_loss, rel=1e-12)


def test_log10_time_is_log_time_over_log_10():
    a = gradient_flow(PROBLEM, start(), log10_time=20.0, records=3)
    b = gradient_flow(PROBLEM, start(), log_time=20.0 * math.log(10), records=3)
    assert torch.equal(a.final_state.W, b.final_state.W)


def test_a_run_to_a_loss_passes_through_the_states_of_the_run_to_its_time():
    a = gradient_flow(PROBLEM, start(), log_loss=-30.0, rtol=1e-9, records=3)
    b = gradient_flow(PROBLEM, start(), log_time=float(a.log_time[-1]), rtol=1e-9, records=3)
    np.testing.assert_allclose(flat(a.final_state), flat(b.final_state), rtol=0, atol=1e-7)


@pytest.mark.parametrize("records", [2, 3, 57, 1000])
def test_records_do_not_influence_the_trajectory(records):
    path = gradient_flow(PROBLEM, start(), log_time=60.0, records=records, snapshots=2)
    plain = gradient_flow(PROBLEM, start(), log_time=60.0, records=11)
    assert len(path.log_time) == records
    assert torch.equal(path.final_state.W, plain.final_state.W)
    assert torch.equal(path.final_state.H, plain.final_state.H)
    assert {k: path.stats[k] for k in ("steps", "field_evaluations")} == {
        k: plain.stats[k] for k in ("steps", "field_evaluations")
    }


def test_the_same_run_twice_gives_the_same_bits():
    a, b = (gradient_flow(PROBLEM, start(replicas=2), log_time=90.0, records=20) for _ in range(2))
    for name, values in a.columns().items():
        assert torch.equal(values, b.columns()[name]), name
    assert torch.equal(a.final_state.H, b.final_state.H)


def test_a_run_leaves_its_start_as_it_is():
    state = start()
    before = state.W.clone(), state.H.clone()
    gradient_flow(PROBLEM, state, log_time=10.0, records=3)
    assert torch.equal(before[0], state.W)
    assert torch.equal(before[1], state.H)


def test_the_first_record_is_the_start():
    state = start(seed=3)
    path = gradient_flow(PROBLEM, state, log_time=10.0, records=5, snapshots=2)
    assert float(path.log_loss[0]) == pytest.approx(float(ulpm.log_loss(PROBLEM, state)), rel=1e-15)
    assert float(path.margin[0]) == pytest.approx(float(ulpm.margin(PROBLEM, state)), rel=1e-15)
    assert float(path.squared_norm[0]) == pytest.approx(float(state.squared_norm), rel=1e-15)
    assert float(path.invariant_drift["balancedness"][0]) == 0
    assert torch.equal(path.snapshots.W[0], state.W)
    assert torch.equal(path.snapshots.H[-1], path.final_state.H)


@pytest.mark.parametrize("max_steps", [1, 7])
def test_a_run_without_enough_steps_says_so_and_stays_where_it_is(max_steps):
    path = gradient_flow(PROBLEM, start(), log10_time=1e4, records=50, max_steps=max_steps)
    assert path.status is Status.STEP_LIMIT
    assert not path.finished
    assert path.stats["steps"] + path.stats["rejected_steps"] == max_steps
    assert float(ulpm.log_loss(PROBLEM, path.final_state)) < float(path.log_loss[0])
    assert torch.isfinite(path.log_loss).all()


def test_a_very_late_time_is_reached_or_refused_with_a_status():
    problem = Problem([1, 1], 1)
    path = gradient_flow(problem, problem.random_state(seed=0), log10_time=1e3, records=3)
    assert path.status is Status.LOG_TIME_REACHED
    path = gradient_flow(problem, problem.random_state(seed=0), log10_time=1e300, records=3, max_steps=50)
    assert path.status is Status.STEP_LIMIT


def test_a_critical_point_does_not_move():
    state = State(torch.zeros(3, 4, dtype=torch.float64), torch.zeros(4, 7, dtype=torch.float64))
    path = gradient_flow(PROBLEM, state, log_time=10.0, records=5)
    assert path.status is Status.STATIONARY
    assert len(path.log_time) == 1
    assert float(path.log_loss[0]) == pytest.approx(math.log(7 * math.log(3)), rel=1e-15)
    assert torch.equal(path.final_state.W, state.W)


def test_a_critical_point_has_no_drift():
    state = State(torch.zeros(3, 4, dtype=torch.float64), torch.zeros(4, 7, dtype=torch.float64))
    path = gradient_flow(PROBLEM, state, log_time=10.0, records=5)
    assert float(path.invariant_drift["classifier_sum"][0]) == 0


@pytest.mark.parametrize(
    ("scale", "status"), [(1e-100, Status.STEP_LIMIT), (1e3, Status.STEP_LIMIT), (1e150, Status.UNRESOLVED)]
)
def test_a_start_of_an_extreme_scale_ends_with_a_status_that_is_true(scale, status):
    path = gradient_flow(PROBLEM, start(scale=scale), log_time=5.0, records=3, max_steps=60)
    assert path.status is status
    assert torch.isfinite(path.final_state.W).all()
    assert torch.isfinite(path.log_loss).all()


@pytest.mark.parametrize("scale", [1e154, 1e200])
def test_a_start_whose_norm_or_logits_overflow_is_refused(scale):
    with pytest.raises(ValueError, match=r"so large that its logits or its norm overflow: scale it down"):
        gradient_flow(PROBLEM, start(scale=scale), log_time=5.0, records=3, max_steps=2000)


def test_a_start_that_float32_cannot_follow_ends_with_a_status():
    state = start(scale=1e15, dtype=torch.float32)
    path = gradient_flow(PROBLEM, state, log_time=5.0, rtol=1e-6, records=3, max_steps=300)
    assert path.status is Status.UNRESOLVED
    assert torch.isfinite(path.log_loss).all()


# --- theorems --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def late():
    """K = 4, n = 5, d = 20 to t = 10^1000."""
    problem = Problem([5] * 4, 20)
    return gradient_flow(problem, problem.random_state(seed=0), log10_time=1000.0, rtol=1e-7, records=60)


def test_loss_times_time_times_log_time_tends_to_half_the_minimum_norm_value(late):
    limit = 3 * math.sqrt(5) / 2
    product = torch.exp(late.log_loss + late.log_time) * late.log_time
    assert float(product[-1]) == pytest.approx(limit, rel=0.02)
    assert_distance_falls_like_one_over_log_time(late.log_time, product - limit)


def test_squared_norm_over_log_time_tends_to_twice_the_minimum_norm_value(late):
    limit = 2 * 3 * math.sqrt(5)
    ratio = late.squared_norm / late.log_time
    assert float(ratio[-1]) == pytest.approx(limit, rel=0.02)
    assert_distance_falls_like_one_over_log_time(late.log_time, ratio - limit)


def assert_distance_falls_like_one_over_log_time(log_time, difference):
    """Distance × log t varies by less than 2.5 while log t grows by 23.

    With the law (log t)^(−1/2) it would grow by 4.8, with (log t)^(−2) fall by 23; log log t, which cannot be told
    from a constant here, grows by 1.7.
    """
    at_late_time = log_time > 100
    scaled = (difference.abs() * log_time)[at_late_time]
    assert len(scaled) > 10
    assert float(scaled.max() / scaled.min()) < 2.5


@pytest.mark.parametrize("name", QUICK)
def test_the_smoothed_margin_never_decreases_below_log_2(name):
    """Lyu and Li, "Gradient Descent Maximizes the Margin of Homogeneous Neural Networks", 2020."""
    counts, d, _ = CASES[name]
    path = gradient_flow(Problem(counts, d), reference(name)[0], log_time=300.0, rtol=1e-9, records=100)
    late = path.log_loss < math.log(math.log(2))
    log_loss = path.log_loss[late]
    # log(e^L − 1) = log L + L/2 + O(L²)
    log_excess = torch.where(log_loss < -20, log_loss + log_loss.exp() / 2, torch.log(torch.expm1(log_loss.exp())))
    smoothed = -log_excess / path.squared_norm[late]
    tolerance = 1e-7 * float(smoothed.abs().max())  # a hundred times the local error
    assert len(smoothed) > 50
    assert float(smoothed.diff().min()) > -tolerance
    assert float(smoothed[-1] - smoothed[0]) > 1000 * tolerance


@pytest.mark.parametrize(("first", "last"), [(-1.0, 0.0), (5.0, 7.0), (50.0, 50.5), (200.0, 230.0)])
def test_a_flow_in_two_parts_is_the_flow(first, last):
    """The flow is autonomous: time t₁ and from there t₂ − t₁ is t₂."""
    whole = gradient_flow(PROBLEM, start(), log_time=last, rtol=1e-9, records=2)
    part = gradient_flow(PROBLEM, start(), log_time=first, rtol=1e-9, records=2)
    rest = last + math.log1p(-math.exp(first - last))
    end = gradient_flow(PROBLEM, part.final_state, log_time=rest, rtol=1e-9, records=2)
    difference = np.linalg.norm(flat(end.final_state) - flat(whole.final_state))
    assert difference < 1e-7 * np.linalg.norm(flat(whole.final_state))
    assert float(end.log_loss[-1]) == pytest.approx(float(whole.log_loss[-1]), rel=1e-7)


@pytest.mark.parametrize("numbers_under_way", [2**18, 80])
def test_replicas_are_the_single_runs(monkeypatch, numbers_under_way):
    """All at once, and two at a time, where the others wait."""
    monkeypatch.setattr("ulpm.flow.cohort._NUMBERS_UNDER_WAY", numbers_under_way)
    assert largest_cohort(4, 12 + 4 * 7, torch.device("cpu")) == (4 if numbers_under_way > 80 else 2)
    starts = start(replicas=4)
    starts.W[1] *= 3
    starts.H[2] *= 0.1
    starts.W[3] *= 10
    together = gradient_flow(PROBLEM, starts, log_time=40.0, rtol=1e-8, records=7)
    assert together.status == (Status.LOG_TIME_REACHED,) * 4
    steps = 0
    for b in range(4):
        alone = gradient_flow(PROBLEM, State(starts.W[b], starts.H[b]), log_time=40.0, rtol=1e-8, records=7)
        steps += alone.stats["steps"]
        for name, values in alone.columns().items():
            if name.endswith("_drift"):
                continue  # zero up to errors
            # Only the order of sums differs: far below rtol, amplified by a few hundred steps.
            torch.testing.assert_close(together.columns()[name][:, b], values, rtol=1e-7, atol=1e-9, msg=name)
        scale = np.linalg.norm(flat(alone.final_state))
        in_batch = State(together.final_state.W[b], together.final_state.H[b])
        assert np.linalg.norm(flat(in_batch) - flat(alone.final_state)) < 1e-9 * scale
    assert together.stats["steps"] == pytest.approx(steps, abs=4)


def test_a_bad_replica_does_not_disturb_the_others():
    starts = start(replicas=4)
    starts.W[1], starts.H[1] = 0, 0
    starts.W[2] *= 1e150
    starts.H[2] *= 1e150
    path = gradient_flow(PROBLEM, starts, log_time=40.0, rtol=1e-8, records=7, max_steps=3000)
    assert path.status == (
        Status.LOG_TIME_REACHED,
        Status.STATIONARY,
        Status.UNRESOLVED,
        Status.LOG_TIME_REACHED,
    )
    assert not path.finished
    for b in (0, 3):
        alone = gradient_flow(PROBLEM, State(starts.W[b], starts.H[b]), log_time=40.0, rtol=1e-8, records=7)
        in_batch = State(path.final_state.W[b], path.final_state.H[b])
        np.testing.assert_allclose(flat(in_batch), flat(alone.final_state), rtol=0, atol=1e-9)
    assert torch.isnan(path.log_loss[1:, 1:3]).all()
    assert torch.equal(path.final_state.W[1], starts.W[1])
    assert torch.isfinite(path.final_state.W[2]).all()


@pytest.mark.parametrize("replicas", [None, 1])
def test_a_replica_axis_comes_back_as_it_was(replicas):
    path = gradient_flow(PROBLEM, start(replicas=replicas), log_time=3.0, records=4, snapshots=3)
    tail = () if replicas is None else (1,)
    assert path.log_time.shape == (4, *tail)
    assert path.final_state.batch_shape == tail
    assert path.snapshots.W.shape == (3, *tail, 3, 4)
    assert isinstance(path.status, Status) == (replicas is None)


def test_a_rotation_of_feature_space_rotates_the_flow():
    state = start(seed=2)
    Q = torch.tensor(np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0])
    a = gradient_flow(PROBLEM, state, log_time=60.0, rtol=1e-8, records=3)
    b = gradient_flow(PROBLEM, State(state.W @ Q.T, Q @ state.H), log_time=60.0, rtol=1e-8, records=3)
    # The steps are the same, as norms do not see a rotation; what is left is rounding.
    torch.testing.assert_close(b.final_state.W, a.final_state.W @ Q.T, rtol=0, atol=1e-8)
    torch.testing.assert_close(b.final_state.H, Q @ a.final_state.H, rtol=0, atol=1e-8)


def test_a_permutation_of_classes_permutes_the_flow():
    state, counts, order = start(seed=2), PROBLEM.class_counts, [2, 0, 1]
    columns = torch.cat([(PROBLEM.labels == k).nonzero()[:, 0] for k in order])
    a = gradient_flow(PROBLEM, state, log_time=60.0, rtol=1e-8, records=3)
    permuted = Problem([counts[k] for k in order], 4)
    b = gradient_flow(permuted, State(state.W[order], state.H[:, columns]), log_time=60.0, rtol=1e-8, records=3)
    torch.testing.assert_close(b.final_state.W, a.final_state.W[order], rtol=0, atol=1e-8)
    torch.testing.assert_close(b.final_state.H, a.final_state.H[:, columns], rtol=0, atol=1e-8)


@pytest.mark.parametrize("log_time", [-20.0, 5.0, 100.0])
def test_float32_agrees_with_float64(log_time):
    """At rtol 1e-5 the hundreds of local errors and the rounding of gaps (1e-7·100) stay below 1e-3."""
    single = gradient_flow(PROBLEM, start(dtype=torch.float32), log_time=log_time, rtol=1e-5, records=5)
    double = gradient_flow(PROBLEM, start(), log_time=log_time, rtol=1e-8, records=5)
    assert single.status is Status.LOG_TIME_REACHED
    assert single.final_state.W.dtype == torch.float32
    assert single.log_loss.dtype == torch.float64
    torch.testing.assert_close(single.log_loss, double.log_loss, rtol=1e-3, atol=1e-4)
    difference = np.linalg.norm(flat(single.final_state) - flat(double.final_state))
    assert difference < 1e-3 * np.linalg.norm(flat(double.final_state))
    # Rounding once in a hundred steps: no better than float32, and no worse than a walk of its steps.
    assert float(single.invariant_drift["classifier_sum"].max()) < 1e-4


def test_collapsed_starts_with_margins_of_ten_thousand_move_on():
    problem = Problem([2] * 3, 4)
    W, H, _ = collapsed_arrays(0, [2] * 3, 4, gap=1e4)
    state = State(torch.tensor(W), torch.tensor(H))
    log_loss = float(ulpm.log_loss(problem, state))
    path = gradient_flow(problem, state, log_loss=log_loss - 5, records=3)
    assert path.status is Status.LOG_LOSS_REACHED
    # d log L/dt = −g²L with g² = ‖∇ log L‖²: 1/L grows at least like the smallest g² along the way times t, and at
    # most like the largest; Euler's identity gives g ≥ 2·q_min/ρ, so that log t > −log L(0) − log g².
    assert -log_loss - 20 < float(path.log_time[-1]) < -log_loss + 20


# --- monitors --------------------------------------------------------------------------------------------------------


def test_a_residual_without_its_true_class_entry_trips_the_classifier_sum(monkeypatch):
    """1 − softmax in floating point: the entry of the true class is 0 once a gap passes 37."""
    call = Objective.__call__

    def lossy(self, at, out=None):
        loss, rates = call(self, at, out)
        L = loss.log_loss.exp()[..., None, None]
        R = loss.residual
        R = torch.where(R > 0, (1 - (1 - R * L)) / L, R)
        rates.W.copy_(R @ at.H.mT)
        rates.H.copy_(at.W.mT @ R)
        return loss, rates

    monkeypatch.setattr(Objective, "__call__", lossy)
    path = gradient_flow(PROBLEM, start(), log_time=100.0, records=5, max_steps=3000)
    assert float(path.invariant_drift["classifier_sum"].nan_to_num().max()) > 1e-6


def test_a_classifier_that_is_a_little_too_fast_trips_balancedness(monkeypatch):
    call = Objective.__call__

    def fast(self, at, out=None):
        loss, rates = call(self, at, out)
        rates.W.mul_(1.001)
        return loss, rates

    monkeypatch.setattr(Objective, "__call__", fast)
    path = gradient_flow(PROBLEM, start(), log_time=30.0, rtol=1e-8, records=5)
    assert float(path.invariant_drift["balancedness"].max()) > 100 * 10 * 1e-8
    assert float(path.invariant_drift["classifier_sum"].max()) < 1e-12


@pytest.mark.parametrize("log_time", LOG_TIMES)
def test_a_wrong_clock_disagrees_with_scipy(monkeypatch, log_time):
    right = ulpm.flow.clock._clocks
    monkeypatch.setattr("ulpm.flow.clock._clocks", lambda *arguments, **named: 1.01 * right(*arguments, **named))
    counts, d, _ = CASES["balanced"]
    state, answers = reference("balanced")
    path = gradient_flow(Problem(counts, d), state, log_time=log_time, rtol=1e-8, records=3)
    assert errors(path, answers[LOG_TIMES.index(log_time)])[0] > 1e-5  # 0.01/500


# --- bad input -------------------------------------------------------------------------------------------------------

BAD_CALLS = {
    "no end": ({}, ValueError, ["exactly one of log_time, log10_time and log_loss", "none"]),
    "two ends": ({"log_time": 1.0, "log_loss": -3.0}, ValueError, ["exactly one", "log_time and log_loss"]),
    "all ends": ({"log_time": 1.0, "log10_time": 1.0, "log_loss": -3.0}, ValueError, ["exactly one"]),
    "an infinite time": ({"log_time": math.inf}, ValueError, ["log_time", "finite", "inf"]),
    "time NaN": ({"log10_time": math.nan}, ValueError, ["log10_time", "finite", "nan"]),
    "a time in words": ({"log_time": "late"}, TypeError, ["log_time must be a number", "late"]),
    "a bool time": ({"log_time": True}, TypeError, ["log_time must be a number", "True"]),
    "a loss above the start": ({"log_loss": 50.0}, ValueError, ["log_loss must lie below", "50"]),
    "rtol zero": ({"log_time": 1.0, "rtol": 0}, ValueError, ["rtol", "above 0", "0"]),
    "a negative rtol": ({"log_time": 1.0, "rtol": -1e-6}, ValueError, ["rtol", "above 0", "-1e-06"]),
    "rtol one": ({"log_time": 1.0, "rtol": 1.0}, ValueError, ["rtol", "below 1", "1.0"]),
    "rtol NaN": ({"log_time": 1.0, "rtol": math.nan}, ValueError, ["rtol", "nan"]),
    "rtol below the resolution": ({"log_time": 1.0, "rtol": 1e-16}, ValueError, ["rtol must be at least 2e-15", "64"]),
    "rtol in words": ({"log_time": 1.0, "rtol": "1e-6"}, TypeError, ["rtol must be a number", "1e-6"]),
    "one record": ({"log_time": 1.0, "records": 1}, ValueError, ["records", "at least 2", "1"]),
    "a float of records": ({"log_time": 1.0, "records": 5.0}, TypeError, ["records must be an integer", "5.0"]),
    "a bool of records": ({"log_time": 1.0, "records": True}, TypeError, ["records must be an integer", "True"]),
    "negative snapshots": ({"log_time": 1.0, "snapshots": -1}, ValueError, ["snapshots", "at least 0", "-1"]),
    "no steps": ({"log_time": 1.0, "max_steps": 0}, ValueError, ["max_steps", "at least 1", "0"]),
    "no pause": ({"log_time": 1.0, "checkpoint_seconds": 0}, ValueError, ["checkpoint_seconds", "above 0"]),
    "a time that overflows": ({"log10_time": 1e308}, ValueError, ["log_time must be at least -650", "inf"]),
}


def one_sentence(message):
    text = str(message.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert not re.search(r"[.!?]\s+[A-Z]", text), text
    return text


@pytest.mark.parametrize(
    ("arguments", "error", "parts"),
    [pytest.param(*case, id=name) for name, case in BAD_CALLS.items()],
)
def test_arguments_that_make_no_sense_are_one_clear_sentence(arguments, error, parts):
    with pytest.raises(error) as message:
        gradient_flow(PROBLEM, start(), **{"max_steps": 20, **arguments})
    for part in parts:
        assert re.search(re.escape(part), one_sentence(message))


def test_rtol_below_the_resolution_of_float32_is_one_clear_sentence():
    with pytest.raises(ValueError, match=r"rtol must be at least 1e-06 for .*float32.*1e-08") as message:
        gradient_flow(PROBLEM, start(dtype=torch.float32), log_time=1.0, rtol=1e-8)
    one_sentence(message)


def test_a_state_of_another_problem_is_one_clear_sentence():
    with pytest.raises(ValueError, match=r"W must have shape \[\.\.\., 3, 4\].*\[2, 4\]") as message:
        gradient_flow(PROBLEM, Problem([3, 4], 4).random_state(), log_time=1.0)
    one_sentence(message)
    with pytest.raises(TypeError, match=r"state must be an ulpm\.State, but a tuple was given"):
        gradient_flow(PROBLEM, (1, 2), log_time=1.0)


def test_two_replica_axes_are_one_clear_sentence():
    state = start(replicas=6)
    folded = State(state.W.view(2, 3, 3, 4), state.H.view(2, 3, 4, 7))
    with pytest.raises(ValueError, match=r"one replica axis, but its leading axes are \[2, 3\]") as message:
        gradient_flow(PROBLEM, folded, log_time=1.0)
    one_sentence(message)


@pytest.mark.parametrize("log_loss", [-50.0, -150.0, -300.0])
@pytest.mark.parametrize("log_time", [-20.0, 0.0, 20.0, 100.0, 250.0])
def test_records_and_the_end_are_hit_however_small_the_loss_is_at_the_start(log_loss, log_time):
    """In the first step t = s/L: the marks are as near to its start as L is small."""
    problem = Problem([2] * 3, 4)
    W, H, _ = collapsed_arrays(0, [2] * 3, 4, -log_loss, 1e-3)
    path = gradient_flow(problem, State(torch.tensor(W), torch.tensor(H)), log_time=log_time, records=9)
    assert path.status is Status.LOG_TIME_REACHED
    assert abs(float(path.log_loss[0]) - log_loss) < 10
    v = torch.log1p(torch.logaddexp(torch.zeros(1).double(), path.log_time))
    torch.testing.assert_close(v, float(v[-1]) * torch.arange(9).double() / 8, rtol=1e-10, atol=1e-15)
    # 64 ε of log(1 + log(1 + t)), and rounding of log L on its way to log t and back.
    assert float(path.log_time[-1]) == pytest.approx(log_time, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("log_time", [-300.0, 4.6, 1e3, 1e5])
@pytest.mark.parametrize("scale", [20.0, 30.0, 60.0])
def test_times_are_finite_however_small_the_loss_of_the_start_is(scale, log_time):
    """With log L(0) near −3,600, t·L is e^−3600: no number at all, while log t is one."""
    problem = Problem([1, 1, 1], 3)
    state = State(scale * torch.eye(3, dtype=torch.float64), scale * torch.eye(3, dtype=torch.float64))
    path = gradient_flow(problem, state, log_time=log_time, records=9)
    assert path.status is Status.LOG_TIME_REACHED
    assert bool(torch.isfinite(path.log_time[1:]).all())
    assert float(path.log_time[-1]) == pytest.approx(log_time, rel=1e-12)
    v = torch.log1p(torch.logaddexp(torch.zeros(1, dtype=torch.float64), path.log_time))
    torch.testing.assert_close(v, float(v[-1]) * torch.arange(9).double() / 8, rtol=1e-11, atol=0)
    # Nothing moves before t is about 1/(L ρ²).
    still = path.log_time + path.log_loss[0] < -20
    assert bool((path.log_loss[still] - path.log_loss[0]).abs().max() < 1e-5)
    late = path.log_time + path.log_loss[0] > 20
    assert bool((path.log_loss[late] + path.log_time[late] < 0).all())


def test_a_flow_ends_where_float64_ends_and_says_so():
    """Rounding of margins is the error of the residual: at log t = 10^11 it would be 10⁻⁴."""
    problem = Problem([1, 1], 2)
    path = gradient_flow(problem, problem.random_state(seed=0), log_time=1e13, records=40)
    assert path.status is Status.UNRESOLVED
    assert 1e9 < float(path.log_time[-1]) < 1e12
    assert float(path.log_loss[-1] / path.log_time[-1]) == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize(("scale", "dtype"), [(1e4, torch.float32), (1e7, torch.float32), (1e7, torch.float64)])
def test_a_start_that_the_number_format_does_not_resolve_is_recorded_and_not_followed(scale, dtype):
    state = start(scale=scale, dtype=dtype)
    path = gradient_flow(PROBLEM, state, log_time=1.0, records=5)
    assert path.status is Status.UNRESOLVED
    assert len(path.log_time) == 1
    assert torch.equal(path.final_state.W, state.W)
