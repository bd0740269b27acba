"""Softmax codes: one-vs-rest distances with a certificate, and what they and other measures do not see."""

import itertools

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from ulpm import generalised_collapse, neural_collapse, simplex_etf
from ulpm.metrics import ClassMoments


def vectors(seed, K, d):
    return torch.randn(K, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def directions(X, centered=True):
    X = X - X.mean(0) if centered else X
    return X / X.norm(dim=1, keepdim=True)


def distance_by_enumeration(U, k):
    """The nearest of the points nearest to u_k on the affine hulls of all sets of others, if convex: every face."""
    others = [u for j, u in enumerate(U) if j != k]
    best = np.inf
    for size in range(1, min(len(others), len(U[0])) + 1):
        for face in itertools.combinations(others, size):
            Y = np.stack(face, 1) - U[k][:, None]
            system = np.block([[Y.T @ Y, np.ones((size, 1))], [np.ones((1, size)), np.zeros((1, 1))]])
            weights = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0][:size]
            if weights.min() >= -1e-12 and abs(weights.sum() - 1) < 1e-9:
                best = min(best, np.linalg.norm(Y @ weights))
    return best


@pytest.mark.parametrize(("K", "d"), [(2, 1), (3, 5), (5, 2), (7, 3), (8, 4), (6, 5)])
@pytest.mark.parametrize("centered", [True, False])
def test_distances_equal_those_to_the_nearest_face(K, d, centered):
    X = vectors(K, K, d)
    found = generalised_collapse(X, centered=centered)
    U = directions(X, centered).numpy()
    for k in range(K):
        expected = distance_by_enumeration(U, k)
        assert abs(float(found.one_vs_rest_upper[k]) - expected) < 1e-10
        assert float(found.one_vs_rest_lower[k]) <= expected + 1e-12
        nearest = min(np.linalg.norm(U[k] - U[j]) for j in range(K) if j != k)
        assert abs(float(found.one_vs_one[k]) - nearest) < 1e-10
    assert float(found.duality_gap()) < 1e-10
    assert found.closest_class() == int(np.argmin([distance_by_enumeration(U, k) for k in range(K)]))


def test_a_convex_programme_finds_no_closer_point_of_forty_classes():
    X = vectors(0, 40, 6)
    U = directions(X).numpy()
    found = generalised_collapse(X, torch.tensor([3, 17]))
    for i, k in enumerate((3, 17)):
        weights = cvxpy.Variable(39, nonneg=True)
        rest = np.delete(U, k, 0).T
        programme = cvxpy.Problem(cvxpy.Minimize(cvxpy.norm(rest @ weights - U[k])), [cvxpy.sum(weights) == 1])
        value = programme.solve(solver=cvxpy.CLARABEL)
        assert abs(float(found.one_vs_rest_upper[i]) - value) < 1e-6
        assert float(found.one_vs_rest_upper[i] - found.one_vs_rest_lower[i]) < 1e-12


@pytest.mark.parametrize(("K", "d"), [(3, 2), (10, 9), (10, 40), (64, 63)])
def test_a_simplex_attains_the_bound(K, d):
    found = generalised_collapse(simplex_etf(K, d))
    for value in found.one_vs_rest():
        assert abs(float(value) - K / (K - 1)) < 1e-10
    assert found.bound == K / (K - 1)


@pytest.mark.parametrize("d", [2, 3, 8])
def test_pairs_of_opposite_directions_attain_the_bound_though_no_simplex(d):
    eye = torch.eye(d, dtype=torch.float64)
    X = torch.cat([eye, -eye])
    found = generalised_collapse(X)
    for value in found.one_vs_rest():
        assert abs(float(value) - 1) < 1e-10
    assert found.bound == 1.0
    assert float(neural_collapse(X, X.T, torch.arange(2 * d))["nc2_angle_means"]) > 0.1


@given(st.integers(0, 10**6), st.integers(3, 12), st.integers(1, 5), st.sampled_from([1e-8, 1.0, 1e4]))
@settings(max_examples=6, deadline=None)
def test_rotation_scale_and_order_of_the_classes_change_nothing(seed, K, d, scale):
    X = vectors(seed, K, d)
    order = torch.randperm(K, generator=torch.Generator().manual_seed(seed))
    Q = torch.linalg.qr(vectors(seed + 1, d, d)).Q
    before, after = generalised_collapse(X), generalised_collapse(scale * X[order] @ Q)
    assert float(before.duality_gap()) < 1e-9
    assert_close(after.one_vs_rest_upper, before.one_vs_rest_upper[order], rtol=0, atol=1e-9)
    assert_close(after.one_vs_one, before.one_vs_one[order], rtol=0, atol=1e-10)
    assert float(before.one_vs_rest_upper.min()) <= before.bound + 1e-10


