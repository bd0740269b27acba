"""Replicas go to the stiff method where stability limits explicit steps, and come back where it does not pay."""

import itertools
import math

import pytest
import torch

import ulpm
from ulpm.flow.cohort import Cohort
from ulpm.flow.handover import HandOver
from ulpm.flow.host import steps_left
from ulpm.flow.options import FlowOptions
from ulpm.flow.run import FlowRun


def cohort(count, stiff=False):
    one = torch.ones(count, dtype=torch.float64)
    whole = torch.zeros(count, dtype=torch.int64)
    y = torch.ones(count, 2, dtype=torch.float64)
    no = torch.zeros(count, dtype=torch.bool)
    return Cohort(
        replicas=whole,
        y=y,
        rate=y,
        size=one,
        speed=one,
        log_loss=one,
        clock=one,
        position=one,
        step_size=one.clone(),
        previous_step_size=0.25 * one,
        previous_ratio=0.5 * one,
        next_record=whole,
        stiff=no | stiff,
        limited_steps=whole.clone(),
        stiffness_floor=0 * one,
        failed=no,
        still_steps=whole,
        still_since=0 * one,
        way=one,
    )


def look(c, step_size, stiffness, products=None, accepted=(True, True), next_size=None, left=(math.inf, math.inf)):
    h, lam = torch.tensor(step_size, dtype=torch.float64), torch.tensor(stiffness, dtype=torch.float64)
    c.step_size = h.clone() if next_size is None else torch.tensor(next_size, dtype=torch.float64)
    taken = None if products is None else torch.tensor(products).double()
    RULE(c, torch.tensor(accepted), h, lam, taken, (6, 6), torch.tensor(left).double())


RULE = HandOver(limited=2.5, patience=8, nearly=1, followed=3.0)


def test_steps_at_the_limit_of_stability_hand_over_once_they_outnumber_the_others():
    c = cohort(2)
    for i in range(RULE.patience):
        assert not bool(c.stiff.any())
        # The second replica interrupts its row of limited steps once.
        look(c, [0.1, 0.1], [30.0, 5.0 if i == 3 else 30.0])
    assert c.stiff.tolist() == [True, False]
    assert c.limited_steps.tolist() == [0, RULE.patience - 2]
    # The controller starts afresh with a method, as if a step like the next one had been just right.
    assert c.previous_ratio.tolist() == [1.0, 0.5]
    assert c.previous_step_size.tolist() == [0.1, 0.25]


def test_a_replica_that_is_nearly_there_stays_with_the_explicit_method():
    c = cohort(2)
    for _ in range(RULE.patience):
        look(c, [0.1, 0.1], [30.0, 30.0], left=(RULE.worthwhile, RULE.worthwhile + 0.1))
    assert c.stiff.tolist() == [False, True]


def test_explicit_steps_to_the_end_follow_what_is_stiff():
    c = cohort(2)
    look(c, [0.1, 0.1], [60.0, 60.0], left=(RULE.worthwhile / 4, math.inf))
    torch.testing.assert_close(c.step_size, torch.tensor([RULE.followed / 60, 0.1], dtype=torch.float64))
    # After a short step as well, from which sizes would grow fivefold; where λ is not known they may.
    look(c, [0.01, 0.01], [60.0, math.nan], next_size=[0.05001, 0.1], left=(1.0, 1.0))
    torch.testing.assert_close(c.step_size, torch.tensor([RULE.followed / 60, 0.1], dtype=torch.float64))


def test_at_late_time_steps_are_counted_as_even_in_log_t():
    at = [torch.tensor([math.log1p(q)], dtype=torch.float64) for q in (10.0, 10.01, 20.0)]
    assert float(steps_left(*at)) == pytest.approx(999, rel=1e-3)
    assert float(steps_left(at[1], at[0], at[2])) == math.inf
    assert float(steps_left(at[0], at[2], at[2])) == pytest.approx(0, abs=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("seed", "end"), [(0, 7), (0, 3), (1, 7)])
def test_the_end_of_a_loose_run_is_right_where_explicit_steps_reach_it(seed, end):
    problem = ulpm.Problem([1, 1], 12)
    start = problem.random_state(seed=seed, scale=0.01)
    loose, tight = (ulpm.gradient_flow(problem, start, log10_time=end, records=2, rtol=r) for r in (1e-2, 1e-8))
    for name in ("margin", "lower_bound", "upper_bound"):
        assert float(loose.columns()[name][-1] / tight.columns()[name][-1]) == pytest.approx(1, abs=1e-4), name


