import math
import re
import time

import mpmath
import numpy as np
import pytest
import torch
from oracles import exact
from scipy.optimize import minimize

import ulpm
from ulpm import Problem
from ulpm.geometry import block_state
from ulpm.optimality import minimum_norm_separation, relaxation

SOLVERS = ("CLARABEL", "SCS")
GEOMETRY = ("nc1_pinv", "nc1_ratio", "nc1_cdnv", "nc2_norm_means", "nc2_norm_classifier", "nc2_angle_means")
GEOMETRY += ("nc2_angle_classifier", "nc2_etf_means", "nc2_etf_classifier", "nc3_difference", "nc3_product")


def one_sentence(text):
    """One full stop, at the end."""
    text = str(text.value) if isinstance(text, pytest.ExceptionInfo) else text
    assert text.endswith(".")
    assert not re.search(r"\n|[.!?]\s+[A-Z]", text), text
    return text


def random_margins(seed, K, low=0.5, high=1.5):
    return torch.tensor(np.random.default_rng(seed).uniform(low, high, (K, K)))


def assert_proven(problem, found, gap, margins=None):
    """Everything that is claimed, from the raw problem: feasible logits, feasible multipliers, their gap, the lift."""
    K, y, Z = problem.num_classes, problem.labels, found.logits
    off_label = torch.arange(K)[:, None] != y
    c = torch.ones(K, K, dtype=torch.float64) if margins is None else margins
    q = (Z.gather(0, y[None]) - Z)[off_label]
    asked = c.T[:, y][off_label]
    assert float((q / asked).min()) == pytest.approx(1, rel=1e-13)
    # Not torch's, which is off by 1.7e-13 for 10 × 60,000 logits on some processors; numpy's is right to 1e-14.
    value = float(np.linalg.svd(Z.numpy(), compute_uv=False).sum())
    assert found.value == pytest.approx(value, rel=1e-13)

    multipliers = found.multipliers
    assert float(multipliers.min()) >= 0
    assert not multipliers[~off_label].any()
    G = -multipliers.scatter(0, y[None], -multipliers.sum(0, keepdim=True))
    assert float(np.linalg.norm(G.numpy(), 2)) <= 1 + 1e-13
    lower = float((multipliers[off_label] * asked).sum())
    assert found.duality_gap == pytest.approx(value - lower, abs=1e-12 * value)
    assert abs(found.duality_gap) <= gap * value

    assert found.rank == int(torch.linalg.matrix_rank(Z, rtol=1e-9))
    assert found.tight == (found.rank <= problem.feature_dim)
    if found.tight:
        W, H = problem.check(found.state).W, found.state.H
        torch.testing.assert_close(W @ H, Z, rtol=0, atol=1e-13 * float(Z.abs().max()))
        # Sums of 60,000 products: in doubles alone some processors lose 1e-12 of them.
        long = H.numpy().astype(np.longdouble)
        gram = torch.from_numpy((long @ long.T).astype(np.float64))
        torch.testing.assert_close(W.T @ W, gram, rtol=0, atol=1e-13 * value)
        assert float(found.state.squared_norm) / 2 == pytest.approx(value, rel=1e-13)
        torch.testing.assert_close(W.sum(0), torch.zeros_like(W[0]), rtol=0, atol=1e-13 * math.sqrt(value))


# --- closed forms ----------------------------------------------------------------------------------------------------


def assert_collapsed_optimum(K, n, **options):
    problem = Problem([n] * K, K + 1)
    found = minimum_norm_separation(problem, **options)
    assert_proven(problem, found, gap=1e-8)
    assert found.value == pytest.approx((K - 1) * math.sqrt(n), rel=1e-8)
    metrics = ulpm.neural_collapse(found.state.W, found.state.H, problem.labels)
    assert max(float(metrics[key]) for key in GEOMETRY) <= 1e-7
    assert metrics["nc4_mismatch"] == 0
    assert float(ulpm.margin(problem, found.state)) == pytest.approx(1, rel=1e-13)
    assert found.rank == K - 1


@pytest.mark.parametrize(("K", "n"), [(2, 1), (2, 7), (3, 1), (5, 60), (10, 6000), (13, 3), (25, 2)])
def test_balanced_classes_collapse(K, n):
    assert_collapsed_optimum(K, n)


@pytest.mark.slow
@pytest.mark.parametrize("K", range(2, 41))
@pytest.mark.parametrize("n", [1, 5, 500])
def test_balanced_classes_collapse_whatever_their_number(K, n):
    assert_collapsed_optimum(K, n)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("K", "n"), [(2, 3), (4, 5), (6, 1)])
