import math
import re

import mpmath
import numpy as np
import pytest
import torch
from oracles import exact
from scipy.optimize import minimize

import ulpm
from ulpm import Problem, norm_constrained_optimum, regularised_optimum
from ulpm.optimality import layer_peeled, relaxation


def one_sentence(text):
    """One full stop, at the end."""
    text = str(text.value) if isinstance(text, pytest.ExceptionInfo) else text
    assert text.endswith(".")
    assert not re.search(r"\n|[.!?]\s+[A-Z]", text), text
    return text


def cosines(W):
    G = W @ W.T
    lengths = G.diagonal().sqrt()
    return G / lengths / lengths[:, None]


def mean_cross_entropy(W, H, labels):
    return torch.nn.functional.cross_entropy((W @ H).T, labels)


def assert_proven(problem, found, objective):
    """Everything that is claimed of an answer, from its state and logits."""
    assert abs(found.duality_gap) <= 1e-14 * max(1.0, found.value)
    assert found.rank == int(torch.linalg.matrix_rank(found.logits, rtol=1e-9))
    assert found.tight
    W, H = problem.check(found.state).W, found.state.H
    torch.testing.assert_close(W @ H, found.logits, rtol=0, atol=1e-13)
    assert float(objective(W, H)) == pytest.approx(found.value, rel=1e-12)
    torch.testing.assert_close(W.sum(0), torch.zeros_like(W[0]), rtol=0, atol=1e-12)
    one_sentence(found.status)


def constrained_objective(problem, E_W, E_H):
    """The mean loss, once the norms are seen to be within their budgets."""
    counts = torch.tensor(problem.class_counts)[problem.labels]

    def objective(W, H):
        K = problem.num_classes
        assert float(W.square().sum()) / K <= E_W * (1 + 1e-13)
        assert float((H.square().sum(0) / counts).sum()) / K <= E_H * (1 + 1e-13)
        return mean_cross_entropy(W, H, problem.labels)

    return objective


def regularised_objective(problem, decay_W, decay_H):
    def objective(W, H):
        penalty = decay_W * W.square().sum() + decay_H * H.square().sum()
        return mean_cross_entropy(W, H, problem.labels) + penalty / 2

    return objective


# --- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("K", "n", "E_W", "E_H"), [(2, 1, 1.0, 1.0), (4, 5, 0.3, 2.0), (10, 50, 1.0, 5.0)])
def test_balanced_classes_of_limited_norm_collapse(K, n, E_W, E_H):
    problem = Problem([n] * K, K + 1)
    found = norm_constrained_optimum(problem, E_W, E_H)
    assert_proven(problem, found, constrained_objective(problem, E_W, E_H))
    gap = K / (K - 1) * math.sqrt(E_W * E_H)
    assert found.value == pytest.approx(math.log1p((K - 1) * math.exp(-gap)), rel=1e-12)
    metrics = ulpm.neural_collapse(found.state.W, found.state.H, problem.labels)
    assert max(float(value) for value in metrics.values()) <= 1e-9
    torch.testing.assert_close(
        found.state.W.square().sum(1), torch.full((K,), E_W, dtype=torch.float64), rtol=1e-11, atol=0
    )


@pytest.mark.parametrize(("K", "n", "decay_W", "decay_H"), [(2, 1, 0.1, 0.1), (4, 5, 1e-3, 4e-2), (10, 50, 1e-4, 1e-3)])
def test_balanced_classes_with_weight_decay_collapse(K, n, decay_W, decay_H):
    problem = Problem([n] * K, K + 1)
    found = regularised_optimum(problem, decay_W, decay_H)
    assert_proven(problem, found, regularised_objective(problem, decay_W, decay_H))
    # G = √n/N · K p_wrong · (I − 11ᵀ/K) has the norm μ where p_wrong = 1/(e^gap + K − 1).
    price = math.sqrt(decay_W * decay_H)
    gap = math.log(1 / (price * math.sqrt(n)) - K + 1)
    assert found.multiplier == pytest.approx(price, rel=1e-12)
    torch.testing.assert_close(
        found.logits[:, ::n], gap * (torch.eye(K, dtype=torch.float64) - 1 / K), rtol=0, atol=1e-10
    )
    metrics = ulpm.neural_collapse(found.state.W, found.state.H, problem.labels)
    assert max(float(value) for value in metrics.values()) <= 1e-9


