"""The least value of Φ and a state that has it: against Newton's method in the factors, closed forms and cvxpy."""

import math
import re

import cvxpy
import mpmath
import numpy as np
import pytest
import torch
from factored_oracle import minimum, objective, targets_of

from ulpm import CrossEntropy, Focal, Problem, SquaredError, log_loss
from ulpm.optimality import optimum, regularised_optimum

KINDS = {"cross-entropy": ("ce", 0.0), "smoothed": ("ce", 0.1), "squared error": ("squared", 0.0)}
# counts, (λ_W, λ_H), reduction, bias
SETTINGS = [
    ([1] * 2, (0.1, 0.02), "sum", False),
    ([3] * 4, (5e-3, 1e-3), "mean", False),
    ([5] * 3, (0.3, 0.05), "sum", True),
    ([20] * 12, (2e-4, 1e-3), "mean", False),
    ([2] * 6, (1e-2, 4e-2), "mean", True),
    ([4, 3, 1], (0.02, 0.3), "sum", False),
    ([9, 3, 3, 1], (2e-3, 8e-3), "mean", False),
    ([4, 3, 1], (0.02, 0.3), "sum", True),
    ([9, 3, 3, 1], (2e-3, 8e-3), "mean", True),
    ([7, 7, 2, 1, 1], (0.2, 0.05), "sum", True),
    ([8, 4, 2, 1] * 2, (1e-3, 1e-3), "mean", True),
]
settings = pytest.mark.parametrize(("counts", "decay", "reduction", "bias"), SETTINGS)
kinds = pytest.mark.parametrize("kind", KINDS)


def loss_of(kind):
    name, smoothing = KINDS[kind]
    return SquaredError() if name == "squared" else CrossEntropy(smoothing)


def one_sentence(error):
    text = str(error.value)
    assert text.endswith(".")
    assert not re.search(r"\n|[.!?]\s+[A-Z]", text), text
    return text


def arrays(state):
    b = torch.zeros(len(state.W)) if state.b is None else state.b
    return state.W.numpy(), state.H.numpy(), b.double().numpy()


def close(got, want, tolerance=1e-10):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


# --- against the factors themselves ----------------------------------------------------------------------------------


@settings
@kinds
def test_logits_norms_and_value_are_those_of_newtons_method_in_the_factors(kind, counts, decay, reduction, bias):
    problem = Problem(counts, len(counts), loss_of(kind), decay, bias, reduction)
    found = optimum(problem)
    value, W, H, b = minimum(*KINDS[kind], counts, len(counts), decay, reduction, bias)
    assert found.value == pytest.approx(value, rel=1e-13)
    W_found, H_found, b_found = arrays(problem.check(found.state))
    close(W_found @ H_found, W @ H)
    close(b_found - b_found.mean(), b - b.mean())
    close(found.logits - found.logits.mean(0), W @ H + b[:, None] - (W @ H + b[:, None]).mean(0))
    close(np.linalg.svd(W_found @ H_found, compute_uv=False), np.linalg.svd(W @ H, compute_uv=False))
    close(np.linalg.norm(W_found, axis=1), np.linalg.norm(W, axis=1))
    close(np.linalg.norm(H_found, axis=0), np.linalg.norm(H, axis=0))


@settings
@kinds
def test_what_is_said_of_an_answer_follows_from_its_state(kind, counts, decay, reduction, bias):
    problem = Problem(counts, len(counts), loss_of(kind), decay, bias, reduction)
    found = optimum(problem)
    W, H, b = arrays(found.state)
    close(W @ H + b[:, None], found.logits, 1e-13)
    value, *gradient = objective(*KINDS[kind], counts, decay, reduction, bias, W, H, b)
    assert found.value == pytest.approx(value, rel=1e-13)
    assert max(np.abs(part).max() for part in gradient) <= 1e-12 * found.value
    assert abs(found.duality_gap) <= 1e-12 * found.value
    close(decay[0] * W.T @ W, decay[1] * H @ H.T, 1e-13)
    assert found.rank == np.linalg.matrix_rank(W @ H, rtol=1e-9) <= problem.feature_dim
    assert found.tight
    assert "which fits into feature_dim" in found.status


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cvxpy_alone_finds_the_same_value_sample_by_sample(bias, smoothing):
    counts, decay = [5, 3, 1], (0.02, 0.3)
    Z, b = cvxpy.Variable((3, 9)), cvxpy.Variable((3, 1))
    logits = Z + bias * (b @ np.ones((1, 9)))
    loss = cvxpy.sum(cvxpy.log_sum_exp(logits, axis=0)) - cvxpy.sum(
        cvxpy.multiply(targets_of(counts, smoothing), logits)
    )
    task = cvxpy.Problem(cvxpy.Minimize(loss + math.sqrt(0.02 * 0.3) * cvxpy.normNuc(Z)), [cvxpy.sum(b) == 0])
    task.solve(solver="CLARABEL")
    found = optimum(Problem(counts, 3, CrossEntropy(smoothing), decay, bias))
    assert found.value == pytest.approx(task.value, rel=1e-7)