def test_the_full_form_collapses_too(K, n, solver):
    assert_collapsed_optimum(K, n, symmetric=False, solver=solver)


def test_balanced_multipliers_are_all_equal():
    found = minimum_norm_separation(Problem([5] * 4, 3))
    multipliers = found.multipliers[found.multipliers > 0]
    assert len(multipliers) == 3 * 20
    torch.testing.assert_close(multipliers, torch.full_like(multipliers, 1 / (4 * math.sqrt(5))), rtol=1e-13, atol=0)


IMBALANCED = [[6, 3, 2], [40, 40, 4, 4], [1, 1000], [1000, 1000, 1, 1], [500] * 5 + [5] * 5, [1, 2, 4, 8, 16, 32, 64]]


@pytest.mark.parametrize("solver", [None, *SOLVERS])
@pytest.mark.parametrize("counts", IMBALANCED)
def test_unequal_classes_encode_the_simplex_labels(counts, solver):
    assert_simplex_labels(counts, solver=solver)


def assert_simplex_labels(counts, **options):
    K = len(counts)
    problem = Problem(counts, K)
    found = minimum_norm_separation(problem, **options)
    assert_proven(problem, found, gap=1e-8)
    centred = np.eye(K) - 1 / K
    value = np.linalg.svd(centred * np.sqrt(counts), compute_uv=False).sum()
    assert found.value == pytest.approx(value, rel=1e-8)
    encoded = torch.tensor(centred)[:, problem.labels]
    torch.testing.assert_close(found.logits, encoded, rtol=0, atol=1e-7)


def test_the_full_form_agrees_for_unequal_counts():
    assert_simplex_labels([5, 3, 1, 1], symmetric=False)


def test_two_classes_with_margins_of_their_own_have_a_closed_form():
    # Z has rank one: its centred columns are ±½ c, so that ‖Z‖_* = ‖Z‖_F = √((n₁c₁² + n₂c₂²)/2).
    margins = torch.tensor([[0.0, 3.0], [0.25, 0.0]], dtype=torch.float64)
    problem = Problem([7, 2], 1)
    found = minimum_norm_separation(problem, margins=margins)
    assert_proven(problem, found, 1e-12, margins)
    assert found.value == pytest.approx(math.sqrt((7 * 9 + 2 / 16) / 2), rel=1e-13)


# --- no closed form --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("counts", [[1, 1, 1], [3, 2, 2, 1], [4, 1, 2, 1, 3], [2] * 8])
def test_random_margins_have_no_gap_and_both_forms_agree(counts, seed):
    K = len(counts)
    problem, margins = Problem(counts, K), random_margins(seed, K)
    found = minimum_norm_separation(problem, margins=margins)
    full = minimum_norm_separation(problem, margins=margins, symmetric=False)
    for one in (found, full):
        assert_proven(problem, one, 1e-12, margins)
    assert full.value == pytest.approx(found.value, rel=1e-12)
    torch.testing.assert_close(full.logits, found.logits, rtol=0, atol=1e-7)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("K", [4, 10, 15])
def test_margins_and_counts_of_many_sizes_have_no_gap(K, solver):
    rng = np.random.default_rng(K)
    problem = Problem([int(n) for n in np.geomspace(1, 1000, K)], K)
    margins = torch.tensor(np.exp(rng.standard_normal((K, K))))
    assert_proven(problem, minimum_norm_separation(problem, solver, margins=margins), 1e-10, margins)


@pytest.mark.parametrize("power", [0.5, 1, 2, 3])
@pytest.mark.parametrize("K", [4, 8])
def test_ordered_classes_with_degenerate_multipliers_have_a_small_gap(K, power):
    # Margins |k − j|^power: ties, low rank, multipliers that are not unique.
    j = torch.arange(K, dtype=torch.float64)
    margins = (j[:, None] - j).abs() ** power
    problem = Problem([1] * K, K)
    assert_proven(problem, minimum_norm_separation(problem, margins=margins + torch.eye(K)), 1e-8, margins)


