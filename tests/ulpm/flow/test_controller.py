import math

import pytest
import torch

from ulpm.flow.controller import StepSizeController

CONTROLLER = StepSizeController(order=5)


def factors(ratios, previous=1.0, controller=CONTROLLER):
    """Next step size over this one, accepted where the ratio is at most 1."""
    ratio = torch.tensor(ratios, dtype=torch.float64)
    return controller.next_step_size(torch.ones_like(ratio), ratio, torch.full_like(ratio, previous), ratio <= 1)


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


@pytest.mark.parametrize(("order", "ratio", "previous"), [(5, 0.3, 0.5), (5, 0.9, 0.9), (3, 0.2, 0.1)])
def test_the_documented_formula(order, ratio, previous):
    want = 0.9 * ratio ** (-0.7 / order) * previous ** (0.4 / order)
    assert float(factors([ratio], previous, StepSizeController(order))) == pytest.approx(want, rel=1e-14)


def test_a_steady_error_settles_where_the_formula_is_at_rest():
    """With error = C·h^5 the step settles: 1 = 0.9·r^(−0.7/5)·r^(0.4/5), so r = 0.9^(5/0.3)."""
    h, previous = torch.tensor([1e-3], dtype=torch.float64), torch.ones(1).double()
    for _ in range(200):
        ratio = (h / 0.1) ** 5
        accepted = ratio <= 1
        h = CONTROLLER.next_step_size(h, ratio, previous, accepted)
        previous = torch.where(accepted, ratio, previous)
    assert float(ratio) == pytest.approx(0.9 ** (5 / 0.3), rel=1e-6)


def test_replicas_are_controlled_each_on_its_own():
    ratio = torch.tensor([0.01, 0.9, 5.0, math.inf], dtype=torch.float64)
    previous = torch.tensor([0.3, 1.0, 0.2, 0.1], dtype=torch.float64)
    sizes = torch.tensor([1.0, 1e-3, 10.0, 5.0], dtype=torch.float64)
    together = CONTROLLER.next_step_size(sizes, ratio, previous, ratio <= 1)
    for b in range(4):
        one = slice(b, b + 1)
        alone = CONTROLLER.next_step_size(sizes[one], ratio[one], previous[one], ratio[one] <= 1)
        assert float(together[b]) == pytest.approx(float(alone), rel=1e-14)
