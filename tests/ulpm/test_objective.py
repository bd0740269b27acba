import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import (
    autograd_field,
    autograd_log_loss,
    collapsed_arrays,
    distance,
    enumerated_margin,
    error_against,
    exact,
    exact_jacobian_product,
    exact_loss_and_field,
    in_digits,
    random_arrays,
)

from ulpm import Problem, State, log_loss, margin
from ulpm.objective import Objective
from ulpm.state import Factors

SHAPES = {
    "balanced": ([3] * 4, 6),
    "imbalanced": ([5, 1, 3], 4),
    "d < K-1": ([2] * 5, 2),
    "two classes": ([3, 2], 3),
    "one dimension": ([2, 2, 1], 1),
    "one sample a class": ([1] * 4, 5),
    "1 : 1000": ([1, 1000], 3),
}
SMALL = {name: SHAPES[name] for name in ("balanced", "imbalanced", "d < K-1", "two classes", "one dimension")}
shapes = pytest.mark.parametrize(("counts", "d"), SHAPES.values(), ids=SHAPES.keys())
small_shapes = pytest.mark.parametrize(("counts", "d"), SMALL.values(), ids=SMALL.keys())
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
gaps = pytest.mark.parametrize("gap", [1.0, 30.0, 100.0, 1e3, 1e4])
starts = pytest.mark.parametrize("start", [collapsed_arrays, "random"])


def states(counts, d, start, gap, dtype):
    """A state with logit gaps about ``gap``: near collapse (all margins positive) or random (most negative)."""
    if start is collapsed_arrays:
        W, H, labels = collapsed_arrays(3, counts, d, gap)
    else:
        W, H, labels = random_arrays(3, counts, d, scale=math.sqrt(gap))
    return torch.tensor(W, dtype=dtype), torch.tensor(H, dtype=dtype), labels


def rounding(W, H):
    """A relative error of any p_{ij}/L in floating point, to first order.

    A logit is a dot product of d terms, wrong by eps·d·s with s = max Σ_a |w_ka h_ai|; a gap is the difference of two;
    it passes through three more sums of numbers up to 2s + log(KN); exp turns the absolute error into a relative one.
    """
    s = float((W.abs() @ H.abs()).max())
    (K, d), N = W.shape[-2:], H.shape[-1]
    return torch.finfo(W.dtype).eps * (2 * d * s + 8 * (s + math.log(K * N)) + 2 * K + 2 * N)


