"""Angles of rare classes against direct computation, and the bounds of their errors against perturbed matrices."""

import math

import numpy as np
import pytest
import torch

import ulpm
from theory_experiments.numerics.minority_curves import layer_peeled_curve, margin_curve, minority_cosine, seli_cosine


@pytest.mark.parametrize(("K_A", "K_B"), [(5, 5), (2, 3), (1, 2)])
@pytest.mark.parametrize("R", [1, 10, 1000])
def test_the_closed_form_is_that_of_the_matrix_root(K_A: int, K_B: int, R: int) -> None:
    K = K_A + K_B
    weighted = (np.eye(K) - 1 / K) * np.sqrt([R] * K_A + [1.0] * K_B)
    squares, Q = np.linalg.eigh(weighted @ weighted.T)
    gram = Q * np.sqrt(squares.clip(0)) @ Q.T
    got = seli_cosine(torch.tensor([float(R)]), K_A, K_B)
    assert float(got[0]) == pytest.approx(gram[-1, -2] / gram[-1, -1], abs=1e-6)


def test_the_minority_cosine_is_the_least_over_pairs() -> None:
    W = torch.tensor([[1.0, 0.0], [9.0, 0.0], [1.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    assert float(minority_cosine(W, 2)) == pytest.approx(math.sqrt(0.5))
    assert float(minority_cosine(W, 1)) == pytest.approx(0, abs=1e-15)


def test_cosines_change_by_less_than_the_error_that_is_told() -> None:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((3, 3))
    gram = A @ A.T
    for _ in range(50):
        change = rng.standard_normal((3, 3))
        wrong = gram + 0.02 * gram.min() * (change + change.T) / np.linalg.norm(change + change.T)
        eta = np.linalg.norm(wrong - gram)
        least = min(gram[0, 0], gram[1, 1])
        cosine, other = (M[0, 1] / math.sqrt(M[0, 0] * M[1, 1]) for M in (gram, wrong))
        assert abs(cosine - other) <= 2 * eta / (least - eta)


def test_curves_say_what_the_solutions_say() -> None:
    problem = ulpm.Problem([8, 8, 2, 2], 3)
    optimum, separation = ulpm.norm_constrained_optimum(problem, 1.0, 2.0), ulpm.minimum_norm_separation(problem)
    curve = layer_peeled_curve([optimum], 2, [0.1])
    assert optimum.state is not None
    W = optimum.state.W
    assert float(curve.cosines) == pytest.approx(float(W[2] @ W[3] / W[2].norm() / W[3].norm()), abs=1e-14)
    assert float(curve.savings) == pytest.approx(0.1 / optimum.multiplier)
    assert 0 < float(curve.errors) < 1e-3
    assert float(curve.ranks) == optimum.rank
    margin = margin_curve([separation], 2)
    torch.testing.assert_close(margin.cosines, seli_cosine(torch.tensor([4.0], dtype=torch.float64), 2, 2))
    assert math.isinf(float(margin.savings))


def test_an_optimum_that_does_not_fit_is_an_error() -> None:
    optimum = ulpm.norm_constrained_optimum(ulpm.Problem([1] * 4, 2), 1.0, 2.0)
    with pytest.raises(ValueError, match="no classifier in these dimensions"):
        layer_peeled_curve([optimum], 2, [0.25])
