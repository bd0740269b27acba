"""What a program switches on for all of torch changes no bit of what the public functions return."""

import contextlib
import dataclasses
import itertools

import pytest
import torch

import ulpm


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(name):
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def everything_at_once():
    with (
        default_dtype(torch.float16),
        default_device("meta"),
        deterministic(),
        torch.autocast("cpu", torch.bfloat16),
        torch.inference_mode(),
    ):
        yield


SWITCHES = {
    "default dtype bfloat16": lambda: default_dtype(torch.bfloat16),
    "default dtype float16": lambda: default_dtype(torch.float16),
    "default dtype float64": lambda: default_dtype(torch.float64),
    # A tensor made without a device has no numbers there, which shows.
    "default device": lambda: default_device("meta"),
    "a device context": lambda: torch.device("meta"),
    "deterministic algorithms": deterministic,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "everything at once": everything_at_once,
}
FEW = ("default dtype bfloat16", "everything at once")
IMAGES = torch.linspace(-1, 1, 60).reshape(12, 5).sin()
LABELS = torch.arange(12) % 3
torch.manual_seed(0)
MODEL = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))


def flows(folder):
    """Runs of the flow and of gradient descent, in both precisions, with replicas, snapshots and a checkpoint."""
    problem, pair, narrow = ulpm.Problem([2, 1], 2), ulpm.Problem([2, 2], 2), torch.float32
    # To where the stiff method has taken over.
    yield ulpm.gradient_flow(pair, pair.random_state(0, replicas=2), log_time=100, records=4, snapshots=2, rtol=1e-3)
    yield ulpm.gradient_flow(problem, problem.random_state(1, dtype=narrow), log_time=2, records=3, rtol=1e-3)
    file = folder / "checkpoint"
    yield ulpm.gradient_flow(problem, problem.random_state(2), log_loss=-3, records=3, max_steps=2, checkpoint=file)
    yield ulpm.resume_flow(file, max_steps=1000)
    yield ulpm.gradient_descent(problem, problem.random_state(0, dtype=narrow), steps=9, records=3, snapshots=2)


def states():
    problem = ulpm.Problem([4] * 4, 3)
    yield ulpm.collapsed_state(problem)
    yield ulpm.block_state(problem, norm=2.0)
    yield ulpm.seli_state(ulpm.Problem([5, 3, 1], 2))
    yield problem.random_state(7, replicas=2, dtype=torch.float32)
    yield ulpm.from_features(IMAGES, LABELS)[1]


def numbers(folder):
    """Everything that the public functions return, flat."""
    problem = ulpm.Problem([4] * 4, 3)
    found = [problem.labels, ulpm.simplex_etf(4, 5), *ulpm.fashion_mnist_sample()]
    for state in states():
        found += [state.W, state.H]
    for state in (
        ulpm.block_state(problem, norm=2.0),
        problem.random_state(3),
        problem.random_state(3, dtype=torch.float32),
    ):
        found += [ulpm.log_loss(problem, state), ulpm.margin(problem, state)]
        found += ulpm.neural_collapse(state.W, state.H, problem.labels).values()
        found += ulpm.certify(problem, state).columns().values()
        found += dataclasses.astuple(ulpm.sphere_critical_point(problem, state))[:-2]
    moments = ulpm.ClassMoments(3, 5)
    moments.update(IMAGES, LABELS)
    moments.merge(moments)
    found += ulpm.neural_collapse_from_moments(moments, IMAGES[:3]).values()
    for path in flows(folder):
        found += [*path.columns().values(), path.final_state.W, path.final_state.H]
        found += [] if path.snapshots is None else [path.snapshots.records, path.snapshots.W, path.snapshots.H]
        path.save(folder / "run")
        found += ulpm.Trajectory.load(folder / "run").columns().values()
    return [
        torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None, device="cpu").detach().clone()
        for value in found
    ]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return numbers(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in SWITCHES],
)
def test_a_switch_changes_no_bit(name, plain, tmp_path):
    with SWITCHES[name]():
        found = numbers(tmp_path)
    with torch.inference_mode():
        for here, there in zip(found, plain, strict=True):
            assert here.dtype == there.dtype
            assert torch.equal(here.nan_to_num(7.5), there.nan_to_num(7.5))