def brute_force(counts, d, margins=None, starts=12):
    """min ½(‖W‖² + ‖H‖²) over all W, H with the margins, sample by sample, by SLSQP from random starts."""
    K, y = len(counts), np.repeat(np.arange(len(counts)), counts)
    pairs = [(i, j) for i in range(len(y)) for j in range(K) if j != y[i]]
    c = np.array([1.0 if margins is None else float(margins[y[i], j]) for i, j in pairs])

    def parts(v):
        return v[: K * d].reshape(K, d), v[K * d :].reshape(d, len(y))

    def slack(v):
        W, H = parts(v)
        return np.array([(W[y[i]] - W[j]) @ H[:, i] for i, j in pairs]) - c

    def slack_gradient(v):
        W, H = parts(v)
        rows = []
        for i, j in pairs:
            dW, dH = np.zeros_like(W), np.zeros_like(H)
            dW[y[i]], dW[j], dH[:, i] = H[:, i], -H[:, i], W[y[i]] - W[j]
            rows.append(np.concatenate([dW.ravel(), dH.ravel()]))
        return np.array(rows)

    constraint = {"type": "ineq", "fun": slack, "jac": slack_gradient}
    rng = np.random.default_rng(0)
    results = [
        minimize(
            lambda v: v @ v / 2,
            rng.standard_normal(d * (K + len(y))),
            jac=lambda v: v,
            method="SLSQP",
            constraints=constraint,
            options={"maxiter": 500, "ftol": 1e-14},
        )
        for _ in range(starts)
    ]
    return min(result.fun for result in results if result.fun > 0 and slack(result.x).min() > -1e-9)


@pytest.mark.parametrize("counts", [[1, 1, 1], [3, 1, 2]])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_brute_force_over_three_classes_finds_the_same_value(counts, seed):
    margins = None if seed is None else random_margins(seed, 3, 0.2, 2.0)
    found = minimum_norm_separation(Problem(counts, 2), margins=margins)
    assert found.value == pytest.approx(brute_force(counts, 2, margins, starts=4), rel=1e-7)


def test_in_50_digits_the_returned_points_enclose_the_value():
    problem, margins = Problem([3, 1, 2, 2], 3), random_margins(5, 4)
    found = minimum_norm_separation(problem, margins=margins)
    y, c = problem.labels.tolist(), exact(margins)
    with mpmath.workdps(50):
        Z, multipliers = exact(found.logits), exact(found.multipliers)
        G = mpmath.zeros(4, 8)
        ratios = []
        for i, k in enumerate(y):
            for j in set(range(4)) - {k}:
                G[k, i] += multipliers[j, i]
                G[j, i] -= multipliers[j, i]
                ratios.append((Z[k, i] - Z[j, i]) / c[k, j])
        upper = mpmath.fsum(mpmath.svd_r(Z, compute_uv=False)) / min(ratios)
        pairs = ((j, i) for i in range(8) for j in range(4) if j != y[i])
        total = mpmath.fsum(multipliers[j, i] * c[y[i], j] for j, i in pairs)
        lower = total / max(mpmath.svd_r(G, compute_uv=False))
        assert lower <= upper <= lower * (1 + mpmath.mpf(1e-13))
        assert float(abs(found.value - upper)) < 1e-14 * found.value


# --- invariances -----------------------------------------------------------------------------------------------------


def test_permuting_the_classes_permutes_the_answer():
    counts, order = [3, 1, 2, 5], [2, 0, 3, 1]
    margins = random_margins(7, 4)
    found = minimum_norm_separation(Problem(counts, 4), margins=margins)
    moved = minimum_norm_separation(Problem([counts[k] for k in order], 4), margins=margins[order][:, order])
    assert moved.value == pytest.approx(found.value, rel=1e-12)
    first = torch.tensor([0, 3, 4, 6])  # a sample of each class
    moved_first = torch.tensor([0, 2, 5, 10])
    torch.testing.assert_close(
        moved.logits[:, moved_first], found.logits[:, first][order][:, order], rtol=0, atol=1e-11
    )


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_larger_margins_are_a_longer_answer(factor):
    margins = random_margins(8, 4)
    problem = Problem([2, 2, 1, 1], 4)
    found, scaled = (minimum_norm_separation(problem, margins=m) for m in (margins, factor * margins))
    assert scaled.value == pytest.approx(factor * found.value, rel=1e-12, abs=0)
    torch.testing.assert_close(scaled.multipliers, found.multipliers, rtol=0, atol=1e-12)


def test_the_diagonal_of_margins_is_not_read_and_ones_are_the_default():
    problem = Problem([2, 2, 1], 3)
    default = minimum_norm_separation(problem)
    for margins in (torch.ones(3, 3), 1 - torch.eye(3), torch.ones(3, 3) - 9 * torch.eye(3)):
        assert torch.equal(minimum_norm_separation(problem, margins=margins.double()).logits, default.logits)


def test_an_answer_does_not_depend_on_what_was_solved_before():
    problem = Problem([1] * 14, 14)
    first, other, again = (
        minimum_norm_separation(problem, "SCS", margins=random_margins(seed, 14)) for seed in (1, 2, 1)
    )
    assert torch.equal(first.logits, again.logits)
    assert other.value != first.value


