import pytest
import torch
from oracles import autograd_field, autograd_log_loss

from ulpm import Problem, State
from ulpm.flow.system import FlowSystem

PROBLEM = Problem([2, 1, 3], 4)
SYSTEM = FlowSystem(PROBLEM, torch.device("cpu"))


@pytest.mark.parametrize("replicas", [None, 1, 3])
def test_packing_and_unpacking_give_the_state_back(replicas):
    state = PROBLEM.random_state(seed=0, replicas=replicas)
    W, H, _ = SYSTEM.layout.unpack(SYSTEM.layout.pack(state))
    assert torch.equal(W if replicas else W[0], state.W)
    assert torch.equal(H if replicas else H[0], state.H)


def test_the_rate_is_minus_the_gradient_of_log_loss():
    state = PROBLEM.random_state(seed=0, replicas=3)
    y = SYSTEM.layout.pack(state)
    rate = torch.full_like(y, torch.nan)
    log_loss = SYSTEM.rate(y, rate)
    W_dot, H_dot, _ = SYSTEM.layout.unpack(rate)
    want_W, want_H = autograd_field(state.W, state.H, PROBLEM.labels)
    torch.testing.assert_close(W_dot, want_W, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(H_dot, want_H, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(log_loss, autograd_log_loss(state.W, state.H, PROBLEM.labels), rtol=1e-13, atol=0)
    torch.testing.assert_close(SYSTEM.loss(y).log_loss, log_loss, rtol=1e-15, atol=0)


def dense_jacobian(y):
    """−∇² log L at one vector, by autograd."""

    def minus_log_loss(v):
        W, H, _ = SYSTEM.layout.unpack(v[None])
        return -autograd_log_loss(W[0], H[0], PROBLEM.labels)

    return torch.autograd.functional.hessian(minus_log_loss, y)


def test_the_linearisation_solves_with_the_jacobian_of_the_rate_and_gives_the_image_of_what_it_found():
    y = SYSTEM.layout.pack(PROBLEM.random_state(seed=1, replicas=2))
    rhs = SYSTEM.layout.pack(PROBLEM.random_state(seed=2, replicas=2))
    linear, x, image = SYSTEM.linearise(y), torch.empty_like(y), rhs.clone()
    shift = torch.tensor([3.0, 5.0], dtype=torch.float64)
    linear.solve(shift, image, torch.full_like(shift, 1e-3), x)
    for b in range(2):
        J = dense_jacobian(y[b])
        matrix = shift[b] * torch.eye(len(J), dtype=J.dtype) - J
        assert 1e-6 < float((matrix @ x[b] - rhs[b]).norm()) <= 1e-3
        torch.testing.assert_close(image[b], matrix @ x[b], rtol=1e-10, atol=1e-12)
    # From there it goes on to any accuracy.
    linear.solve(shift, rhs.clone(), torch.full_like(shift, 1e-12), closer := torch.empty_like(y))
    for b in range(2):
        J = dense_jacobian(y[b])
        want = torch.linalg.solve(shift[b] * torch.eye(len(J), dtype=J.dtype) - J, rhs[b])
        torch.testing.assert_close(closer[b], want, rtol=1e-9, atol=1e-10)
    assert bool((sum(linear.solves.iterations) > 1).all())


def test_a_system_that_cannot_be_solved_gives_nan_for_that_replica_alone():
    y = SYSTEM.layout.pack(PROBLEM.random_state(seed=1, replicas=2))
    highest = float(torch.linalg.eigvalsh(dense_jacobian(y[0]))[-1])
    assert highest > 0
    linear, x = SYSTEM.linearise(y), torch.empty_like(y)
    shift = torch.tensor([highest / 2, 50.0], dtype=torch.float64)
    linear.solve(shift, torch.ones_like(y), torch.full_like(shift, 1e-10), x)
    assert bool(torch.isnan(x[0]).all())
    assert bool(torch.isfinite(x[1]).all())


def test_a_single_state_is_a_batch_of_one():
    state = PROBLEM.random_state(seed=0, replicas=1)
    assert torch.equal(SYSTEM.layout.pack(state), SYSTEM.layout.pack(State(state.W[0], state.H[0])))


@pytest.mark.parametrize("scale", [0.5, 3.0, 30.0])
def test_the_change_of_the_residual_is_that_of_its_logarithms_weighted_by_it(scale):
    """(Σ Q (d log Q)²)^½ with log Q_ij = a_ij − log(1 + Σ_j e^a_ij) − log L, differentiated by autograd."""
    problem = Problem([3, 1, 2], 4)
    system = FlowSystem(problem, torch.device("cpu"))
    y = system.layout.pack(problem.random_state(seed=0, scale=scale))
    change = system.layout.pack(problem.random_state(seed=1))
    wrong = torch.ones(3, 6, dtype=torch.bool).scatter_(0, problem.labels[None], False)

    def log_shares(v):
        W, H, _ = system.layout.unpack(v)
        Z = (W @ H)[0]
        gaps = Z - Z.gather(0, problem.labels[None])
        log_odds = gaps.masked_fill(~wrong, -torch.inf).logsumexp(0)
        log_loss = torch.nn.functional.softplus(log_odds).sum().log()
        return (gaps - torch.nn.functional.softplus(log_odds) - log_loss)[wrong]

    _, derivative = torch.autograd.functional.jvp(log_shares, (y,), (change,))
    want = (log_shares(y).exp() * derivative.square()).sum().sqrt()
    got = system.residual_change(y, change, system.loss(y))
    torch.testing.assert_close(got[0], want, rtol=1e-9, atol=0)
