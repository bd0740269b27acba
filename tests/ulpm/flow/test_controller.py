import math

import pytest
import torch

from ulpm.flow.controller import StepSizeController, error_ratio, residual_tolerance, state_tolerance

CONTROLLER = StepSizeController(order=5, integral=0.3, proportional=0.4)


def factors(ratios, previous=1.0, controller=CONTROLLER, growth=1.0):
    """Next step size over this one, accepted where the ratio is at most 1; this one is ``growth`` times the last."""
    ratio = torch.tensor(ratios, dtype=torch.float64)
    one = torch.ones_like(ratio)
    return controller.next_step_size(one, ratio, one / growth, torch.full_like(ratio, previous), ratio <= 1)


@pytest.mark.parametrize("previous", [1e-12, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("ratio", [1 + 1e-12, 1.01, 2.0, 1e6, 1e300, math.inf])
def test_a_rejected_step_is_tried_again_with_a_shorter_one(ratio, previous):
    factor = float(factors([ratio], previous))
    assert CONTROLLER.smallest_factor <= factor <= CONTROLLER.safety < 1


@pytest.mark.parametrize("previous", [1e-6, 1.0])
def test_a_larger_error_never_asks_for_a_larger_step(previous):
    for low, high in ((-12, 0), (1e-9, 12)):  # accepted, rejected
        result = factors((10 ** torch.linspace(low, high, 50, dtype=torch.float64)).tolist(), previous)
        assert (result.diff() <= 0).all()
        assert result[0] > result[-1]


@pytest.mark.parametrize("ratio", [0.0, 1e-300, 1e-5, 0.5, 1.0, 3.0, 1e300, math.inf])
@pytest.mark.parametrize("previous", [0.0, 1e-300, 1e-3, 1.0])
def test_the_factor_stays_within_its_limits(ratio, previous):
    factor = float(factors([ratio], previous))
    assert CONTROLLER.smallest_factor <= factor <= CONTROLLER.largest_factor


def test_the_limits_are_reached():
    assert float(factors([0.0])) == CONTROLLER.largest_factor
    assert float(factors([math.inf])) == CONTROLLER.smallest_factor


@pytest.mark.parametrize(("order", "ratio", "previous"), [(5, 0.3, 0.3), (5, 0.9, 0.9), (3, 0.2, 0.19)])
def test_the_proportional_integral_formula_where_the_error_is_steady(order, ratio, previous):
    want = 0.9 * ratio ** (-0.7 / order) * previous ** (0.4 / order)
    controller = StepSizeController(order, integral=0.3, proportional=0.4)
    assert float(factors([ratio], previous, controller)) == pytest.approx(want, rel=1e-14)


@pytest.mark.parametrize(("ratio", "previous", "growth"), [(0.5, 0.05, 1.0), (0.9, 0.5, 0.8)])
def test_an_error_that_grows_is_predicted_to_go_on_growing(ratio, previous, growth):
    """error = C·h^5: C grew by the factor (r/r_previous)·growth^(−5), and the formula lets it do so once more."""
    steady = 0.9 * ratio ** (-0.7 / 5) * previous ** (0.4 / 5)
    factor = float(factors([ratio], previous, growth=growth))
    coefficient = ratio * (ratio / previous) * growth**-5  # of the next step, if this one is 1 long
    assert factor == pytest.approx(0.9 * coefficient ** (-1 / 5), rel=1e-13)
    assert factor < steady


def settled(controller):
    """The error ratio at which steps settle if error = C·h^5."""
    h, previous_ratio = torch.tensor([1e-3], dtype=torch.float64), torch.ones(1).double()
    previous_size = h
    for _ in range(200):
        ratio = (h / 0.1) ** 5
        accepted = ratio <= 1
        after = controller.next_step_size(h, ratio, previous_size, previous_ratio, accepted)
        previous_size = torch.where(accepted, h, previous_size)
        previous_ratio = torch.where(accepted, ratio, previous_ratio)
        h = after
    return float(ratio)


def test_a_steady_error_settles_where_the_formula_is_at_rest():
    """1 = 0.9·r^(−0.7/5)·r^(0.4/5), so r = 0.9^(5/0.3); without the proportional term r = 0.9^5."""
    assert settled(CONTROLLER) == pytest.approx(0.9 ** (5 / 0.3), rel=1e-6)
    assert settled(StepSizeController(5, integral=1.0, proportional=0.0)) == pytest.approx(0.9**5, rel=1e-6)


def test_replicas_are_controlled_each_on_its_own():
    ratio = torch.tensor([0.01, 0.9, 5.0, math.inf], dtype=torch.float64)
    previous = torch.tensor([0.3, 1.0, 0.2, 0.1], dtype=torch.float64)
    sizes = torch.tensor([1.0, 1e-3, 10.0, 5.0], dtype=torch.float64)
    before = torch.tensor([1.0, 2e-3, 3.0, 6.0], dtype=torch.float64)
    together = CONTROLLER.next_step_size(sizes, ratio, before, previous, ratio <= 1)
    for b in range(4):
        one = slice(b, b + 1)
        alone = CONTROLLER.next_step_size(sizes[one], ratio[one], before[one], previous[one], ratio[one] <= 1)
        assert float(together[b]) == pytest.approx(float(alone), rel=1e-14)


def ratio_of(state=0.0, residual=0.0, clock_error=0.0, log_time=0.0, rtol=1e-3):
    values = (torch.tensor([value], dtype=torch.float64) for value in (state, residual, clock_error, log_time))
    return float(error_ratio(*values, rtol))


def test_the_largest_of_the_shares_counts():
    assert ratio_of(state=4.0, residual=3.0, clock_error=2e-3) == 4.0
    assert ratio_of(state=2.0, residual=3.0, clock_error=2e-3) == 3.0
    assert ratio_of(state=2.0, residual=3.0, clock_error=8e-3) == pytest.approx(8.0, rel=1e-12)


def test_the_state_may_err_by_rtol_of_its_norm_and_margins_by_no_more_than_1e5_rtol_while_the_loss_is_above_one():
    size = torch.tensor([2.0, 2000.0, 2000.0], dtype=torch.float64)
    log_loss = torch.tensor([3.0, 3.0, -1.0], dtype=torch.float64)
    want = torch.tensor([2e-6, 1e5 * 1e-6 / 2000, 2e-3], dtype=torch.float64)
    torch.testing.assert_close(state_tolerance(size, log_loss, 1e-6), want, rtol=1e-12, atol=0)


def test_the_residual_may_err_in_proportion_to_rtol_and_more_where_the_state_is_far_from_a_kkt_point():
    tangential = torch.tensor([0.0, 0.01, 1.0], dtype=torch.float64)
    for rtol in (1e-4, 1e-9):
        want = torch.tensor([3.0, 4.0, 103.0], dtype=torch.float64) * rtol
        torch.testing.assert_close(residual_tolerance(tangential, rtol), want, rtol=1e-12, atol=0)


@pytest.mark.parametrize("log_time", [-math.inf, -5.0, 0.0, 1.0, 300.0, 1e9])
def test_an_error_of_log_time_counts_relative_to_it_until_it_is_a_tenth_of_the_root_of_rtol(log_time):
    rtol = 1e-8
    allowed = min(rtol * max(1.0, log_time), 0.1 * math.sqrt(rtol))
    assert ratio_of(clock_error=0.004, log_time=log_time, rtol=rtol) == pytest.approx(0.004 / allowed, rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("which", ["state", "residual", "clock_error", "log_time"])
def test_an_error_that_is_not_finite_is_infinite(bad, which):
    wrong = {which: bad, **({"clock_error": math.nan} if which == "log_time" else {})}
    assert ratio_of(**wrong) == math.inf


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("which", "bad"), [*((which, bad) for which in range(3) for bad in (math.nan, math.inf)), (2, 1e303)]
)
def test_an_error_that_is_no_number_or_overflows_is_infinitely_too_large_without_a_warning(which, bad):
    errors = [torch.tensor([1e-7, 1e-7], dtype=torch.float64) for _ in range(3)]
    errors[which][1] = bad
    time = torch.ones_like(errors[0])
    ratio = error_ratio(*errors, time, 1e-6)
    assert ratio[0] < 1
    assert ratio[1] == math.inf