def test_a_decay_above_all_that_features_could_save_leaves_nothing():
    problem = Problem([7, 7, 2], 3)
    threshold = math.sqrt(7) / 16
    found = regularised_optimum(problem, 1.01 * threshold, 1.01 * threshold)
    assert found.rank == 0
    assert not found.state.W.any()
    assert not found.state.H.any()
    assert found.value == pytest.approx(math.log(3), rel=1e-15)
    assert "rank 0" in one_sentence(found.status)
    assert regularised_optimum(problem, 0.99 * threshold, 0.99 * threshold).rank > 0


def symmetric_oracle(R, K_A, K_B, budget=None, price=None, n_B=1):
    """(value, minority cosine) by scipy in the 4 numbers that permutations of equal classes leave of Z diag(s).

    Its singular values are a (K_A − 1 times), e (K_B − 1 times) and ‖(u, v)‖, as the columns of each group, averaged,
    lie along (1/K_A, …, −1/K_B, …).
    """
    counts = np.array([R * n_B] * K_A + [n_B] * K_B, dtype=float)
    shares, s = counts / counts.sum(), np.ones_like(counts) if budget else np.sqrt(counts)
    direction = np.concatenate([np.full(K_A, 1 / K_A), np.full(K_B, -1 / K_B)])
    direction /= np.linalg.norm(direction)
    ones_A, ones_B = (np.arange(K_A + K_B) < K_A) / math.sqrt(K_A), (np.arange(K_A + K_B) >= K_A) / math.sqrt(K_B)
    centred_A = np.diag(ones_A * math.sqrt(K_A)) - np.outer(ones_A, ones_A)
    centred_B = np.diag(ones_B * math.sqrt(K_B)) - np.outer(ones_B, ones_B)

    def matrix(v):
        a, e, u, w = v
        return a * centred_A + e * centred_B + np.outer(direction, u * ones_A + w * ones_B)

    def size(v):
        return (K_A - 1) * v[0] + (K_B - 1) * v[1] + math.hypot(v[2], v[3])

    def objective(v):
        Z = matrix(v) / s
        loss = shares @ (np.log(np.exp(Z).sum(0)) - np.diag(Z))
        return loss + (price * size(v) if price else 0.0)

    constraints = [{"type": "ineq", "fun": lambda v: budget - size(v)}] if budget else []
    bounds = [(0, None), (0, None), (None, None), (None, None)]
    start = np.array([1.0, 0.5, 0.5, -0.5]) * (budget or 5) / 10
    options = {"ftol": 1e-15, "maxiter": 1000}
    # Of the differences that stand for derivatives the central ones: one-sided ones leave 1e-5 of the angle.
    best = minimize(
        objective, start, method="SLSQP", jac="3-point", bounds=bounds, constraints=constraints, options=options
    )
    a, e, u, w = best.x
    gram = a * centred_A + e * centred_B + math.hypot(u, w) * np.outer(direction, direction)
    return best.fun, gram[-1, -2] / gram[-1, -1]


@pytest.mark.parametrize(("R", "K_A", "K_B"), [(1, 5, 5), (4, 5, 5), (30, 5, 5), (1000, 5, 5), (7, 3, 7), (7, 2, 3)])
def test_minority_angles_are_those_of_the_symmetric_problem(R, K_A, K_B):
    problem = Problem([R] * K_A + [1] * K_B, K_A + K_B - 1)
    found = norm_constrained_optimum(problem, 1.0, 5.0)
    assert_proven(problem, found, constrained_objective(problem, 1.0, 5.0))
    value, cosine = symmetric_oracle(R, K_A, K_B, budget=(K_A + K_B) * math.sqrt(5))
    assert found.value == pytest.approx(value, rel=1e-9)
    minority = cosines(found.state.W)[K_A:, K_A:][~torch.eye(K_B, dtype=torch.bool)]
    torch.testing.assert_close(minority, torch.full_like(minority, cosine), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("R", "decay"), [(1, 1e-3), (20, 1e-3), (40, 5e-3), (200, 1e-3)])