@pytest.mark.parametrize("name", SWITCHES)
def test_the_convex_optima_change_no_bit(name):
    def optima():
        problem = ulpm.Problem([4, 4, 2], 2)
        margins = torch.full((3, 3), 1.5, dtype=torch.float64, device="cpu")
        yield ulpm.minimum_norm_separation(problem, margins=margins)
        yield ulpm.norm_constrained_optimum(problem, 1.0, 2.0)
        yield ulpm.regularised_optimum(problem, 0.01, 0.02)

    reference = list(optima())
    with SWITCHES[name]():
        found = list(optima())
    for here, there in zip(found, reference, strict=True):
        assert torch.equal(here.logits, there.logits)
        assert torch.equal(here.state.H, there.state.H)
        assert here.value == there.value


@pytest.mark.parametrize("name", [name for name in SWITCHES if name not in ("autocast", "everything at once")])
def test_a_network_is_measured_as_without_the_switch(name):
    reference = ulpm.measure(MODEL, [(IMAGES, LABELS)])
    with SWITCHES[name]():
        assert ulpm.measure(MODEL, [(IMAGES, LABELS)]) == reference


@pytest.mark.parametrize("name", SWITCHES)
def test_labels_that_were_first_read_under_a_switch_serve_ordinary_gradients(name):
    problem = ulpm.Problem([2, 3], 2)
    with SWITCHES[name]():
        assert not problem.labels.is_inference()
    logits = torch.zeros(5, 2, requires_grad=True)
    torch.nn.functional.cross_entropy(logits, problem.labels).backward()
    assert logits.grad.isfinite().all()


def with_gradients(state):
    return ulpm.State(state.W.clone().requires_grad_(), state.H.clone().requires_grad_())


def test_states_that_ask_for_gradients_run_as_others():
    problem = ulpm.Problem([3, 2, 2], 4)
    state, loud = problem.random_state(0), with_gradients(problem.random_state(0))
    for run in (
        lambda start: ulpm.gradient_flow(problem, start, log_time=3, records=4, snapshots=2),
        lambda start: ulpm.gradient_descent(problem, start, steps=5, records=3, snapshots=2),
    ):
        path, other = run(state), run(loud)
        assert torch.equal(path.final_state.W, other.final_state.W)
        assert not other.final_state.W.requires_grad
        assert not any(column.requires_grad for column in other.columns().values())
    assert torch.equal(ulpm.certify(problem, loud).gap, ulpm.certify(problem, state).gap)
    assert ulpm.sphere_critical_point(problem, loud).kind == ulpm.sphere_critical_point(problem, state).kind
    found = ulpm.neural_collapse(loud.W, loud.H, problem.labels)
    assert found == ulpm.neural_collapse(state.W, state.H, problem.labels)
    problem, start = ulpm.from_features(IMAGES.clone().requires_grad_(), LABELS)
    assert ulpm.gradient_flow(problem, start, log_time=1, records=2).finished
    with torch.enable_grad():
        path = ulpm.gradient_flow(problem, start, log_time=1, records=2)
    assert not path.final_state.W.is_inference()


