"""The plain flow is what scipy computes, with weight decay and without, and its methods have their orders."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import ulpm
from theory_experiments.numerics.decayed_flow import plain_field, plain_flow

PROBLEM = ulpm.Problem([3, 2, 2], 4)
TIMES = torch.tensor([0.0, 0.7, 3.0], dtype=torch.float64)


def scipy_flow(state: ulpm.State, weight_decay: float) -> np.ndarray:
    """The flat state at the last of TIMES, by DOP853 on numpy's softmax."""
    one_hot = np.eye(3)[PROBLEM.labels.numpy()].T

    def rate(_: float, v: np.ndarray) -> np.ndarray:
        W, H = v[:12].reshape(3, 4), v[12:].reshape(4, 7)
        odds = np.exp(W @ H)
        R = one_hot - odds / odds.sum(0)
        return np.concatenate([(R @ H.T - weight_decay * W).ravel(), (W.T @ R - weight_decay * H).ravel()])

    start = np.concatenate([state.W.numpy().ravel(), state.H.numpy().ravel()])
    return solve_ivp(rate, (0, 3), start, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]


def flat(state: ulpm.State) -> np.ndarray:
    return torch.cat([state.W.flatten(), state.H.flatten()]).numpy()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_plain_flow_equals_scipys(weight_decay: float) -> None:
    start = PROBLEM.random_state(seed=1)
    first, _, last = plain_flow(PROBLEM, start, TIMES, step=0.01, weight_decay=weight_decay)
    np.testing.assert_array_equal(flat(first), flat(start))
    np.testing.assert_allclose(flat(last), scipy_flow(start, weight_decay), atol=1e-8)


@pytest.mark.parametrize("order", [1, 4])
def test_the_error_falls_with_the_order_of_the_method(order: int) -> None:
    start = PROBLEM.random_state(seed=2)
    exact = scipy_flow(start, 0.0)
    errors = [
        float(np.linalg.norm(flat(plain_flow(PROBLEM, start, TIMES, step=step, order=order)[-1]) - exact))
        for step in (0.1, 0.05)
    ]
    # The next order still shows at these steps.
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_the_field_is_minus_the_gradient_of_the_summed_cross_entropy() -> None:
    state = PROBLEM.random_state(seed=3, replicas=2)
    W, H = state.W.clone().requires_grad_(), state.H.clone().requires_grad_()
    Z = (W @ H).mT
    loss = torch.nn.functional.cross_entropy(Z.reshape(-1, 3), PROBLEM.labels.repeat(2), reduction="sum")
    loss = loss + 0.15 * (W.square().sum() + H.square().sum())
    expected = torch.autograd.grad(loss, (W, H))
    for got, want in zip(plain_field(PROBLEM, state.W, state.H, weight_decay=0.3), expected, strict=True):
        torch.testing.assert_close(got, -want)


def test_another_order_is_refused() -> None:
    with pytest.raises(ValueError, match="order must be 1 or 4"):
        plain_flow(PROBLEM, PROBLEM.random_state(), TIMES, step=0.1, order=2)