def test_minority_angles_with_weight_decay_are_those_of_the_symmetric_problem(R, decay):
    problem = Problem([3 * R] * 5 + [3] * 4, 8)
    found = regularised_optimum(problem, decay, decay / 4)
    assert_proven(problem, found, regularised_objective(problem, decay, decay / 4))
    value, cosine = symmetric_oracle(R, 5, 4, price=decay / 2, n_B=3)
    assert found.value == pytest.approx(value, rel=1e-9)
    minority = cosines(found.state.W)[5:, 5:][~torch.eye(4, dtype=torch.bool)]
    torch.testing.assert_close(minority, torch.full_like(minority, cosine), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("factor", "rank"), [(0.9, 6), (1.1, 4)])
def test_weight_decay_merges_classes_below_its_threshold(factor, rank):
    # √n_B/N against √(λ_W λ_H): beyond, the 3 rare classes share one direction.
    problem = Problem([40] * 4 + [2] * 3, 7)
    decay = factor * math.sqrt(2) / problem.num_samples
    found = regularised_optimum(problem, decay, decay)
    assert found.rank == rank
    minority = cosines(found.state.W)[4:, 4:]
    assert (float(minority.min()) >= 1 - 1e-12) == (factor > 1)


# --- brute force -----------------------------------------------------------------------------------------------------


def brute_force(problem, objective_of_parts, starts):
    """The values that L-BFGS over all W and all single features ends with, from random starts."""
    size = problem.num_classes * problem.feature_dim

    def parts(v):
        W, H = v[:size], v[size:]
        return W.reshape(problem.num_classes, -1), H.reshape(problem.feature_dim, -1)

    def with_gradient(v):
        tensor = torch.tensor(v, requires_grad=True)
        value = objective_of_parts(*parts(tensor))
        value.backward()
        return float(value.detach()), tensor.grad.numpy()

    rng, values = np.random.default_rng(1), []
    for _ in range(starts):
        start = rng.standard_normal(size + problem.feature_dim * problem.num_samples)
        options = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-10}
        values.append(minimize(with_gradient, start, jac=True, method="L-BFGS-B", options=options).fun)
    return np.array(values)


def normalised_objective(problem, E_W, E_H):
    """The constrained model with both norms on their budgets, which no optimum leaves unused."""
    roots = torch.tensor(problem.class_counts, dtype=torch.float64)[problem.labels].sqrt()
    K = problem.num_classes

    def objective(W, H):
        W = W * math.sqrt(K * E_W) / torch.linalg.norm(W)
        H = H * math.sqrt(K * E_H) / torch.linalg.norm(H / roots)
        return mean_cross_entropy(W, H, problem.labels)

    return objective


@pytest.mark.parametrize("counts", [[4, 3, 1], [9, 3, 3, 1]])
def test_brute_force_over_single_features_finds_the_same_values(counts):
    problem = Problem(counts, len(counts))
    for found, objective in (
        (norm_constrained_optimum(problem, 0.7, 2.0), normalised_objective(problem, 0.7, 2.0)),
        (regularised_optimum(problem, 0.01, 0.03), regularised_objective(problem, 0.01, 0.03)),
    ):
        values = brute_force(problem, objective, starts=3)
        np.testing.assert_allclose(values, found.value, rtol=1e-8, atol=0)
        assert values.min() >= found.value * (1 - 1e-13)


def test_in_one_dimension_the_value_is_a_lower_bound_and_there_is_no_state():
    problem = Problem([2, 2, 2], 1)
    for found, objective in (
        (norm_constrained_optimum(problem, 1.0, 1.0), normalised_objective(problem, 1.0, 1.0)),
        (regularised_optimum(problem, 0.01, 0.01), regularised_objective(problem, 0.01, 0.01)),
    ):
        assert not found.tight
        assert found.state is None
        assert found.rank == 2
        assert "rank 2 of its solution exceeds feature_dim 1" in one_sentence(found.status)
        assert brute_force(problem, objective, starts=4).min() > found.value + 0.01


def test_merged_classes_fit_into_fewer_dimensions():
    problem = Problem([1000] * 5 + [1] * 5, 5)
    found = norm_constrained_optimum(problem, 1.0, 5.0)
    assert_proven(problem, found, constrained_objective(problem, 1.0, 5.0))
    assert found.rank == 5