# --- closed forms ----------------------------------------------------------------------------------------------------

BALANCED = [
    (2, 1, (0.1, 0.1), 0.0),
    (4, 3, (5e-3, 1e-3), 0.0),
    (4, 3, (5e-3, 1e-3), 0.1),
    (10, 20, (1e-4, 1e-3), 0.0),
    (12, 2, (1e-3, 1e-3), 0.3),
    (3, 5, (0.2, 1e-3), 0.9),
]


@pytest.mark.parametrize(("K", "n", "decay", "smoothing"), BALANCED)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("bias", [False, True])
def test_equal_counts_collapse_with_the_margin_and_the_norms_of_the_formula(K, n, decay, smoothing, reduction, bias):
    found = optimum(Problem([n] * K, K, CrossEntropy(smoothing), decay, bias, reduction))
    c = math.sqrt(n * decay[0] * decay[1]) / (K * n if reduction == "sum" else 1)
    q = math.log((1 - smoothing + smoothing / K - (K - 1) * c) / (smoothing / K + c))
    close(found.logits[:, ::n], q * (np.eye(K) - 1 / K), 1e-13)
    W, H, b = arrays(found.state)
    close(np.square(H).sum(0), q * (K - 1) / (K * math.sqrt(n)) * math.sqrt(decay[0] / decay[1]), 1e-13)
    close(np.square(W).sum(1), q * (K - 1) * math.sqrt(n) / K * math.sqrt(decay[1] / decay[0]), 1e-13)
    assert not b.any()


def test_numbers_that_were_measured_once_come_out_again():
    # By L-BFGS on the mean loss, over all single features.
    found = optimum(Problem([3] * 4, 4, weight_decay=(5e-3, 1e-3), reduction="mean"))
    assert float(found.logits[0, 0] - found.logits[1, 0]) == pytest.approx(5.542043201, abs=1e-9)
    assert float(found.state.H[:, 0].norm()) == pytest.approx(2.316475826, abs=1e-9)
    found = optimum(Problem([5] * 4, 4, SquaredError(), (5e-3, 5e-3), reduction="mean"))
    close(np.linalg.svd(found.logits, compute_uv=False), 2.136067977, 1e-9)


@pytest.mark.parametrize(("K", "n", "smoothing"), [(2, 1, 0.0), (4, 3, 0.0), (4, 3, 0.1), (10, 20, 0.5), (12, 2, 0.9)])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_cross_entropy_vanishes_exactly_where_the_price_exceeds_what_labels_tell(K, n, smoothing, reduction):
    unit = math.sqrt(n) * (1 if reduction == "mean" else 1 / (K * n))
    for factor, rank in ((1 + 1e-9, 0), (1 - 1e-6, K - 1)):
        c = factor * (1 - smoothing) / K / unit
        found = optimum(Problem([n] * K, K, CrossEntropy(smoothing), (c / 2, 2 * c), reduction=reduction))
        assert found.rank == rank, factor
        assert bool(found.state.W.any()) == bool(found.state.H.any()) == bool(rank)
    assert found.value == pytest.approx((1 if reduction == "mean" else K * n) * math.log(K), rel=1e-9)


@pytest.mark.parametrize("bias", [False, True])
def test_unequal_counts_vanish_exactly_where_the_gradient_at_zero_is_below_the_price(bias):
    counts, α = np.array([6, 3, 1]), 0.2
    targets = (1 - α) * np.eye(3) + α / 3
    prior = targets @ counts / counts.sum() if bias else np.full(3, 1 / 3)
    threshold = np.linalg.norm((targets - prior[:, None]) * np.sqrt(counts), 2)
    for factor, nothing in ((1 + 1e-9, True), (0.99, False)):
        found = optimum(Problem(counts.tolist(), 3, CrossEntropy(α), (factor * threshold,) * 2, bias))
        assert (found.rank == 0) == nothing
        assert abs(found.duality_gap) <= 1e-12 * found.value
        if nothing and bias:
            close(found.state.b - found.state.b.mean(), np.log(prior) - np.log(prior).mean())