def test_a_direction_among_others_is_far_from_each_but_close_to_their_hull():
    # The pole over a ring of six: the least pair of both codes is the ring's, but the hull touches the pole.
    angle = torch.arange(6, dtype=torch.float64) * torch.pi / 3
    ring = torch.stack([angle.cos(), angle.sin(), torch.zeros(6, dtype=torch.float64)], 1)
    raised = directions(ring + torch.tensor([0.0, 0.0, 0.8]), centered=False)
    pole = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    found = generalised_collapse(torch.cat([raised, pole]), centered=False)
    assert found.closest_class() == 6
    assert float(found.one_vs_one[6]) > 0.75
    assert float(found.one_vs_rest_upper[6]) < 0.4


def test_lengths_are_not_seen():
    X = torch.cat([simplex_etf(4, 3), torch.zeros(0, 3, dtype=torch.float64)])
    stretched = torch.tensor([1.0, 1.0, 1.0, 1e-3], dtype=torch.float64)[:, None] * X
    even, uneven = (generalised_collapse(each, centered=False) for each in (X, stretched))
    assert_close(even.one_vs_rest_upper, uneven.one_vs_rest_upper, rtol=0, atol=1e-10)
    assert float(neural_collapse(stretched, X.T, torch.arange(4))["nc2_norm_classifier"]) > 0.5


def test_collinear_and_repeated_vectors_have_a_certificate_too():
    line = torch.tensor([[1.0, 0, 0], [2, 0, 0], [-1, 0, 0], [-2.5, 0, 0], [4, 0, 0]])
    found = generalised_collapse(line, centered=False)
    assert found.one_vs_rest_upper.tolist() == [0.0] * 5
    opposite = generalised_collapse(torch.tensor([[1.0, 0], [-3.0, 0]]))
    assert [float(bound) for bound in opposite.one_vs_rest()] == [2.0, 2.0]


@pytest.mark.parametrize("seed", range(3))
def test_close_vectors_are_resolved(seed):
    base = vectors(seed, 1, 4)
    X = base + 1e-7 * vectors(seed + 10, 6, 4)
    found = generalised_collapse(X, centered=False)
    assert float(found.one_vs_rest_upper.max()) < 1e-6
    assert bool((found.one_vs_rest_lower <= found.one_vs_rest_upper).all())
    assert float(found.duality_gap()) < 1e-12


def test_moments_are_measured_like_their_means():
    X = vectors(1, 9, 3)
    moments = ClassMoments(9, 3)
    moments.update(torch.cat([X + 0.1, X - 0.1]), torch.arange(9).repeat(2))
    one, other = generalised_collapse(moments), generalised_collapse(X)
    assert_close(one.one_vs_rest_upper, other.one_vs_rest_upper, rtol=0, atol=1e-10)


def test_some_classes_are_measured_against_all():
    X, chosen = vectors(2, 30, 4), torch.tensor([29, 4])
    some, every = generalised_collapse(X, chosen), generalised_collapse(X)
    assert_close(some.one_vs_rest_upper, every.one_vs_rest_upper[chosen], rtol=0, atol=1e-12)
    assert_close(some.one_vs_one, every.one_vs_one[chosen], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.zeros(3),), ValueError, r"shape \[K ≥ 2, d\]"),
        ((torch.ones(3, 2),), ValueError, "vector 0 is the mean of all, so it has no direction"),
        ((torch.eye(3), [0, 1]), TypeError, "classes must be a tensor of integers, but it is list"),
        ((torch.eye(3), torch.tensor([3])), ValueError, "classes must lie in 0 … 2"),
        ((torch.eye(3), torch.zeros(0, dtype=torch.int64)), ValueError, "at least one class"),
        ((ClassMoments(3, 2),), ValueError, "needs a sample"),
        (([[1.0]],), TypeError, "must be a torch tensor"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        generalised_collapse(*arguments)


@pytest.mark.parametrize("seed", range(6))
def test_vertices_of_a_cube_have_a_tight_certificate(seed):
    X = vectors(seed, 13, 6).sign()
    found = generalised_collapse(X, centered=False)
    assert float(found.duality_gap()) < 1e-12


def test_each_length_may_be_of_its_own_size():
    X = vectors(0, 4, 3)
    expected = generalised_collapse(X, centered=False).one_vs_one
    scales = torch.tensor([1.0, 1e-162, 1e-250, 1e200], dtype=torch.float64)
    assert_close(generalised_collapse(X * scales[:, None], centered=False).one_vs_one, expected, rtol=1e-12, atol=0)
    huge = generalised_collapse(X / X.abs().max() * 1e308).one_vs_one
    assert_close(huge, generalised_collapse(X).one_vs_one, rtol=1e-12, atol=0)


def test_a_vector_at_the_mean_but_for_rounding_has_no_direction():
    with pytest.raises(ValueError, match="vector 2 is the mean of all"):
        generalised_collapse(torch.tensor([[0.1, 1], [0.3, 1], [0.2, 1]], dtype=torch.float64))