# --- what is proven --------------------------------------------------------------------------------------------------


def test_in_50_digits_the_value_and_its_lower_bound_enclose_the_optimum():
    problem, E = Problem([6, 3, 1], 3), 1.5
    found = norm_constrained_optimum(problem, E, E)
    with mpmath.workdps(50):
        Z = exact(found.logits[:, [0, 6, 9]])
        shares = [mpmath.mpf(n) / 10 for n in problem.class_counts]
        assert mpmath.fsum(mpmath.svd_r(Z, compute_uv=False)) <= 3 * E * (1 + mpmath.mpf(1e-15))
        loss, inner, G = mpmath.mpf(0), mpmath.mpf(0), mpmath.zeros(3, 3)
        for k in range(3):
            total = mpmath.fsum(mpmath.exp(Z[j, k]) for j in range(3))
            loss += shares[k] * (mpmath.log(total) - Z[k, k])
            for j in range(3):
                G[j, k] = shares[k] * ((j == k) - mpmath.exp(Z[j, k]) / total)
                inner += G[j, k] * Z[j, k]
        gap = 3 * E * max(mpmath.svd_r(G, compute_uv=False)) - inner
        assert abs(found.value - loss) < 1e-15
        assert abs(gap - found.duality_gap) < 1e-15
        assert gap < 1e-15


@pytest.mark.parametrize("R", [1, 10, 1000])
def test_two_solvers_agree_on_the_gram_matrix_within_what_is_proven(R):
    problem = Problem([R] * 3 + [1] * 3, 6)
    for solve, arguments in ((norm_constrained_optimum, (1.0, 5.0)), (regularised_optimum, (0.003, 0.004))):
        one, other = (solve(problem, *arguments, solver=solver) for solver in ("CLARABEL", "SCS"))
        distance = torch.linalg.norm(one.state.W @ one.state.W.T - other.state.W @ other.state.W.T)
        assert float(distance) <= min(1e-8, one.gram_error + other.gram_error)
        assert 0 < one.gram_error <= 1e-3


def test_the_gram_error_covers_an_answer_that_is_a_little_wrong(monkeypatch):
    problem = Problem([5, 3, 1], 3)
    right = norm_constrained_optimum(problem, 1.0, 5.0)
    noise = 1e-4 * np.random.default_rng(2).standard_normal((3, 3))

    def rough(programme, X, rank):
        return right.logits[:, [0, 5, 8]].numpy() + noise

    monkeypatch.setattr(layer_peeled, "polish_cross_entropy", rough)
    monkeypatch.setattr(layer_peeled, "solve_cross_entropy", lambda *_: (rough(*[None] * 3), "STUB says 'optimal'"))
    monkeypatch.setattr(layer_peeled, "_LARGEST_GAP", 1e-2)
    wrong = norm_constrained_optimum(problem, 1.0, 5.0, solver="STUB")
    distance = float(torch.linalg.norm(wrong.state.W @ wrong.state.W.T - right.state.W @ right.state.W.T))
    assert 1e-6 < distance <= wrong.gram_error + right.gram_error <= 0.1


# --- invariances -----------------------------------------------------------------------------------------------------


def test_permuting_the_classes_permutes_the_answer():
    counts, order = [30, 2, 7, 1], [2, 0, 3, 1]
    for solve, arguments in ((norm_constrained_optimum, (1.0, 2.0)), (regularised_optimum, (0.01, 0.02))):
        found, moved = (solve(Problem(c, 4), *arguments) for c in (counts, [counts[k] for k in order]))
        assert moved.value == pytest.approx(found.value, rel=1e-13)
        gram, moved_gram = (one.state.W @ one.state.W.T for one in (found, moved))
        torch.testing.assert_close(moved_gram, gram[order][:, order], rtol=0, atol=1e-10)


def test_only_shares_and_the_product_of_energies_matter_to_the_constrained_model():
    one = norm_constrained_optimum(Problem([8, 2, 1], 3), 4.0, 1.0)
    other = norm_constrained_optimum(Problem([24, 6, 3], 3), 1.0, 4.0)
    torch.testing.assert_close(one.logits[:, [0, 8, 10]], other.logits[:, [0, 24, 30]], rtol=0, atol=1e-10)
    torch.testing.assert_close(one.state.W.square().sum() / 3, torch.tensor(4.0).double(), rtol=1e-12, atol=0)
    torch.testing.assert_close(other.state.W.square().sum() / 3, torch.tensor(1.0).double(), rtol=1e-12, atol=0)