@pytest.mark.parametrize(("K", "n"), [(2, 1), (4, 5), (12, 20)])
def test_squared_error_of_equal_counts_has_one_singular_value_until_it_vanishes(K, n):
    for λ in (1e-3, 0.9 / (K * math.sqrt(n)), 1.1 / (K * math.sqrt(n))):
        found = optimum(Problem([n] * K, K, SquaredError(), (λ / 3, 3 * λ), reduction="mean"))
        want = math.sqrt(n) * max(1 - K * math.sqrt(n) * λ, 0)
        close(np.linalg.svd(found.logits, compute_uv=False), want, 1e-12)
        assert found.rank == (K if want else 0)


@pytest.mark.parametrize("bias", [False, True])
def test_squared_error_of_unequal_counts_loses_its_small_classes_first(bias):
    counts = np.array([16, 4, 1])
    found = optimum(Problem(counts.tolist(), 3, SquaredError(), (1.5, 1.5), bias))
    Y = np.repeat(np.eye(3), counts, axis=1)
    centred = Y - bias * Y.mean(1, keepdims=True)
    S = np.linalg.svd(centred, compute_uv=False)
    close(
        np.linalg.svd(found.logits.numpy() - bias * Y.mean(1, keepdims=True), compute_uv=False),
        np.maximum(S - 1.5, 0),
        1e-12,
    )
    assert found.rank == (S > 1.5).sum() < 3


@pytest.mark.parametrize("counts", [[5] * 4, [6, 3, 1], [2] * 12])
@pytest.mark.parametrize("smoothing", [1e-9, 0.1, 0.8])
def test_smoothed_labels_without_decay_give_all_margins_one_value(counts, smoothing):
    K, N = len(counts), sum(counts)
    for bias, reduction in ((False, "sum"), (True, "mean")):
        found = optimum(Problem(counts, K, CrossEntropy(smoothing), bias=bias, reduction=reduction))
        q = math.log(1 + K * (1 - smoothing) / smoothing)
        close(found.logits, q * (np.repeat(np.eye(K), counts, axis=1) - 1 / K), 1e-12)
        value, *gradient = objective("ce", smoothing, counts, (0, 0), reduction, bias, *arrays(found.state))
        assert found.value == pytest.approx(value, rel=1e-13)
        assert max(np.abs(part).max() for part in gradient) <= 1e-12
        assert abs(found.duality_gap) <= 1e-13 * N
        close(found.state.W.T @ found.state.W, found.state.H @ found.state.H.T, 1e-12)


@pytest.mark.parametrize("smoothing", [5e-324, 1e-310, 1e-307, 0.5, 1 - 1e-12, 1 - 2**-53])
def test_the_margin_of_smoothed_labels_is_right_for_every_smoothing(smoothing):
    problem = Problem([6, 3, 1], 3, CrossEntropy(smoothing))
    with mpmath.workdps(400):
        α = mpmath.mpf(smoothing)
        q = float(mpmath.log1p(3 * (1 - α) / α))
    Z = optimum(problem).logits
    assert float(Z[0, 0] - Z[1, 0]) == pytest.approx(q, rel=1e-14)
    assert float(Z[2, 9] - Z[0, 9]) == pytest.approx(q, rel=1e-14)


@pytest.mark.parametrize("counts", [[5] * 4, [6, 3, 1]])
@pytest.mark.parametrize("bias", [False, True])
def test_squared_error_without_decay_learns_the_labels(counts, bias):
    found = optimum(Problem(counts, len(counts), SquaredError(), bias=bias))
    close(found.logits, np.repeat(np.eye(len(counts)), counts, axis=1), 1e-14)
    assert found.value == 0
    assert 0 <= found.duality_gap <= 1e-28
    assert found.rank == len(counts) - bias
    if bias:
        close(found.state.b, np.array(counts) / sum(counts), 1e-15)


# --- relations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [[4, 3, 1], [2] * 30 + [3] * 3])
def test_the_mean_of_plain_cross_entropy_is_what_regularised_optimum_solves(counts):
    one = optimum(Problem(counts, 40, weight_decay=(1e-3, 4e-3), reduction="mean"))
    other = regularised_optimum(Problem(counts, 40), 1e-3, 4e-3)
    assert one.value == pytest.approx(other.value, rel=1e-14)
    close(one.logits, other.logits, 1e-14)
    assert one.rank == other.rank


@kinds
@pytest.mark.parametrize("bias", [False, True])
def test_a_mean_is_a_sum_with_decays_times_the_number_of_samples(kind, bias):
    counts = [5, 2, 1]
    mean = optimum(Problem(counts, 3, loss_of(kind), (1e-2, 3e-2), bias, "mean"))
    total = optimum(Problem(counts, 3, loss_of(kind), (8e-2, 24e-2), bias, "sum"))
    assert total.value == pytest.approx(8 * mean.value, rel=1e-13)
    close(total.logits, mean.logits, 1e-11)


