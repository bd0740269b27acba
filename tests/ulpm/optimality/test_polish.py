import numpy as np
import pytest

from ulpm.optimality import polish as module
from ulpm.optimality.polish import Point, polish, rank_at_optimum
from ulpm.optimality.programme import MarginProgramme, nuclear_norm


def balanced(K):
    """The balanced programme and its optimum: X = I − 11ᵀ/K, multipliers 1/K."""
    programme = MarginProgramme.with_margins(np.arange(K), np.ones((K, K)), np.ones(K))
    return programme, np.eye(K) - 1 / K, programme.constrained / K


def flat(parts):
    return np.concatenate([np.ravel(part) for part in parts])


def random_point(seed, K=3, rank=2):
    rng = np.random.default_rng(seed)
    programme = MarginProgramme.with_margins(np.array([0, 1, 1, 2]), rng.uniform(0.5, 2, (K, K)), np.ones(4))
    shapes = (K, rank), (rank, 4), (K, 4)
    A, B, multipliers = (rng.standard_normal(shape) for shape in shapes)
    return programme, Point(A, B, multipliers * programme.constrained), rng, shapes


def test_the_jacobian_is_the_derivative_of_minus_the_residual_and_symmetric():
    programme, point, rng, shapes = random_point(0)
    active = programme.constrained & (rng.random((3, 4)) < 0.7)
    point = Point(point.A, point.B, point.multipliers * active)
    jacobian = module._jacobian(programme, point, active)
    u, v = ((*map(rng.standard_normal, shapes[:2]), rng.standard_normal(shapes[2]) * active) for _ in range(2))
    h = 1e-5
    parts = point.A, point.B, point.multipliers
    moved = (Point(*(p + sign * h * q for p, q in zip(parts, u, strict=True))) for sign in (1, -1))
    plus, minus = (flat(module._residual(programme, at, active)) for at in moved)
    np.testing.assert_allclose(flat(jacobian(u)), -(plus - minus) / (2 * h), rtol=0, atol=1e-8)
    assert flat(jacobian(u)) @ flat(v) == pytest.approx(flat(jacobian(v)) @ flat(u), rel=1e-12)


@pytest.mark.parametrize("K", [2, 3, 10, 40])
def test_a_rough_answer_of_the_right_rank_and_active_set_becomes_exact(K):
    programme, X, multipliers = balanced(K)
    rng = np.random.default_rng(2)
    rough = (a + 1e-3 / K * rng.standard_normal((K, K)) for a in (X, multipliers))
    point = polish(programme, Point.from_solution(*rough, rank=K - 1))
    np.testing.assert_allclose(point.X, X, rtol=0, atol=1e-13)
    np.testing.assert_allclose(point.multipliers, multipliers, rtol=0, atol=1e-13)


def test_small_multipliers_of_light_columns_are_not_taken_for_zero():
    # Counts of ratio 10^6: the multipliers of the rare classes, and the gaps asked of them, are 1000 times smaller.
    weights = np.repeat([1e-3, 1.0], 4)
    programme = MarginProgramme.with_margins(np.arange(8), np.ones((8, 8)), weights)
    X = (np.eye(8) - 1 / 8) * weights
    U, _, Vh = np.linalg.svd(X)
    multipliers = -(U[:, :7] @ Vh[:7]) * programme.constrained
    assert multipliers[programme.constrained].min() > 0
    rough = X + 1e-5 * np.random.default_rng(5).standard_normal((8, 8))
    point = polish(programme, Point.from_solution(rough, multipliers, rank=7))
    np.testing.assert_allclose(point.X, X, rtol=0, atol=1e-14)
    assert np.count_nonzero(point.multipliers) == 8 * 7


def assert_optimal(programme, point):
    assert programme.upper_bound(point.X) == pytest.approx(programme.lower_bound(point.multipliers), rel=1e-13)


def asking_little_of_one_pair(margin):
    """The balanced programme of 4 classes but for this margin of class 0 against class 1, and its optimum."""
    margins = np.ones((4, 4))
    margins[0, 1] = margin
    programme = MarginProgramme.with_margins(np.arange(4), margins, np.ones(4))
    optimum = polish(programme, Point.from_solution(np.eye(4) - 1 / 4, programme.constrained / 4, rank=3))
    assert optimum.multipliers[1, 0] == 0
    assert_optimal(programme, optimum)
    return programme, optimum


def test_a_wrongly_active_constraint_is_released():
    programme, optimum = asking_little_of_one_pair(0.01)
    gap = programme.gaps(optimum.X)[1, 0]
    programme, optimum = asking_little_of_one_pair(gap - 1e-3)
    X, multipliers = optimum.X, optimum.multipliers.copy()
    X[1, 0] += 1e-3  # the pair has just the margin, and a multiplier
    multipliers[1, 0] = 1e-3
    start = Point.from_solution(X, multipliers, rank=3)
    assert programme.gaps(start.X)[1, 0] == pytest.approx(gap - 1e-3)
    np.testing.assert_allclose(polish(programme, start).X, optimum.X, rtol=0, atol=1e-13)


def test_a_wrongly_free_constraint_becomes_active():
    # At the start the pair exceeds its margin and has no multiplier; without it the optimum would violate the margin.
    programme, X, multipliers = balanced(4)
    X[1, 0] -= 0.01
    multipliers[1, 0] = 0
    point = polish(programme, Point.from_solution(X, multipliers, rank=3))
    assert point.multipliers[1, 0] == pytest.approx(1 / 4, rel=1e-12)
    assert_optimal(programme, point)


def test_the_rank_is_read_from_primal_and_dual_together():
    multipliers = np.array([[0, 4.0, 1], [4, 0, 1], [1, 1, 0]])  # G has the singular values 9, 3, 0
    programme, _, _ = balanced(3)
    U, S, Vh = np.linalg.svd(programme.adjoint(multipliers))
    np.testing.assert_allclose(S, [9, 3, 0], rtol=0, atol=1e-14)
    noise = 1e-6 * np.random.default_rng(3).standard_normal((3, 3))
    # A second singular value of X below the dual one's distance from its bound, 1 − 3/9, is error, one above is not.
    for second, rank in [(0.0, 1), (0.6, 1), (0.7, 2), (1.0, 2)]:
        assert rank_at_optimum(programme, 5 * (U * [1, second, 0] @ Vh) + noise, multipliers) == rank


def test_a_hopeless_start_ends_without_warnings():
    programme, _, _ = balanced(3)
    nothing = np.zeros((3, 3))
    assert polish(programme, Point.from_solution(nothing, nothing, rank=2)).rank == 2
    huge = 1e200 * np.arange(9.0).reshape(3, 3) ** 2
    assert polish(programme, Point.from_solution(huge, huge, rank=2)).rank == 2


def test_factors_of_a_solution_are_balanced_and_centred():
    X = np.random.default_rng(4).standard_normal((4, 7))
    point = Point.from_solution(X, np.zeros((4, 7)), rank=3)
    np.testing.assert_allclose(point.A.T @ point.A, point.B @ point.B.T, rtol=0, atol=1e-14)
    np.testing.assert_allclose(point.X, X - X.mean(0), rtol=0, atol=1e-13)
    assert (np.square(point.A).sum() + np.square(point.B).sum()) / 2 == pytest.approx(nuclear_norm(X - X.mean(0)))