def test_only_the_product_of_decays_matters_to_logits_and_balance_follows_their_ratio():
    problem = Problem([8, 2, 1], 3)
    one, other = regularised_optimum(problem, 0.04, 0.01), regularised_optimum(problem, 0.02, 0.02)
    torch.testing.assert_close(one.logits, other.logits, rtol=0, atol=1e-10)
    W, H = one.state.W, one.state.H
    torch.testing.assert_close(0.04 * W.T @ W, 0.01 * H @ H.T, rtol=0, atol=1e-12)


def test_the_price_of_the_budget_is_the_slope_of_the_value():
    problem, h = Problem([8, 2, 1], 3), 1e-4
    low, middle, high = (norm_constrained_optimum(problem, (1 + x) ** 2, 2.0) for x in (-h, 0, h))
    slope = (low.value - high.value) / (2 * h * 3 * math.sqrt(2.0))
    assert middle.multiplier == pytest.approx(slope, rel=1e-6)


# --- what a solver may do, and arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize("solve", [norm_constrained_optimum, regularised_optimum])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_a_solver_that_answers_wrongly_is_mended_or_caught(monkeypatch, solve, seed):
    wrong = np.zeros((4, 4)) if seed is None else 30 * np.random.default_rng(seed).standard_normal((4, 4))
    problem = Problem([4, 3, 2, 1], 4)
    right = solve(problem, 0.2, 0.2)
    monkeypatch.setattr(layer_peeled, "solve_cross_entropy", lambda *_: (wrong, "STUB says 'optimal'"))
    try:
        found = solve(problem, 0.2, 0.2)
    except ValueError as error:
        words = one_sentence(str(error))
    else:
        words = "STUB says 'optimal', but the duality gap is" if found.value < right.value * (1 + 1e-6) else "wrong"
    assert words.startswith("STUB says 'optimal', but the duality gap is")


@pytest.mark.usefixtures("unchecked")
def test_a_solver_without_an_answer_is_one_sentence_with_its_words(monkeypatch):
    import cvxpy

    def no_solution(problem, **_):
        problem._status = "infeasible"
        for variable in problem.variables():
            variable.save_value(None)

    monkeypatch.setattr(cvxpy.Problem, "solve", no_solution)
    with pytest.raises(ValueError, match="CLARABEL found no solution and says 'infeasible'") as message:
        norm_constrained_optimum(Problem([2, 1, 1], 3), 1.0, 1.0)
    one_sentence(message)


def test_a_programme_is_compiled_once_per_size():
    relaxation._compiled_cross_entropy.cache_clear()
    for counts in ([1, 2, 3], [9, 9, 1]):
        norm_constrained_optimum(Problem(counts, 3), 1.0, 1.0)
    assert relaxation._compiled_cross_entropy.cache_info().misses == 1
    for has_budget in (True, False):
        task, *_ = relaxation._compiled_cross_entropy(3, has_budget)
        assert task.is_dpp()  # cvxpy keeps its own compilation of a problem only then