@shapes
@pytest.mark.parametrize("replicas", [(), (3,), (2, 2)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 3.0])
def test_the_field_is_minus_the_gradient_of_log_loss(counts, d, replicas, scale):
    problem = Problem(counts, d)
    generator = torch.Generator().manual_seed(0)
    W = scale * torch.randn(*replicas, len(counts), d, generator=generator, dtype=torch.float64)
    H = scale * torch.randn(*replicas, d, sum(counts), generator=generator, dtype=torch.float64)
    loss, (W_dot, H_dot, _) = Objective(problem)(Factors(W, H))
    want_W, want_H = autograd_field(W, H, problem.labels)
    # Gaps of at most about 100, and 1 − softmax loses eps·e^gap of a residual only where it is small beside others.
    torch.testing.assert_close(loss.log_loss, autograd_log_loss(W, H, problem.labels), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(W_dot, want_W, rtol=1e-10, atol=1e-11 * float(want_W.abs().max()))
    torch.testing.assert_close(H_dot, want_H, rtol=1e-10, atol=1e-11 * float(want_H.abs().max()))


@small_shapes
@dtypes
@gaps
@starts
@pytest.mark.usefixtures("unchecked")
def test_the_field_agrees_with_fifty_digits_at_any_gap(counts, d, dtype, gap, start):
    W, H, labels = states(counts, d, start, gap, dtype)
    loss, (W_dot, H_dot, _) = Objective(Problem(counts, d))(Factors(W, H))
    want_loss, want_W, want_H = in_digits(lambda: exact_loss_and_field(exact(W), exact(H), labels))()
    error = rounding(W, H)
    assert abs(error_against(loss.log_loss, want_loss)) <= error
    # ‖R Hᵀ‖ ≤ ‖R‖‖H‖, so that a relative error of R shows up in F relative to this product at most; and at a point
    # with positive margins Euler's identity ⟨F, Θ⟩ = 2 Σ q p/L makes it comparable to ‖F‖.
    R = float(loss.residual.norm())
    assert distance(W_dot, want_W) <= error * R * float(H.norm())
    assert distance(H_dot, want_H) <= error * R * float(W.norm())


@dtypes
@gaps
def test_near_collapse_the_error_is_small_beside_the_field_itself(dtype, gap):
    W, H, labels = states([3] * 4, 6, collapsed_arrays, gap, dtype)
    _, (W_dot, H_dot, _) = Objective(Problem([3] * 4, 6))(Factors(W, H))
    _, want_W, want_H = in_digits(lambda: exact_loss_and_field(exact(W), exact(H), labels))()
    for got, want in ((W_dot, want_W), (H_dot, want_H)):
        # Gaps of float32 at 1e4 have an absolute error of 1e4·eps ≈ 1e-3; the factor 4 covers ‖R‖‖H‖/‖F‖ here.
        assert distance(got, want) <= 4 * rounding(W, H) * float(got.norm())


@shapes
@dtypes
@gaps
@starts
def test_columns_of_the_residual_sum_to_zero_at_any_gap(counts, d, dtype, gap, start):
    W, H, _ = states(counts, d, start, gap, dtype)
    loss = Objective(Problem(counts, d)).loss(Factors(W, H))
    # K numbers, each rounded once or twice, of which the true-class one is as large as all others together.
    bound = 2 * len(counts) * torch.finfo(dtype).eps * float(loss.residual.abs().max())
    assert float(loss.residual.sum(0).abs().max()) <= bound
    assert float(loss.residual.abs().max()) > 0


@dtypes
@gaps
@starts
def test_the_field_has_no_subnormal_entries_in_its_residual(dtype, gap, start):
    W, H, _ = states([3] * 4, 6, start, gap, dtype)
    R = Objective(Problem([3] * 4, 6)).loss(Factors(W, H)).residual.abs()
    info = torch.finfo(dtype)
    # clamped_exp_ stops at the root of the smallest normal number; a product of two may round to just below it.
    assert float(R[R > 0].min()) >= info.tiny * (1 - 100 * info.eps)
    assert torch.isfinite(R).all()


@pytest.mark.parametrize("gap", [700.0, 1e4, 1e5])
def test_log_loss_far_below_the_smallest_float(gap):
    """With an exact ETF all gaps are equal: L = N·log(1 + (K − 1)e^−gap), log L = log(N(K − 1)) − gap to round-off."""
    K, n = 4, 3
    frame = torch.eye(K, dtype=torch.float64) - 1 / K
    H = math.sqrt(gap) * frame.repeat_interleave(n, 0).T
    state = State(math.sqrt(gap) * frame, H.contiguous())
    problem = Problem([n] * K, K)
    want = math.log(K * n * (K - 1)) - gap
    assert float(log_loss(problem, state)) == pytest.approx(want, rel=1e-14)
    assert float(margin(problem, state)) == pytest.approx(gap, rel=1e-14)


@pytest.mark.parametrize("scale", [1e-150, 1e-6, 1e3, 1e5, 1e75])
def test_log_loss_is_finite_from_tiny_to_huge_states(scale):
    problem = Problem([3, 2, 1], 4)
    state = problem.random_state(seed=2, scale=scale)
    W, H = exact(state.W), exact(state.H)
    want = in_digits(lambda: exact_loss_and_field(W, H, problem.labels)[0])()
    assert abs(error_against(log_loss(problem, state), want)) <= 1e-13 * (1 + abs(float(want)))


@shapes
@pytest.mark.parametrize("seed", range(3))
def test_the_margin_is_the_smallest_over_all_pairs(counts, d, seed):
    W, H, labels = random_arrays(seed, counts, d)
    problem = Problem(counts, d)
    state = State(torch.tensor(W), torch.tensor(H))
    assert float(margin(problem, state)) == pytest.approx(enumerated_margin(W, H, labels), rel=1e-12, abs=1e-14)


def test_replicas_are_measured_each_on_its_own():
    problem = Problem([3, 1, 2], 4)
    state = problem.random_state(seed=1, scale=3.0, replicas=5)
    for function in (log_loss, margin):
        want = [float(function(problem, State(state.W[b], state.H[b]))) for b in range(5)]
        torch.testing.assert_close(
            function(problem, state), torch.tensor(want, dtype=torch.float64), rtol=1e-14, atol=0
        )


# --- the Jacobian ----------------------------------------------------------------------------------------------------


def tangents(W, H, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x) for x in (W, H))


@shapes
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_the_jacobian_product_is_minus_the_hessian_of_log_loss(counts, d, scale):
    problem = Problem(counts, d)
    state = problem.random_state(seed=4, scale=scale)
    tangent = tangents(state.W, state.H)
    got = Objective(problem).jacobian_product(state.factors, Factors(*tangent))
    _, want = torch.autograd.functional.hvp(
        lambda W, H: autograd_log_loss(W, H, problem.labels), (state.W, state.H), tangent
    )
    for have, minus in zip(got[:2], want, strict=True):
        torch.testing.assert_close(have, -minus, rtol=1e-9, atol=1e-10 * float(minus.abs().max()))


