"""Collapse beside classification: data of no class (NC5), and regression (NRC1–3)."""

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from ulpm import ClassMoments, out_of_distribution, regression_collapse


def normal(seed, *size):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments_of(h, y, K):
    moments = ClassMoments(K, h.shape[1])
    moments.update(h, y)
    return moments


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e4, 1e-200])
def test_nc5_equals_its_formula_by_loops(scale):
    y = torch.tensor([2, 0, 1, 1, 2, 2, 0])
    h, outside = normal(0, 7, 5) + 0.3, normal(1, 9, 5) + 1
    found = out_of_distribution(moments_of(h, y, 3), scale * outside)
    mean = outside.numpy().mean(0)
    expected = []
    for k in range(3):
        mu = np.mean([x for x, label in zip(h.numpy(), y, strict=True) if label == k], axis=0)
        expected.append(abs(mu @ mean) / np.linalg.norm(mu) / np.linalg.norm(mean))
    assert_close(found["nc5_per_class"], torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-12)
    assert_close(found["nc5"], found["nc5_per_class"].mean(), rtol=1e-14, atol=0)


@given(st.integers(0, 10**6), st.permutations(range(3)))
@settings(max_examples=6, deadline=None)
def test_nc5_follows_the_classes_and_no_rotation(seed, order):
    y, Q = torch.arange(3).repeat(4), torch.linalg.qr(normal(seed, 4, 4)).Q
    h, outside, order = normal(seed, 12, 4), normal(seed + 1, 5, 4) + 1, torch.tensor(order)
    before = out_of_distribution(moments_of(h, y, 3), outside)
    after = out_of_distribution(moments_of(2 * h @ Q, order.argsort()[y], 3), 7 * outside.flip(0) @ Q)
    assert_close(after["nc5_per_class"], before["nc5_per_class"][order], rtol=1e-9, atol=1e-12)


def test_nc5_does_not_see_outsiders_on_both_sides_of_their_mean():
    moments = moments_of(torch.eye(3, dtype=torch.float64)[:2], torch.arange(2), 2)
    axis = torch.tensor([[0.0, 0, 1], [0, 0, 1]], dtype=torch.float64)
    on_a_class = torch.tensor([[5.0, 0, 0], [-5.0, 0, 0]], dtype=torch.float64)
    assert float(out_of_distribution(moments, axis + on_a_class)["nc5"]) == 0.0
    assert float(out_of_distribution(moments, axis + on_a_class.abs())["nc5"]) > 0.4


def test_nc5_of_a_zero_mean_is_not_a_number():
    moments = moments_of(torch.tensor([[1.0, 0], [-1, 0], [0, 1]]), torch.tensor([0, 0, 1]), 2)
    found = out_of_distribution(moments, torch.ones(1, 2))
    assert found["nc5_per_class"].isnan().tolist() == [True, False]


@pytest.mark.usefixtures("unchecked")
def test_nc5_refuses_what_does_not_fit():
    moments = moments_of(torch.eye(2), torch.arange(2), 2)
    with pytest.raises(ValueError, match=r"outside must have shape"):
        out_of_distribution(moments, torch.ones(2, 3))
    with pytest.raises(TypeError, match="must be a ClassMoments"):
        out_of_distribution(torch.eye(2), torch.ones(1, 2))
    with pytest.raises(ValueError, match="class 1 has none"):
        out_of_distribution(moments_of(torch.eye(2), torch.tensor([0, 0]), 2), torch.ones(1, 2))


def regression_by_loops(W, H, Y):
    W, H, Y = W.numpy(), H.numpy(), Y.numpy()
    n = len(Y)
    mean = H.mean(1)
    unit = [(h - mean) / np.linalg.norm(h - mean) for h in H.T]
    eigenvalues, vectors = np.linalg.eigh(np.cov(H, bias=True))
    principal = vectors[:, np.argsort(eigenvalues)[::-1][:n]]

    def outside(C):
        P = C @ np.linalg.pinv(C)
        return np.mean([np.sum((h - P @ h) ** 2) for h in unit])

    sigma = np.atleast_2d(np.cov(Y, bias=True))
    root = np.real(scipy.linalg.sqrtm(sigma))
    gram = W @ W.T / np.linalg.norm(W @ W.T)

    def structure(s):
        target = root - s * np.eye(n)
        return np.sum((gram - target / np.linalg.norm(target)) ** 2)

    top = np.sqrt(np.linalg.eigvalsh(sigma)[0])
    ends = [structure(0.0), structure(top * (1 - 1e-12))]
    found = scipy.optimize.minimize_scalar(structure, bounds=(0, top), method="bounded", options={"xatol": 1e-13})
    return outside(principal), outside(W.T), min(*ends, found.fun)


@pytest.mark.parametrize("seed", range(8))
def test_regression_collapse_equals_its_formulas(seed):
    n, d, N = 2 + seed % 3, 7, 40
    W, H, Y = normal(seed, n, d), normal(seed + 50, d, N), normal(seed + 99, n, n) @ normal(seed + 77, n, N)
    found = regression_collapse(W, H + 3, Y)
    for key, expected in zip(("nrc1", "nrc2", "nrc3"), regression_by_loops(W, H + 3, Y), strict=True):
        assert abs(float(found[key]) - expected) < 1e-10, key