def test_a_programme_is_compiled_once_per_size():
    relaxation._compiled.cache_clear()
    for counts in ([1, 2, 3, 4], [9, 9, 1, 1]):
        for margins in (None, random_margins(9, 4)):
            minimum_norm_separation(Problem(counts, 4), margins=margins)
    assert relaxation._compiled.cache_info().misses == 1
    task, *_ = relaxation._compiled(4, (0, 1, 2, 3))
    assert task.is_dpp()  # cvxpy keeps its own compilation of a problem only then


# --- too few dimensions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2])
def test_too_few_dimensions_leave_a_lower_bound_and_no_state(d):
    problem = Problem([2] * 4, d)
    found = minimum_norm_separation(problem)
    assert_proven(problem, found, 1e-12)
    assert not found.tight
    assert found.state is None
    assert "not tight" in one_sentence(found.status)
    assert f"rank 3 of its solution exceeds feature_dim {d}" in found.status
    assert found.value == pytest.approx(3 * math.sqrt(2), rel=1e-12)


def test_the_value_in_too_few_dimensions_is_below_what_can_be_reached():
    block = block_state(Problem([1] * 4, 2))
    reached = 1 / (2 * float(ulpm.margin(Problem([1] * 4, 2), block)))
    assert brute_force([1] * 4, 2, starts=6) == pytest.approx(reached, rel=1e-6)
    assert minimum_norm_separation(Problem([1] * 4, 2)).value == pytest.approx(3 / 4 * reached, rel=1e-12)


def test_rank_deficient_solutions_fit_into_fewer_dimensions_than_classes():
    # Margins (k − j)² of four ordered classes: Z_jk ∝ −(j − k)², centred, and rank 2 will do.
    j = torch.arange(4, dtype=torch.float64)
    problem, margins = Problem([1] * 4, 2), (j[:, None] - j) ** 2 + torch.eye(4)
    found = minimum_norm_separation(problem, margins=margins)
    assert_proven(problem, found, 1e-12, margins)
    assert found.rank == 2
    assert "fits into feature_dim 2" in one_sentence(found.status)


# --- what a solver may do --------------------------------------------------------------------------------------------


def answer(X, multipliers):
    """A solver that always gives this answer."""
    return lambda programme, solver: (
        np.array(X, dtype=float),
        np.array(multipliers, dtype=float),
        "STUB says 'optimal'",
    )