BAD = [
    ((0.0, 1.0), {}, ValueError, "above 0"),
    ((1.0, -1.0), {}, ValueError, "above 0"),
    ((1.0, math.nan), {}, ValueError, "above 0"),
    (("1", 1.0), {}, TypeError, "must be a number"),
    ((1.0, 1.0), {"solver": "simplex"}, ValueError, "'simplex' is not installed"),
    ((1.0, 1.0), {"solver": 3}, TypeError, "solver must be the name of a solver"),
    ((1.0, 1.0), {"solver": "OSQP"}, ValueError, "OSQP failed and says"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("solve", [norm_constrained_optimum, regularised_optimum])
@pytest.mark.parametrize(("arguments", "options", "error", "words"), BAD)
def test_bad_arguments_are_one_sentence(solve, arguments, options, error, words):
    with pytest.raises(error, match=words) as message:
        solve(Problem([1] * 3, 3), *arguments, **options)
    one_sentence(message)


@pytest.mark.usefixtures("unchecked")
def test_norms_that_leave_no_loss_are_refused():
    with pytest.raises(ValueError, match="norms that leave a larger loss") as message:
        norm_constrained_optimum(Problem([5, 3, 1], 3), 100.0, 100.0)
    one_sentence(message)


@pytest.mark.parametrize("counts", [[1000, 1000, 1], [5, 5, 5], [40, 10, 10, 3], [7, 2]])
def test_nothing_is_learnt_exactly_where_the_price_exceeds_the_gradient_at_zero(counts):
    """G(0) = (I − 11ᵀ/K) diag(√n_k)/N, by numpy: at a higher price zero is optimal, at a lower one it is not."""
    K, N = len(counts), sum(counts)
    threshold = np.linalg.norm((np.eye(K) - 1 / K) * np.sqrt(counts), 2) / N
    assert regularised_optimum(Problem(counts, K), 1.02 * threshold, 1.02 * threshold).rank == 0
    assert regularised_optimum(Problem(counts, K), 0.9 * threshold, 0.9 * threshold).rank > 0


def test_a_class_alone_with_its_count_adds_a_direction_below_its_own_share():
    price = 3e-3
    assert math.sqrt(1) / 2001 < price
    answer = regularised_optimum(Problem([1000, 1000, 1], 3), price, price)
    assert answer.rank == 2
    assert answer.duality_gap < 1e-9


@pytest.mark.parametrize("rare", [2, 4])
def test_classes_of_one_count_share_a_classifier_exactly_where_the_price_exceeds_their_share(rare):
    problem = Problem([20, 20, rare, rare], 4)
    for factor in (1.05, 0.9):
        price = factor * math.sqrt(rare) / problem.num_samples
        W = regularised_optimum(problem, price, price).state.W
        apart = float((W[2] - W[3]).norm() / W.norm())
        assert (apart < 1e-6) == (factor > 1), (factor, apart)


EXTREME_ENERGIES = [(1e-200, 1e-200), (1e-163, 1e-161), (1e200, 1e-200), (1e-310, 1e300), (100.0, 100.0), (5e-324, 1.0)]


@pytest.mark.parametrize(("E_W", "E_H"), EXTREME_ENERGIES)
def test_energies_of_any_size_are_used_up_by_collapsed_classes(E_W, E_H):
    """Their product and quotient may over- or underflow, and the solver misses a loss of 1e-65."""
    problem = Problem([5] * 3, 4)
    found = norm_constrained_optimum(problem, E_W, E_H)
    with mpmath.workdps(400):
        gap = mpmath.mpf(3) / 2 * mpmath.sqrt(mpmath.mpf(E_W) * mpmath.mpf(E_H))
        loss = mpmath.log1p(2 * mpmath.exp(-gap))
        wrong = mpmath.exp(-gap) / (1 + 2 * mpmath.exp(-gap))
        assert found.value == pytest.approx(float(loss), rel=1e-13)
        # dL/dτ with the margin τ/2 of three classes whose logits have the nuclear norm τ
        assert found.multiplier == pytest.approx(float(wrong), rel=1e-12)
    assert found.rank == 2
    unit = found.state.W / math.sqrt(E_W), found.state.H / math.sqrt(E_H)
    for rows in (unit[0], unit[1].T):
        torch.testing.assert_close(rows.square().sum(1), torch.ones(len(rows), dtype=torch.float64), rtol=1e-12, atol=0)


EXTREME_DECAYS = [(1e-200, 1e-200), (1e-160, 1e-100), (1e-310, 1e300), (1e-300, 1e10), (5e-324, 1.0), (1e-12, 1e-12)]


@pytest.mark.parametrize(("decay_W", "decay_H"), EXTREME_DECAYS)
def test_decays_of_any_size_leave_the_margin_of_the_closed_form(decay_W, decay_H):
    found = regularised_optimum(Problem([5] * 3, 4), decay_W, decay_H)
    with mpmath.workdps(400):
        c = mpmath.sqrt(mpmath.mpf(5) * mpmath.mpf(decay_W) * mpmath.mpf(decay_H))
        q = mpmath.log((1 - 2 * c) / c)
        value = mpmath.log1p(2 * mpmath.exp(-q)) + 2 * c * q
        assert found.value == pytest.approx(float(value), rel=1e-12)
        assert float(found.logits[0, 0] - found.logits[1, 0]) == pytest.approx(float(q), rel=1e-12)
        W_square = 2 * q * mpmath.sqrt(5 * mpmath.mpf(decay_H) / mpmath.mpf(decay_W))
    assert float(torch.linalg.matrix_norm(found.state.W / math.sqrt(W_square))) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("counts", [[5, 5, 5], [5, 3, 1]])
def test_decays_that_leave_a_loss_below_all_numbers_are_refused(counts):
    with pytest.raises(ValueError, match=r"must be at least 1e-300, but it is 9\.9e-321: the loss would") as it:
        regularised_optimum(Problem(counts, 3), 9.9e-321, 9.9e-321)
    one_sentence(it)
    assert regularised_optimum(Problem(counts, 3), 1e-300, 1e-300).duality_gap < 1e-309


@pytest.mark.parametrize(("solve", "a", "b"), [(norm_constrained_optimum, 0.3, 0.07), (regularised_optimum, 0.07, 0.3)])
def test_the_balance_of_the_factors_is_the_root_of_a_quotient(solve, a, b, monkeypatch):
    """A quotient of roots differs from it in the last digit, here and in a third of all cases."""
    ratios = []

    def balanced_factors(problem, X, scales, ratio):
        ratios.append(ratio)
        return 2, None

    monkeypatch.setattr(layer_peeled, "balanced_factors", balanced_factors)
    solve(Problem([5] * 3, 3), a, b)
    assert ratios == [math.sqrt(0.3 / 0.07)] != [math.sqrt(0.3) / math.sqrt(0.07)]


@pytest.mark.parametrize("decay", [1.5e150, 1e200, 1e300])
def test_prices_that_no_solver_can_hold_leave_nothing(decay):
    found = regularised_optimum(Problem([5, 3, 1], 3), decay, decay)
    assert (found.rank, found.value) == (0, pytest.approx(math.log(3), rel=1e-15))
    assert not found.state.W.any()


@pytest.mark.parametrize(
    ("counts", "decay"),
    [
        ([22, 11, 16, 27], 3.9e-11),
        ([22, 11, 16, 27], 1e-16),
        ([5, 5, 1], 1e-14),
        ([2, 2, 6, 13, 19], 1.2e-12),
        ([5, 3, 1], 1e-100),
    ],
)
def test_where_the_solver_misses_a_tiny_loss_the_optimum_is_enclosed_in_200_digits(counts, decay):
    """Fenchel's lower bound Σ_k π_k H(q_k), H the entropy, q_k = s p_k + (1 − s) e_k with s that makes it feasible."""
    found, K = regularised_optimum(Problem(counts, len(counts)), decay, decay), len(counts)
    with mpmath.workdps(200):
        price = mpmath.mpf(decay)
        starts = np.cumsum([0, *counts[:-1]]).tolist()
        Z, roots = exact(found.logits[:, starts]), [mpmath.sqrt(n) for n in counts]
        shares = [mpmath.mpf(n) / sum(counts) for n in counts]
        totals = [mpmath.fsum(mpmath.exp(Z[j, k]) for j in range(K)) for k in range(K)]
        P = mpmath.matrix(K, K)
        X, G = mpmath.matrix(K, K), mpmath.matrix(K, K)
        for j in range(K):
            for k in range(K):
                P[j, k] = mpmath.exp(Z[j, k]) / totals[k]
                X[j, k] = Z[j, k] * roots[k]
                G[j, k] = shares[k] / roots[k] * ((j == k) - P[j, k])
        loss = mpmath.fsum(shares[k] * (mpmath.log(totals[k]) - Z[k, k]) for k in range(K))
        above = loss + price * mpmath.fsum(mpmath.svd_r(X, compute_uv=False))
        s = min(mpmath.mpf(1), price / max(mpmath.svd_r(G, compute_uv=False)))
        mixed = [[s * P[j, k] + (1 - s) * (j == k) for j in range(K)] for k in range(K)]
        below = mpmath.fsum(-shares[k] * q * mpmath.log(q) for k in range(K) for q in mixed[k])
        assert below <= above
        assert above - below < 1e-11 * above
        assert found.value == pytest.approx(float(above), rel=1e-13)
