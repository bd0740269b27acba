import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import exact

from ulpm.optimality.programme import MarginProgramme, nuclear_norm

examples = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def random_programme(seed, K=4):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(K), rng.integers(1, 4, K))
    return MarginProgramme.with_margins(labels, rng.uniform(0.2, 2, (K, K)), rng.uniform(0.5, 3, len(labels))), rng


def test_bounds_are_the_margins_of_the_label_times_the_weight_of_the_column():
    margins = np.array([[9.0, 2, 3], [4, 9, 6], [7, 8, 9]])
    programme = MarginProgramme.with_margins(np.array([0, 2, 2]), margins, np.array([1.0, 10, 0.5]))
    assert programme.bounds.tolist() == [[0, 70, 3.5], [2, 80, 4], [3, 0, 0]]
    assert programme.constrained.tolist() == [[False, True, True], [True, True, True], [True, False, False]]


@given(seeds)
@examples
def test_the_adjoint_is_the_sum_over_pairs_and_the_adjoint_of_the_gaps(seed):
    programme, rng = random_programme(seed)
    multipliers = rng.standard_normal(programme.bounds.shape) * programme.constrained
    G = np.zeros_like(multipliers)
    for m, y in enumerate(programme.labels):
        for j in range(len(G)):
            G[y, m] += multipliers[j, m]
            G[j, m] -= multipliers[j, m]
    np.testing.assert_allclose(programme.adjoint(multipliers), G, rtol=0, atol=1e-14)
    X = rng.standard_normal(G.shape)
    assert np.vdot(G, X) == pytest.approx(np.vdot(multipliers, programme.gaps(X)), abs=1e-12)


@given(seeds)
@examples
def test_any_two_points_enclose_the_optimum(seed):
    programme, rng = random_programme(seed)
    one_hot = np.eye(len(programme.bounds))[:, programme.labels]
    X = one_hot + 0.2 * rng.standard_normal(one_hot.shape)
    assert programme.lower_bound(rng.standard_normal(X.shape)) <= programme.upper_bound(X)


@given(seeds)
@examples
def test_scaled_multipliers_are_feasible_and_cannot_grow(seed):
    programme, rng = random_programme(seed)
    multipliers = programme.feasible_multipliers(
        10.0 ** rng.uniform(-3, 3) * rng.standard_normal(programme.bounds.shape)
    )
    assert multipliers.min() == 0
    assert not multipliers[~programme.constrained].any()
    with mpmath.workdps(30):
        assert float(max(mpmath.svd_r(exact(programme.adjoint(multipliers)), compute_uv=False))) == pytest.approx(
            1, rel=1e-14
        )


def test_no_multipliers_prove_nothing_and_no_separation_bounds_nothing():
    programme, rng = random_programme(0)
    assert programme.lower_bound(-np.ones(programme.bounds.shape)) == 0
    assert programme.upper_bound(np.zeros(programme.bounds.shape)) == math.inf
    assert programme.upper_bound(rng.standard_normal(programme.bounds.shape)) == math.inf


def test_the_nuclear_norm_is_the_sum_of_singular_values():
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.standard_normal((n, 3)))[0] for n in (4, 9))
    assert nuclear_norm(U * [5.0, 0.25, 1e-3] @ V.T) == pytest.approx(5.251, rel=1e-14)