ETF, ACROSS = np.eye(4) - 1 / 4, np.kron(1 - np.eye(2), np.ones((2, 2)))
NOISE = np.random.default_rng(0).standard_normal((2, 4, 4))
WRONG = {
    "a stationary point that is not optimal": (2 * np.kron(np.eye(2), np.eye(2) - 0.5), ACROSS / 2, "duality gap"),
    "logits of other labels": (ETF[[1, 0, 2, 3]], 1 - np.eye(4), "does not separate"),
    "no logits": (np.zeros((4, 4)), 1 - np.eye(4), "does not separate"),
    "no multipliers": (ETF + 0.1 * NOISE[0], np.zeros((4, 4)), "duality gap"),
    "negative multipliers": (ETF + 0.1 * NOISE[0], np.eye(4) - 1, "duality gap"),
    "noise": (NOISE[0], NOISE[1], "STUB says 'optimal', but"),
    "logits of too small a rank": (np.diag([0.0, 1, 2, 3]) @ np.ones((4, 1)) @ [[-3.0, 1, 1, 3]], ACROSS, "STUB says"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("X", "multipliers", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_solver_that_answers_wrongly_is_caught(monkeypatch, X, multipliers, words):
    monkeypatch.setattr(relaxation, "_solve", answer(X, multipliers))
    with pytest.raises(ValueError, match=words) as message:
        minimum_norm_separation(Problem([1] * 4, 4))
    one_sentence(message)


def test_a_wrong_answer_after_the_polish_has_the_gap_that_it_has(monkeypatch):
    # Without the check the gap would be told, not hidden: K√n − (its multipliers' bound) of the block point.
    monkeypatch.setattr(relaxation, "_solve", answer(*WRONG["a stationary point that is not optimal"][:2]))
    monkeypatch.setattr(relaxation, "_LARGEST_GAP", 1.0)
    found = minimum_norm_separation(Problem([1] * 4, 4))
    assert found.value == pytest.approx(4, rel=1e-12)
    assert 1 - 1e-12 <= found.duality_gap <= 4


def test_a_rough_solver_is_polished(monkeypatch):
    monkeypatch.setattr(relaxation, "_solve", answer(ETF + 1e-3 * NOISE[0], 1 - np.eye(4) + 1e-3 * NOISE[1]))
    problem = Problem([1] * 4, 4)
    assert_proven(problem, minimum_norm_separation(problem), 1e-13)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("solver", "options", "words"),
    [
        ("CLARABEL", {"max_iter": 1}, "CLARABEL says 'user_limit', but"),
        ("SCS", {"max_iters": 1}, "SCS says 'optimal_inaccurate', but"),
        ("SCS", {"max_iters": -1}, "SCS failed and says"),
    ],
)
def test_an_unfinished_solve_is_one_sentence_with_the_solvers_words(monkeypatch, solver, options, words):
    monkeypatch.setitem(relaxation._SOLVER_OPTIONS, solver, options)
    with pytest.raises(ValueError, match=words) as message:
        minimum_norm_separation(Problem([1, 7, 1, 30, 2, 9], 6), solver, margins=random_margins(3, 6, 0.1, 3))
    one_sentence(message)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("status", ["infeasible", "unbounded", "solver_error"])
def test_a_solver_without_an_answer_is_one_sentence_with_its_words(monkeypatch, status):
    import cvxpy

    def no_solution(problem, **_):
        problem._status = status
        for variable in problem.variables():
            variable.save_value(None)

    monkeypatch.setattr(cvxpy.Problem, "solve", no_solution)
    with pytest.raises(ValueError, match=f"CLARABEL found no solution and says '{status}'") as message:
        minimum_norm_separation(Problem([1] * 3, 3))
    one_sentence(message)


def nan_at(k, j):
    margins = torch.ones(3, 3, dtype=torch.float64)
    margins[k, j] = math.nan
    return margins


ONES = torch.ones(3, 3, dtype=torch.float64)
BAD = {
    "an unknown solver": ({"solver": "simplex"}, ValueError, ["'simplex' is not installed", "CLARABEL, SCS"]),
    "a solver of other problems": ({"solver": "OSQP"}, ValueError, ["OSQP failed and says"]),
    "a number": ({"solver": 3}, TypeError, ["solver must be the name of a solver", "3"]),
    "a margin of zero": ({"margins": ONES - torch.eye(3)[[1, 0, 2]]}, ValueError, [r"margins\[0, 1\] is 0"]),
    "a negative margin": ({"margins": -ONES}, ValueError, ["positive off the diagonal", "is -1"]),
    "NaN": ({"margins": nan_at(0, 1)}, ValueError, ["margins must be finite"]),
    "margins of other classes": ({"margins": torch.ones(4, 4)}, ValueError, [r"\[4, 4\]"]),
    "many margins": ({"margins": torch.ones(2, 3, 3)}, ValueError, [r"shape \[3, 3\]", r"\[2, 3, 3\]"]),
    "a list of margins": ({"margins": [[1.0]]}, TypeError, ["margins must be a torch tensor", "list"]),
    "integers": ({"margins": torch.ones(3, 3, dtype=torch.int64)}, TypeError, ["margins", "int64"]),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("arguments", "error", "parts"), BAD.values(), ids=BAD.keys())
def test_a_question_that_makes_no_sense_is_one_clear_sentence(arguments, error, parts):
    with pytest.raises(error) as message:
        minimum_norm_separation(Problem([1, 2, 3], 3), **arguments)
    for part in parts:
        assert re.search(part, one_sentence(message))


@pytest.mark.usefixtures("unchecked")
def test_a_size_out_of_reach_is_refused_at_once():
    with pytest.raises(ValueError, match=r"block of 1003 rows.*use symmetric=True") as message:
        minimum_norm_separation(Problem([500, 300, 200], 3), symmetric=False)
    one_sentence(message)
    assert minimum_norm_separation(Problem([500, 300, 200], 3)).tight


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("case", ["balanced", "unequal counts", "random margins", "both"])
def test_a_hundred_classes_take_less_than_a_minute(case):
    K = 100
    counts = [int(n) for n in np.geomspace(1, 1000, K)] if case in ("unequal counts", "both") else [3] * K
    margins = random_margins(0, K) if case in ("random margins", "both") else None
    problem = Problem(counts, K)
    relaxation._compiled.cache_clear()
    started = time.perf_counter()
    found = minimum_norm_separation(problem, margins=margins)
    assert time.perf_counter() - started < 60
    assert_proven(problem, found, 1e-8, margins)
    if margins is None:
        assert found.value == pytest.approx(problem.minimum_norm_value, rel=1e-10)
