import numpy as np

from ulpm.optimality.newton import least_squares


def flat(parts):
    return np.concatenate([np.ravel(part) for part in parts])


def test_least_squares_is_the_pseudo_inverse_of_a_singular_matrix():
    rng = np.random.default_rng(1)
    Q = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    J = Q * [3, 2, 1.5, 1, -0.5, -1, -2, 0, 0] @ Q.T
    target = rng.standard_normal(9)  # not in the range of J
    split = lambda v: tuple(np.split(np.asarray(v), 3))  # noqa: E731
    solution = least_squares(lambda v: split(J @ flat(v)), split(target))
    np.testing.assert_allclose(flat(solution), np.linalg.pinv(J) @ target, rtol=0, atol=1e-5)