def test_the_minimum_over_gamma_lies_inside_where_the_theory_puts_it():
    # The optimum of the unconstrained feature model: W Wᵀ is Σ^½ less a constant.
    Y = torch.linalg.cholesky(torch.tensor([[4.0, 1.0], [1.0, 2.0]], dtype=torch.float64)) @ normal(3, 2, 50)
    sigma = torch.cov(Y, correction=0)
    values, vectors = torch.linalg.eigh(sigma)
    W = torch.linalg.cholesky(vectors @ torch.diag(values.sqrt() - 0.3) @ vectors.T).T
    H = W.T @ Y
    found = regression_collapse(W.T, W.inverse() @ H, Y)
    assert float(found["nrc3"]) < 1e-14
    assert abs(float(found["nrc3_gamma"]) - 0.09) < 1e-7


@given(st.integers(0, 10**6), st.sampled_from([1e-8, 1.0, 1e4]))
@settings(max_examples=6, deadline=None)
def test_regression_collapse_sees_no_rotation_scale_offset_or_order(seed, scale):
    W, H, Y = normal(seed, 2, 5), normal(seed + 1, 5, 20), normal(seed + 2, 2, 20)
    Q, order = torch.linalg.qr(normal(seed, 5, 5)).Q, torch.arange(20).flip(0)
    before = regression_collapse(W, H, Y)
    after = regression_collapse(2 * W @ Q.T, scale * (Q @ H[:, order] + 1), 3 * Y[:, order] - 1)
    for key in ("nrc1", "nrc2", "nrc3"):
        assert_close(after[key], before[key], rtol=1e-7, atol=1e-9)


def test_one_target_has_structure_whatever_the_layer_is():
    assert float(regression_collapse(normal(0, 1, 4), normal(1, 4, 9), normal(2, 1, 9))["nrc3"]) == 0.0


def test_nrc2_sees_features_in_few_dimensions_that_are_not_those_of_the_layer():
    H = torch.zeros(4, 10, dtype=torch.float64)
    H[:2] = normal(0, 2, 10)
    turned = torch.eye(4, dtype=torch.float64)[2:]
    found = regression_collapse(turned, H, normal(1, 2, 10))
    assert float(found["nrc1"]) < 1e-15
    assert abs(float(found["nrc2"]) - 1) < 1e-15


def test_nrc1_does_not_see_that_features_forget_their_targets():
    H = torch.zeros(4, 10, dtype=torch.float64)
    H[:2] = normal(0, 2, 10)
    for targets in (H[:2], normal(5, 2, 10)):
        found = regression_collapse(torch.eye(4, dtype=torch.float64)[:2], H, targets)
        assert max(float(found["nrc1"]), float(found["nrc2"])) < 1e-15


def test_nothing_to_measure_is_not_a_number():
    H, Y = normal(0, 3, 8), normal(1, 2, 8)
    zero = regression_collapse(torch.zeros(2, 3, dtype=torch.float64), H, Y)
    assert zero["nrc2"].isnan()
    assert zero["nrc3"].isnan()
    assert regression_collapse(normal(2, 2, 3), torch.ones_like(H), Y)["nrc1"].isnan()
    assert regression_collapse(normal(2, 2, 3), H, torch.ones_like(Y))["nrc3"].isnan()


@pytest.mark.usefixtures("unchecked")
def test_regression_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"shapes \[n, d\], \[d, N\] and \[n, N\]"):
        regression_collapse(torch.ones(2, 3), torch.ones(3, 5), torch.ones(3, 5))
    with pytest.raises(ValueError, match="H must be finite"):
        regression_collapse(torch.ones(2, 3), torch.full((3, 5), torch.inf), torch.ones(2, 5))
    with pytest.raises(ValueError, match="Y must be a matrix"):
        regression_collapse(torch.ones(2, 3), torch.ones(3, 5), torch.ones(1, 2, 5))


def test_a_sample_that_is_the_mean_but_for_rounding_has_no_direction():
    line = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64)
    H = torch.tensor([[1.0], [1.0], [-1.5]], dtype=torch.float64) * line + torch.tensor([[0.0], [0.0], [0.85]])
    found = regression_collapse(H[:, :1].T - H[:, 1:2].T, H.double(), normal(0, 1, 3))
    assert float(found["nrc1"]) < 1e-12
    assert float(found["nrc2"]) < 1e-12


@pytest.mark.parametrize("seed", range(8))
def test_the_rounding_of_whitened_targets_is_no_structure(seed):
    Q = torch.linalg.qr(normal(seed, 2, 2)).Q
    Y = 3 * Q @ torch.tensor([[1.0, -1, 1, -1], [1, 1, -1, -1]], dtype=torch.float64)
    angles = torch.linspace(0, torch.pi, 200, dtype=torch.float64)
    W = torch.stack([angles.cos(), angles.sin()])
    found = [regression_collapse(w[:, None] @ torch.ones(1, 3).double(), normal(1, 3, 4), Y) for w in W.T]
    assert_close(torch.stack([each["nrc3"] for each in found]), torch.full((200,), 2 - 2**0.5).double())


def test_huge_targets_leave_a_gamma_of_zero_at_zero():
    W, H, Y = torch.eye(2, 3).double(), normal(1, 3, 6), normal(2, 2, 6)
    Y[1] = Y[0]
    assert float(regression_collapse(W, H, 1e200 * Y)["nrc3_gamma"]) == float(
        regression_collapse(W, H, Y)["nrc3_gamma"]
    )