@small_shapes
def test_the_jacobian_product_is_the_derivative_of_the_field(counts, d):
    problem = Problem(counts, d)
    objective = Objective(problem)
    state = problem.random_state(seed=4)
    dW, dH = tangents(state.W, state.H)
    got = objective.jacobian_product(state.factors, Factors(dW, dH))
    h = 1e-5  # error h² from the curve, eps/h = 1e-11 from rounding
    _, plus = objective(Factors(state.W + h * dW, state.H + h * dH))
    _, minus = objective(Factors(state.W - h * dW, state.H - h * dH))
    for have, above, below in zip(got[:2], plus[:2], minus[:2], strict=True):
        torch.testing.assert_close(have, (above - below) / (2 * h), rtol=1e-6, atol=1e-7 * float(have.abs().max()))


@small_shapes
@dtypes
@gaps
@pytest.mark.usefixtures("unchecked")
def test_the_jacobian_product_agrees_with_fifty_digits_at_any_gap(counts, d, dtype, gap):
    W, H, labels = states(counts, d, collapsed_arrays, gap, dtype)
    dW, dH = tangents(W, H)
    objective = Objective(Problem(counts, d))
    got = objective.jacobian_product(Factors(W, H), Factors(dW, dH))
    want = exact_jacobian_product(W, H, labels, dW, dH)
    R = objective.loss(Factors(W, H)).residual
    # |dR| ≤ 2|R|(1 + Σ|R|)·max|dA| entrywise, and R enters it twice.
    change = 2 * float((dW.abs() @ H.abs() + W.abs() @ dH.abs()).max())
    dR = 2 * float(R.norm()) * (1 + float(R.abs().sum())) * change
    for have, exactly, factor, tangent in zip(got[:2], want, (H, W), (dH, dW), strict=True):
        size = dR * float(factor.norm()) + float(R.norm() * tangent.norm())
        assert distance(have, exactly) <= 3 * rounding(W, H) * size


@shapes
@pytest.mark.parametrize("gap", [1.0, 1e3])
def test_the_jacobian_is_symmetric(counts, d, gap):
    W, H, _ = states(counts, d, collapsed_arrays, gap, torch.float64)
    objective = Objective(Problem(counts, d))
    u, v = tangents(W, H, 1), tangents(W, H, 2)
    at = Factors(W, H)
    Ju, Jv = (objective.jacobian_product(at, Factors(*tangent)) for tangent in (u, v))

    def inner(a, b):
        return float((a[0] * b[0]).sum() + (a[1] * b[1]).sum())

    size = math.sqrt(inner(Ju, Ju) * inner(v, v)) + math.sqrt(inner(Jv, Jv) * inner(u, u))
    assert inner(Ju, v) == pytest.approx(inner(u, Jv), abs=rounding(W, H) * size)


def test_jacobian_products_of_a_batch_are_those_of_its_replicas():
    problem = Problem([3, 1, 2], 4)
    state = problem.random_state(seed=1, replicas=3)
    dW, dH = tangents(state.W, state.H)
    objective = Objective(problem)
    loss = objective.loss(state.factors)
    got = objective.jacobian_product(state.factors, Factors(dW, dH), loss)
    for b in range(3):
        want = objective.jacobian_product(Factors(state.W[b], state.H[b]), Factors(dW[b], dH[b]))
        for have, alone in zip(got[:2], want[:2], strict=True):
            torch.testing.assert_close(have[b], alone, rtol=1e-12, atol=1e-12)


# --- invariances -----------------------------------------------------------------------------------------------------

examples = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
class_counts = st.lists(st.integers(1, 4), min_size=2, max_size=5)
dims = st.integers(1, 6)
sizes = st.sampled_from([0.1, 1.0, 5.0, 30.0])


def evaluate(counts, W, H):
    loss, (W_dot, H_dot, _) = Objective(Problem(counts, W.shape[1]))(Factors(torch.tensor(W), torch.tensor(H)))
    return float(loss.log_loss), W_dot.numpy(), H_dot.numpy()


def assert_same(got, want, W, H):
    error = rounding(torch.tensor(W), torch.tensor(H))
    assert got[0] == pytest.approx(want[0], abs=2 * error)
    for have, expected in zip(got[1:], want[1:], strict=True):
        # Two evaluations with independent roundings; |R| sums to at most √N of its norm.
        size = (1 + np.linalg.norm(W) + np.linalg.norm(H)) * (1 + np.linalg.norm(expected))
        np.testing.assert_allclose(have, expected, rtol=0, atol=2 * error * size)


@given(seeds, class_counts, dims, sizes)
@examples
def test_a_rotation_of_feature_space_rotates_the_field(seed, counts, d, scale):
    W, H, _ = random_arrays(seed, counts, d, scale)
    Q = np.linalg.qr(np.random.default_rng(seed + 1).standard_normal((d, d)))[0]
    logs, W_dot, H_dot = evaluate(counts, W, H)
    assert_same(evaluate(counts, W @ Q.T, Q @ H), (logs, W_dot @ Q.T, Q @ H_dot), W, H)