@pytest.mark.parametrize("counts", [[3] * 20 + [2] * 20, [30] * 15 + [1] * 2])
@pytest.mark.parametrize("smoothing", [0.0, 0.05])
def test_many_classes_with_a_bias_are_proven_optimal_to_rounding(counts, smoothing):
    problem = Problem(counts, len(counts), CrossEntropy(smoothing), (1e-3, 1e-3), bias=True)
    found = optimum(problem)
    assert abs(found.duality_gap) <= 1e-12 * found.value
    _, *gradient = objective("ce", smoothing, counts, (1e-3, 1e-3), "sum", True, *arrays(found.state))
    assert max(np.abs(part).max() for part in gradient) <= 1e-12


def test_a_bias_never_costs_anything_and_helps_where_counts_differ():
    for counts, helps in (([3] * 3, False), ([9, 2, 1], True)):
        for loss in (CrossEntropy(), CrossEntropy(0.1), SquaredError()):
            without, with_bias = (optimum(Problem(counts, 3, loss, (0.1, 0.1), bias)).value for bias in (False, True))
            assert with_bias <= without * (1 + 1e-14)
            if not isinstance(loss, SquaredError):  # to which a bias gives a direction for nothing
                assert (with_bias < without * (1 - 1e-6)) == helps


def test_the_focal_loss_of_gamma_0_is_cross_entropy():
    decay = (0.02, 0.1)
    one, other = (optimum(Problem([4, 2, 1], 3, loss, decay)) for loss in (Focal(0.0), CrossEntropy()))
    assert one.value == other.value
    assert torch.equal(one.logits, other.logits)


def test_with_too_few_features_there_is_a_lower_bound_and_no_state():
    for loss, decay in ((CrossEntropy(), (0.02, 0.02)), (SquaredError(), (0.1, 0.1)), (CrossEntropy(0.1), (0, 0))):
        found = optimum(Problem([3] * 4, 1, loss, decay))
        assert not found.tight
        assert found.state is None
        assert found.logits.shape == (4, 12)
        assert "exceeds feature_dim 1: the value is a lower bound" in found.status
        kind = ("squared", 0.0) if isinstance(loss, SquaredError) else ("ce", loss.label_smoothing)
        if min(decay) > 0:
            assert min(minimum(*kind, [3] * 4, 1, decay, "sum", False, seed)[0] for seed in range(3)) > found.value


# --- arguments -------------------------------------------------------------------------------------------------------

BAD = [
    (CrossEntropy(), (0, 0), "minimum_norm_separation"),
    (Focal(2.0), (0, 0), "minimum_norm_separation"),
    (CrossEntropy(), (0.1, 0), "norms grow without bound"),
    (SquaredError(), (0, 0.1), "norms grow without bound"),
    (Focal(2.0), (0.1, 0), "norms grow without bound"),
    (Focal(2.0), (0.1, 0.1), "gradient_flow"),
]


@pytest.mark.parametrize(("loss", "decay", "words"), BAD)
@pytest.mark.usefixtures("unchecked")
def test_where_nothing_can_be_said_one_sentence_tells_why(loss, decay, words):
    with pytest.raises(ValueError, match=words) as error:
        optimum(Problem([2, 2], 2, loss, decay))
    one_sentence(error)


@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_one_sentence():
    with pytest.raises(TypeError, match=r"must be an ulpm\.Problem") as error:
        optimum("problem")
    one_sentence(error)
    with pytest.raises(ValueError, match="'simplex' is not installed") as error:
        optimum(Problem([2, 1, 1], 3, weight_decay=(0.01, 0.01)), solver="simplex")
    one_sentence(error)


def test_both_solvers_lead_to_the_same_point_with_smoothed_labels_and_a_bias():
    problem = Problem([7, 3, 1], 3, CrossEntropy(0.05), (0.01, 0.02), bias=True)
    one, other = (optimum(problem, solver) for solver in ("CLARABEL", "SCS"))
    close(one.logits, other.logits, 1e-11)


@pytest.mark.parametrize("decays", [(1e-100, 1e-100), (1e-100, 9e99), (9e99, 1e-100), (9e99, 9e99)])
@pytest.mark.parametrize("loss", [CrossEntropy(), SquaredError()])
@pytest.mark.parametrize("counts", [[5] * 4, [5, 3, 2, 2]])
def test_the_least_and_the_largest_decays_have_an_optimum_that_its_state_attains(decays, loss, counts):
    problem = Problem(counts, 5, loss, weight_decay=decays)
    answer = optimum(problem)
    assert answer.duality_gap < 1e-13 * answer.value
    # Rounding of logits alone costs squared error 1e-30.
    assert float(log_loss(problem, answer.state).exp()) == pytest.approx(answer.value, rel=1e-13, abs=1e-28)