@pytest.mark.usefixtures("unchecked")
def test_a_loose_tolerance_is_no_dearer_than_a_tight_one_where_the_end_is_near():
    """To t = 10⁴ a few steps are at the limit of stability; stiff ones cost as much as all the way before them."""
    problem = ulpm.Problem([50] * 10, 64)
    start, costs, errors = problem.random_state(seed=0), [], []
    exact = ulpm.gradient_flow(problem, start, log10_time=4, records=2, rtol=1e-9)
    for rtol in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
        path = ulpm.gradient_flow(problem, start, log10_time=4, records=2, rtol=rtol)
        costs.append(path.stats["field_evaluations"] + path.stats["jacobian_products"])
        off = (path.final_state - exact.final_state).squared_norm / exact.squared_norm[-1]
        errors.append(max(math.sqrt(off), abs(float(path.log_loss[-1] - exact.log_loss[-1]))))
    assert all(loose <= 1.2 * tight for loose, tight in itertools.pairwise(costs))
    assert costs[2:] == sorted(costs[2:])
    # What is stiff is followed to the end: an error below 10⁻⁶ takes no tighter tolerance than this.
    assert errors[2] <= 1e-6
    assert costs[2] <= 100


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("end", [6, 10, 20])
def test_an_end_soon_after_the_limit_of_stability_costs_no_more_at_a_looser_tolerance(end):
    problem = ulpm.Problem([5] * 4, 20)
    costs = []
    for rtol in (1e-3, 1e-4, 1e-5, 1e-6):
        path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=end, records=2, rtol=rtol)
        costs.append(path.stats["field_evaluations"] + path.stats["jacobian_products"])
    assert all(loose <= 1.2 * tight for loose, tight in itertools.pairwise(costs))
    assert costs[-1] <= 260


def test_many_steps_in_a_row_that_are_nearly_limited_hand_over_too():
    rule = HandOver(limited=2.0, patience=2, nearly=10, followed=1.0)
    one = torch.ones(2, dtype=torch.float64)
    c = cohort(2)
    for i in range(20):
        assert not bool(c.stiff.any())
        # hλ = 1.5 in the first replica; in the second one step of the row is shorter than the stiff components.
        reach = torch.tensor([1.5, 0.5 if i == 10 else 1.5]).double()
        rule(c, torch.tensor([True, True]), one, reach, None, (6, 6), torch.inf * one)
    assert c.stiff.tolist() == [True, False]


def test_every_other_step_at_the_limit_of_stability_hands_nothing_over():
    c = cohort(2)
    for i in range(10 * RULE.patience):
        look(c, [0.1, 0.1], [30.0 if i % 2 else 5.0, 5.0])
    assert c.stiff.tolist() == [False, False]
    assert c.limited_steps.tolist() == [1, 0]


def test_sizes_that_go_round_in_circles_at_the_limit_of_stability_hand_over():
    """Two steps that are accepted, one below the limit, and one that is rejected: a circle that was met."""
    c = cohort(2)
    for _ in range(RULE.patience):
        for size, accepted in ((0.238, True), (0.456, True), (0.636, False)):
            look(c, [size, 0.1], [10.0, 10.0], accepted=(accepted, True))
    assert c.stiff.tolist() == [True, False]


def test_rejected_steps_alone_hand_nothing_over():
    c = cohort(2)
    for _ in range(2 * RULE.patience):
        look(c, [0.5, 0.5], [10.0, float("inf")], accepted=(False, False))
    assert c.limited_steps.tolist() == [2 * RULE.patience, 0]
    look(c, [0.1, 0.1], [10.0, 10.0])
    assert c.stiff.tolist() == [False, False]
    look(c, [0.3, 0.1], [10.0, 10.0])
    assert c.stiff.tolist() == [True, False]


def test_a_rejected_step_that_is_short_counts_neither_way():
    c = cohort(2)
    for _ in range(3):
        look(c, [0.1, 0.1], [30.0, 30.0])
    look(c, [0.1, 0.1], [30.0, 5.0], accepted=(False, False))
    assert c.limited_steps.tolist() == [4, 3]


