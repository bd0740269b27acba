"""Gradient descent is what a loop over autograd does, and follows the flow when its steps are small."""

import itertools
import math

import pytest
import torch

import ulpm

PROBLEM = ulpm.Problem([4, 3, 2], 6)


def plain_descent(state: ulpm.State, rate: float, momentum: float, steps: int, loss_scaled: bool) -> ulpm.State:
    """The same rule with torch's own SGD and cross-entropy, which know nothing of gaps."""
    W, H = state.W.clone().requires_grad_(), state.H.clone().requires_grad_()
    optimiser = torch.optim.SGD([W, H], lr=rate, momentum=momentum)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy((W @ H).T, PROBLEM.labels, reduction="sum")
        # With momentum, scaling the loss by its own detached inverse scales what enters the velocity.
        (loss / loss.detach() if loss_scaled else loss).backward()
        optimiser.step()
    return ulpm.State(W.detach(), H.detach())


@pytest.mark.parametrize("loss_scaled", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_descent_equals_torch_sgd_on_the_summed_cross_entropy(momentum: float, loss_scaled: bool) -> None:
    state = PROBLEM.random_state(seed=1)
    path = ulpm.gradient_descent(
        PROBLEM, state, learning_rate=0.05, momentum=momentum, steps=25, loss_scaled=loss_scaled, records=5
    )
    expected = plain_descent(state, 0.05, momentum, 25, loss_scaled)
    # 25 steps of contracting dynamics; each side rounds at 1e-16 a step.
    torch.testing.assert_close(path.final_state.W, expected.W, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(path.final_state.H, expected.H, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_the_distance_to_the_flow_shrinks_in_proportion_to_the_learning_rate() -> None:
    state = PROBLEM.random_state(seed=2)
    flow = ulpm.gradient_flow(PROBLEM, state, log_time=math.log(20.0), rtol=1e-10, records=2)
    rates = [0.04, 0.02, 0.01, 0.005]
    errors = []
    for rate in rates:
        path = ulpm.gradient_descent(PROBLEM, state, learning_rate=rate, steps=round(20 / rate), records=2)
        assert float(path.log_time[-1]) == pytest.approx(math.log(20.0), abs=1e-12)
        errors.append(float((path.final_state.W - flow.final_state.W).norm()))
    slope = (math.log(errors[0]) - math.log(errors[-1])) / math.log(rates[0] / rates[-1])
    # Euler's method is of order 1; at these rates the next order still shows by a few per cent.
    assert slope == pytest.approx(1.0, abs=0.1)


@pytest.mark.usefixtures("unchecked")
def test_momentum_advances_flow_time_by_the_rate_over_one_minus_beta() -> None:
    state = PROBLEM.random_state(seed=2)
    path = ulpm.gradient_descent(PROBLEM, state, learning_rate=0.002, momentum=0.5, steps=5000, records=2)
    assert float(path.log_time[-1]) == pytest.approx(math.log(20.0), abs=1e-12)
    flow = ulpm.gradient_flow(PROBLEM, state, log_time=math.log(20.0), rtol=1e-10, records=2)
    plain = ulpm.gradient_descent(PROBLEM, state, learning_rate=0.004, steps=5000, records=2)
    # On the flow's clock the heavy ball is as near to the flow as plain descent with the rate it amounts to, up to the
    # one-off lag β/(1 − β) of its start; on a clock off by (1 − β) log L would be off by log 2.
    for other in (path, plain):
        assert float((other.log_loss[-1] - flow.log_loss[-1]).abs()) < 0.01


def test_the_loss_scaled_rate_reaches_times_that_the_constant_rate_cannot() -> None:
    state = PROBLEM.random_state(seed=2)
    constant = ulpm.gradient_descent(PROBLEM, state, learning_rate=0.05, steps=400, records=20)
    scaled = ulpm.gradient_descent(PROBLEM, state, learning_rate=0.05, steps=400, loss_scaled=True, records=20)
    assert float(scaled.log_time[-1]) > 5 * float(constant.log_time[-1])
    assert float(scaled.log_loss[-1]) < 5 * float(constant.log_loss[-1])
    assert scaled.config["record_steps"] == [round(400 * i / 19) for i in range(20)]


def test_its_clock_is_the_sum_of_the_rates() -> None:
    state = PROBLEM.random_state(seed=2)
    path = ulpm.gradient_descent(PROBLEM, state, learning_rate=0.05, steps=7, loss_scaled=True, records=8)
    assert path.config["record_steps"] == list(range(8))
    total = 0.05 * torch.cumsum(torch.exp(-path.log_loss[:-1]), 0)
    torch.testing.assert_close(path.log_time[1:], total.log(), rtol=1e-13, atol=1e-13)
    assert path.log_time[0] == -math.inf


@pytest.mark.usefixtures("unchecked")
def test_a_loss_that_becomes_zero_is_no_divisor_of_the_rate() -> None:
    squares = ulpm.Problem([2] * 3, 4, loss=ulpm.SquaredError())
    with pytest.raises(ValueError, match=r"loss_scaled divides by the loss, .* with squared-error: leave it out"):
        ulpm.gradient_descent(squares, squares.random_state(), loss_scaled=True)
    decayed = ulpm.Problem([2] * 3, 4, loss=ulpm.SquaredError(), weight_decay=(0.1, 0.1))
    path = ulpm.gradient_descent(decayed, decayed.random_state(), steps=3000, loss_scaled=True)
    assert float(path.log_loss[-1]) == pytest.approx(math.log(ulpm.optimum(decayed).value), abs=1e-12)


def test_replicas_are_the_runs_one_by_one() -> None:
    batch = PROBLEM.random_state(seed=5, replicas=3)
    together = ulpm.gradient_descent(PROBLEM, batch, momentum=0.3, steps=50, records=6)
    for i in range(3):
        alone = ulpm.gradient_descent(PROBLEM, ulpm.State(batch.W[i], batch.H[i]), momentum=0.3, steps=50, records=6)
        for name, column in alone.columns().items():
            torch.testing.assert_close(together.columns()[name][:, i], column, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_the_classifier_sum_is_conserved_and_balancedness_is_not() -> None:
    path = ulpm.gradient_descent(PROBLEM, PROBLEM.random_state(seed=1), learning_rate=0.1, momentum=0.3, steps=2000)
    assert float(path.invariant_drift["classifier_sum"].max()) < 1e-13
    assert float(path.invariant_drift["balancedness"].max()) > 1e-4


def test_a_diverging_replica_says_so_and_leaves_the_others_alone() -> None:
    good = PROBLEM.random_state(seed=1)
    huge = ulpm.State(good.W * 1e150, good.H * 1e150)
    both = ulpm.State(torch.stack([good.W, huge.W]), torch.stack([good.H, huge.H]))
    path = ulpm.gradient_descent(PROBLEM, both, steps=20, records=5)
    assert path.status == (ulpm.Status.STEPS_TAKEN, ulpm.Status.UNRESOLVED)
    assert not path.finished
    alone = ulpm.gradient_descent(PROBLEM, good, steps=20, records=5)
    torch.testing.assert_close(path.log_loss[:, 0], alone.log_loss, rtol=1e-12, atol=1e-12)
    assert bool(path.log_loss[1:, 1].isnan().all())
    exploding = ulpm.gradient_descent(PROBLEM, good, learning_rate=1e200, steps=20, records=5)
    assert exploding.status is ulpm.Status.NOT_FINITE
    assert len(exploding.log_time) == 1


@pytest.mark.usefixtures("unchecked")
def test_records_have_distinct_steps_that_are_even_in_log_log_time() -> None:
    path = ulpm.gradient_descent(PROBLEM, PROBLEM.random_state(seed=1), learning_rate=0.1, steps=3000, records=40)
    steps = path.config["record_steps"]
    assert steps[0] == 0
    assert steps[-1] == 3000
    assert sorted(set(steps)) == steps
    v = [math.log1p(math.log1p(0.1 * k)) for k in steps]
    late = [b - a for a, b in itertools.pairwise(v) if a > 1.5]
    # Marks are rounded to whole steps. Beyond v = 1.5, t = 31, marks are 60 steps apart or more, and rounding moves
    # each by at most half a step: a gap is off by 1/60 at most.
    assert max(late) / min(late) < 1 + 2 / 60


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1"),
        ({"momentum": -0.1}, "momentum must be at least 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"records": 1}, "records must be at least 2"),
        ({"steps": 2.5}, "steps must be an integer"),
    ],
)
def test_arguments_that_make_no_sense_get_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        ulpm.gradient_descent(PROBLEM, PROBLEM.random_state(), **arguments)


@pytest.mark.parametrize(("scale", "dtype"), [(1e7, torch.float64), (1e100, torch.float64), (1e4, torch.float32)])
def test_a_start_that_the_number_format_does_not_resolve_is_recorded_and_says_so(
    scale: float, dtype: torch.dtype
) -> None:
    problem = ulpm.Problem([3, 2, 2], 4)
    start = problem.random_state(scale=scale, dtype=dtype)
    path = ulpm.gradient_descent(problem, start, steps=5, records=3)
    assert path.status is ulpm.Status.UNRESOLVED
    assert path.log_time.tolist() == [-float("inf")]
    assert torch.isfinite(path.log_loss).all()
    assert torch.equal(path.final_state.W, start.W)


def test_a_start_that_overflows_or_asks_for_too_much_is_refused() -> None:
    problem = ulpm.Problem([3, 2, 2], 4)
    with pytest.raises(ValueError, match="so large that its logits or its norm overflow: scale it down"):
        ulpm.gradient_descent(problem, problem.random_state(scale=1e200), steps=5)
    with pytest.raises(ValueError, match="learning_rate times steps must be finite"):
        ulpm.gradient_descent(problem, problem.random_state(), steps=10**400)
    with pytest.raises(ValueError, match="a descent of this size needs"):
        ulpm.gradient_descent(problem, problem.random_state(), steps=10**15, records=10**14)