@given(seeds, class_counts, dims, sizes)
@examples
def test_a_permutation_of_classes_permutes_the_field(seed, counts, d, scale):
    W, H, labels = random_arrays(seed, counts, d, scale)
    order = np.random.default_rng(seed + 1).permutation(len(counts))
    columns = np.concatenate([np.flatnonzero(labels == k) for k in order])
    logs, W_dot, H_dot = evaluate(counts, W, H)
    permuted = evaluate([counts[k] for k in order], W[order], H[:, columns])
    assert_same(permuted, (logs, W_dot[order], H_dot[:, columns]), W, H)


@given(seeds, class_counts, dims, sizes)
@examples
def test_the_order_of_samples_inside_a_class_does_not_matter(seed, counts, d, scale):
    W, H, labels = random_arrays(seed, counts, d, scale)
    rng = np.random.default_rng(seed + 1)
    columns = np.concatenate([rng.permutation(np.flatnonzero(labels == k)) for k in range(len(counts))])
    logs, W_dot, H_dot = evaluate(counts, W, H)
    assert_same(evaluate(counts, W, H[:, columns]), (logs, W_dot, H_dot[:, columns]), W, H)


@given(seeds, class_counts, dims, sizes, st.sampled_from([1e-3, 0.3, 7.0]))
@examples
def test_only_the_product_of_classifier_and_features_enters_the_loss(seed, counts, d, scale, c):
    W, H, _ = random_arrays(seed, counts, d, scale)
    logs, W_dot, H_dot = evaluate(counts, W, H)
    got = evaluate(counts, c * W, H / c)
    assert_same((got[0], got[1] * c, got[2] / c), (logs, W_dot, H_dot), W, H)


@given(seeds, class_counts, dims, sizes)
@examples
def test_a_vector_added_to_every_classifier_row_leaves_the_loss(seed, counts, d, scale):
    W, H, _ = random_arrays(seed, counts, d, scale)
    shifted = W + np.random.default_rng(seed + 1).standard_normal(d)
    error = rounding(torch.tensor(np.abs(W) + np.abs(shifted)), torch.tensor(H))
    assert evaluate(counts, shifted, H)[0] == pytest.approx(evaluate(counts, W, H)[0], abs=2 * error)


@small_shapes
@pytest.mark.parametrize("gap", [1.0, 1e3])
def test_a_rate_scaled_by_a_nearby_loss_is_the_field(counts, d, gap):
    W, H, _ = states(counts, d, "random", gap, torch.float64)
    objective = Objective(Problem(counts, d))
    loss, (W_dot, H_dot, _) = objective(Factors(W, H))
    for shift in (0.0, -30.0, 300.0):
        out = Factors(torch.empty_like(W), torch.empty_like(H))
        log_loss = objective.rate(Factors(W, H), loss.log_loss + shift, out)
        torch.testing.assert_close(log_loss, loss.log_loss, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(out.W, W_dot, rtol=1e-12, atol=1e-12 * float(W_dot.abs().max()))
        torch.testing.assert_close(out.H, H_dot, rtol=1e-12, atol=1e-12 * float(H_dot.abs().max()))


@pytest.mark.parametrize("near", [1e3, -1e3])
def test_a_rate_scaled_by_a_loss_too_far_away_is_no_number(near):
    W, H, _ = states([3, 2], 3, "random", 1.0, torch.float64)
    out = Factors(torch.empty_like(W), torch.empty_like(H))
    log_loss = Objective(Problem([3, 2], 3)).rate(Factors(W, H), torch.tensor(near, dtype=torch.float64), out)
    assert not log_loss.isfinite()
    assert not out.W.isfinite().any()


@small_shapes
@gaps
def test_a_jacobian_product_that_is_given_the_field_is_the_one_that_is_not(counts, d, gap):
    W, H, _ = states(counts, d, "random", gap, torch.float64)
    objective = Objective(Problem(counts, d))
    generator = torch.Generator().manual_seed(0)
    tangent = tuple(torch.randn(x.shape, dtype=torch.float64, generator=generator) for x in (W, H))
    loss, (W_dot, _, _) = objective(Factors(W, H))
    plain = objective.jacobian_product(Factors(W, H), Factors(*tangent), loss)
    given = objective.jacobian_product(Factors(W, H), Factors(*tangent), loss, W_dot=W_dot)
    size = max(float(part.abs().max()) for part in plain[:2])
    # Σ c and its counterpart nearly cancel where all logits grow alike.
    scale = size + float((W_dot.abs().max() + loss.residual.abs().max()) * (W.abs().max() + H.abs().max()))
    for a, b in zip(given[:2], plain[:2], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * scale)