def test_a_stiff_step_is_charged_with_the_size_of_the_next():
    c = cohort(2, stiff=True)
    for _ in range(RULE.trial_steps + 1):
        # hλ = 5 costs 10 explicit evaluations, and hλ = 50 a hundred.
        look(c, [0.1, 0.1], [50.0, 50.0], [30, 30], next_size=[0.1, 1.0])
    assert c.stiff.tolist() == [False, True]


def test_a_stiff_method_that_does_not_pay_hands_back_and_waits_until_it_is_twice_as_stiff():
    c = cohort(2, stiff=True)
    for _ in range(RULE.trial_steps + 1):
        assert c.stiff.tolist() == [True, True]
        # hλ = 5 costs 10 explicit evaluations; hλ = 500 costs 1000.
        look(c, [0.1, 10.0], [50.0, 50.0], [30, 30])
    assert c.stiff.tolist() == [False, True]
    assert c.stiffness_floor.tolist() == [100.0, 0.0]
    assert float(c.step_size[0]) * 50 <= RULE.limited
    for _ in range(2 * RULE.patience):
        look(c, [0.1, 0.1], [60.0, 60.0])
    assert not bool(c.stiff[0])


def test_a_long_row_of_steps_at_the_limit_of_stability_has_the_stiff_method_tried_again_at_the_same_stiffness():
    c = cohort(2)
    c.stiffness_floor = torch.tensor([100.0, 100.0], dtype=torch.float64)
    steps = 0
    while steps < 200 and not bool(c.stiff[0]):
        # The second replica's steps are far from that limit.
        look(c, [0.1, 0.1], [50.0, 5.0])
        steps += 1
    # 0.99^69 is the first power below 1/2, and then the usual patience is asked.
    assert steps == 69 + RULE.patience - 1
    assert not bool(c.stiff[1])
    assert float(c.stiffness_floor[1]) == 100.0


@pytest.mark.usefixtures("unchecked")
def test_a_flow_that_escapes_from_a_saddle_is_stiff_again_soon_afterwards():
    """Steps are short around the exit, log t ≈ 1.2e4; λ takes until twice that time to double."""
    problem = ulpm.Problem([1] * 4, 4)
    point, noise = ulpm.block_state(problem, 2, norm=5.7), problem.random_state(seed=0, scale=0.3)
    start = ulpm.State(point.W + noise.W, point.H + noise.H)

    def escape(solver):
        return ulpm.gradient_flow(problem, start, log_time=1e5, records=3, max_steps=500, solver=solver)

    path = escape(ulpm.Solver())
    assert path.finished
    assert float(path.margin[-1] / path.squared_norm[-1]) > 1 / 6 - 1e-4  # it has escaped: γ* = 1/6, 1/8 at the saddle
    # A rule that forgets nothing spends the steps on the explicit method.
    assert not escape(ulpm.Solver(hand_over=HandOver(forgetting=0.0))).finished


def test_one_stiff_step_that_pays_starts_the_count_of_those_that_do_not_anew():
    c = cohort(2, stiff=True)
    for i in range(2 * RULE.trial_steps):
        look(c, [0.1, 10.0 if i == RULE.trial_steps else 0.1], [50.0, 50.0], [30, 30])
        if not bool(c.stiff[0]):
            break
    assert c.stiff.tolist() == [False, True]
    assert i == RULE.trial_steps


@pytest.mark.usefixtures("unchecked")
def test_a_flow_starts_explicit_and_ends_stiff_and_takes_far_fewer_evaluations_than_explicit_steps_would():
    problem = ulpm.Problem([5] * 4, 20)
    options = FlowOptions(log_time=1e4, records=3, max_steps=10_000)
    run = FlowRun.prepare(problem, problem.random_state(seed=0), options)
    methods = []
    with torch.no_grad():
        while run.state.running:
            methods.append(bool(run.state.cohort.stiff[0]))
            run.step()
    assert not any(methods[:20])
    assert all(methods[-10:])
    counts = run.state.counts
    # Stability alone asks an explicit method for h ≤ 3.5/λ, λ ≈ 0.3 log t: more than 3,000 steps of 6 evaluations.
    assert counts["field_evaluations"] + counts["jacobian_products"] < 6 * 3000 / 3