def cross_entropy(problem, W, H):
    """log L by torch's own cross-entropy, for losses that are not small."""
    Z = (W @ H).movedim(-1, 0).movedim(-1, 1)  # [N, K, ...]
    labels = problem.labels.reshape(-1, *[1] * (Z.ndim - 2)).expand(len(Z), *Z.shape[2:])
    return torch.nn.functional.cross_entropy(Z, labels, reduction="none").sum(0).log()


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize(("counts", "dim"), [([2, 3], 1), ([3, 2, 2], 4), ([1] * 5, 7)])
def test_the_gradient_of_the_log_loss_is_that_of_a_plain_formula(counts, dim, replicas):
    problem = ulpm.Problem(counts, dim)
    state = with_gradients(problem.random_state(1, replicas=replicas))
    weights = torch.linspace(1, 2, replicas or 1, dtype=torch.float64)
    (ulpm.log_loss(problem, state) * weights).sum().backward()
    plain = with_gradients(state)
    plain = ulpm.State(state.W.detach().requires_grad_(), state.H.detach().requires_grad_())
    (cross_entropy(problem, plain.W, plain.H) * weights).sum().backward()
    torch.testing.assert_close(state.W.grad, plain.W.grad, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(state.H.grad, plain.H.grad, rtol=1e-12, atol=1e-13)


def test_gradients_of_gradients_of_the_log_loss_are_right():
    problem = ulpm.Problem([3, 2, 2], 4)
    state = with_gradients(problem.random_state(2))

    def value(W, H):
        return ulpm.log_loss(problem, ulpm.State(W, H))

    assert torch.autograd.gradcheck(value, (state.W, state.H))
    assert torch.autograd.gradgradcheck(value, (state.W, state.H))


@pytest.mark.parametrize("ask", ["W", "H"])
def test_a_gradient_may_be_asked_of_one_factor_alone_or_through_others(ask):
    problem = ulpm.Problem([3, 2, 2], 4)
    state = problem.random_state(3)
    factor = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    scaled = ulpm.State(state.W * factor, state.H) if ask == "W" else ulpm.State(state.W, state.H * factor)
    ulpm.log_loss(problem, scaled).backward()
    step = 1e-6

    def at(size):
        W, H = (state.W * size, state.H) if ask == "W" else (state.W, state.H * size)
        return float(ulpm.log_loss(problem, ulpm.State(W, H)))

    assert float(factor.grad) == pytest.approx((at(1.5 + step) - at(1.5 - step)) / (2 * step), rel=1e-7)


def test_the_gradient_is_right_where_the_loss_is_far_below_the_smallest_float():
    problem = ulpm.Problem([2, 2], 1)
    W = torch.tensor([[1e3], [-1e3]], dtype=torch.float64, requires_grad=True)
    H = torch.tensor([[2.0, 1.0, -1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    ulpm.log_loss(problem, ulpm.State(W, H)).backward()
    # log L = log 2 − 2·10³ for the two samples with the smaller margin; the others have no share in it.
    torch.testing.assert_close(W.grad, torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    torch.testing.assert_close(H.grad, 1e3 * torch.tensor([[0.0, -1, 1, 0]], dtype=torch.float64), atol=1e-100, rtol=0)


def test_the_margin_has_the_gradient_of_the_smallest_gap():
    problem = ulpm.Problem([3, 2, 2], 4)
    state = with_gradients(problem.random_state(5))
    ulpm.margin(problem, state).backward()
    Z = (state.W @ state.H).detach()
    gaps = Z[problem.labels, torch.arange(7)] - Z
    gaps[problem.labels, torch.arange(7)] = torch.inf
    j, i = divmod(int(gaps.argmin()), 7)
    direction = torch.zeros(4, 7, dtype=torch.float64)
    direction[:, i] = (state.W[problem.labels[i]] - state.W[j]).detach()
    torch.testing.assert_close(state.H.grad, direction)


def test_a_descent_by_autograd_follows_the_flow():
    problem = ulpm.Problem([2, 2, 2], 3)
    state = with_gradients(problem.random_state(0))
    optimiser = torch.optim.SGD([state.W, state.H], lr=0.05)
    values = []
    for _ in range(50):
        optimiser.zero_grad()
        loss = ulpm.log_loss(problem, state)
        loss.backward()
        optimiser.step()
        values.append(float(loss.detach()))
    assert all(after < before for before, after in itertools.pairwise(values))
