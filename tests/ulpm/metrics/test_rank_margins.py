"""Ranks of features and margins of classes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from ulpm import ClassMoments, Problem, class_margins, collapsed_state, feature_rank, margin
from ulpm.metrics import tiles

KINDS = ("numerical", "stable", "effective")


def samples(seed, counts, d):
    g = torch.Generator().manual_seed(seed)
    K, N = len(counts), sum(counts)
    labels = torch.arange(K).repeat_interleave(torch.tensor(counts))[torch.randperm(N, generator=g)]
    centres = torch.randn(d, K, generator=g, dtype=torch.float64)
    H = centres[:, labels] + 0.4 * torch.randn(d, N, generator=g, dtype=torch.float64)
    return torch.randn(K, d, generator=g, dtype=torch.float64), H, labels


def moments_of(H, labels, K):
    moments = ClassMoments(K, len(H))
    for h, y in zip(H.T.split(7), labels.split(7), strict=True):
        moments.update(h, y)
    return moments


def ranks_by_numpy(matrix):
    s = np.linalg.svd(matrix, compute_uv=False)
    s = s[s > 1e-7 * s[0]]
    p = s / s.sum()
    return float(len(s)), np.sum(s**2) / s[0] ** 2, np.exp(-np.sum(p * np.log(p)))


@pytest.mark.parametrize(("counts", "d"), [([4, 2, 7, 3], 6), ([3] * 8, 5), ([2, 2], 9)])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e4])
def test_ranks_equal_those_of_the_matrices_themselves(counts, d, scale):
    _, H, labels = samples(0, counts, d)
    K = len(counts)
    found = feature_rank(moments_of(scale * H, labels, K))
    H = H.numpy()
    mu = np.stack([H[:, labels.numpy() == k].mean(1) for k in range(K)], 1)
    matrices = {
        "features": H - H.mean(1, keepdims=True),
        "means": mu - mu.mean(1, keepdims=True),
        "within": H - mu[:, labels.numpy()],
    }
    for name, matrix in matrices.items():
        for kind, expected in zip(KINDS, ranks_by_numpy(matrix), strict=True):
            assert abs(float(found[f"{kind}_rank_{name}"]) / expected - 1) < 1e-10, (kind, name)


@given(st.integers(0, 10**6))
@settings(max_examples=6, deadline=None)
def test_ranks_see_no_rotation_offset_or_order(seed):
    _, H, labels = samples(seed, [3, 5, 2, 4], 5)
    g = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(5, 5, generator=g, dtype=torch.float64)).Q
    order, renamed = torch.randperm(len(labels), generator=g), torch.randperm(4, generator=g)
    before = feature_rank(moments_of(H, labels, 4))
    after = feature_rank(moments_of(Q @ H[:, order] + 1, renamed[labels[order]], 4))
    for key, value in before.items():
        assert_close(after[key], value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_collapsed_state_has_rank_one_less_than_classes(dtype):
    problem = Problem([5] * 4, feature_dim=10)
    g = torch.Generator().manual_seed(0)
    Q = torch.linalg.qr(torch.randn(10, 10, generator=g, dtype=torch.float64)).Q
    H = (Q @ collapsed_state(problem).H).to(dtype)
    found = feature_rank(moments_of(H, problem.labels, 4))
    for kind in KINDS:
        for name in ("features", "means"):
            assert abs(float(found[f"{kind}_rank_{name}"]) - 3) < 1e-6
    assert float(found["numerical_rank_within"]) == 0
    assert found["stable_rank_within"].isnan()


def test_collinear_means_have_rank_one_in_the_format_of_the_features():
    labels = torch.arange(4).repeat(6)
    g = torch.Generator().manual_seed(1)
    line = torch.randn(6, 1, generator=g, dtype=torch.float64) * labels
    noise = torch.randn(6, 24, generator=g, dtype=torch.float64)
    centred = noise - torch.stack([noise[:, labels == k].mean(1) for k in range(4)], 1)[:, labels]
    found = feature_rank(moments_of(line + 0.1 * centred, labels, 4))
    assert float(found["numerical_rank_means"]) == 1
    assert abs(float(found["effective_rank_means"]) - 1) < 1e-12
    assert float(found["numerical_rank_features"]) == 6


def test_a_stable_rank_hides_small_directions_and_a_numerical_rank_their_size():
    K = 8
    sizes = torch.tensor([1.0] + [1e-3] * 7, dtype=torch.float64)
    means = torch.diag(sizes)
    found = feature_rank(moments_of(means, torch.arange(K), K))
    assert float(found["numerical_rank_means"]) == 7
    assert float(found["stable_rank_means"]) < 1.01


@pytest.mark.usefixtures("unchecked")
def test_ranks_are_refused_without_moments_or_samples():
    with pytest.raises(TypeError, match="must be a ClassMoments"):
        feature_rank(torch.eye(3))
    with pytest.raises(ValueError, match="needs a sample"):
        feature_rank(ClassMoments(2, 3))


def margins_by_loops(W, H, labels, bias):
    found = []
    for h, y in zip(H.T.numpy(), labels.tolist(), strict=True):
        z = W.numpy() @ h + bias.numpy()
        found.append(z[y] - max(z[j] for j in range(len(z)) if j != y))
    return np.array(found)


@pytest.mark.parametrize("largest", [2**22, 8])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e4])
def test_margins_equal_those_by_loops(largest, scale, monkeypatch):
    monkeypatch.setattr(tiles, "LARGEST", largest)
    W, H, labels = samples(1, [3, 1, 5, 2], 4)
    bias = scale * torch.linspace(-1, 1, 4, dtype=torch.float64)
    found = class_margins(W, scale * H, labels, bias)
    expected = margins_by_loops(W, scale * H, labels, bias)
    assert_close(found["margins"], torch.tensor(expected), rtol=1e-10, atol=1e-12 * scale)
    per_class = [expected[labels.numpy() == k].min() for k in range(4)]
    assert_close(found["margin_per_class"], torch.tensor(per_class), rtol=1e-10, atol=1e-12 * scale)
    assert float(found["margin"]) == float(found["margins"].min())
    assert abs(float(found["margin_mean"]) - expected.mean()) < 1e-11 * scale


def test_the_least_margin_is_that_of_the_problem():
    problem = Problem([3, 4, 2], feature_dim=5)
    state = problem.random_state(seed=0)
    found = class_margins(state.W, state.H, problem.labels)["margin"]
    assert abs(float(found) - float(margin(problem, state))) < 1e-12


def test_a_mean_margin_hides_the_class_that_is_wrong():
    W = torch.eye(3, dtype=torch.float64)
    H = 10 * W.clone()
    H[:, 2] = torch.tensor([1.0, 0.0, 0.5])
    found = class_margins(W, H, torch.arange(3))
    assert float(found["margin_mean"]) > 6
    assert found["margin_per_class"].argmin() == 2
    assert float(found["margin"]) == -0.5


def test_margins_grow_with_the_norms_though_nothing_else_does():
    W, H, labels = samples(2, [3, 2], 3)
    one, other = (class_margins(W, factor * H, labels)["margins"] for factor in (1.0, 8.0))
    assert torch.equal(other, 8 * one)


EYE = torch.eye(3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.eye(3), torch.eye(3), torch.tensor([0, 1, 1])), "class 2 has none"),
        ((torch.eye(3), torch.eye(3), torch.tensor([0, 1])), r"labels must have shape \[3\]"),
        ((torch.ones(1, 3), torch.eye(3), torch.zeros(3, dtype=torch.int64)), "K ≥ 2"),
        ((torch.eye(3), torch.eye(3), torch.arange(3), torch.zeros(2)), "bias must have shape"),
        ((torch.eye(3), torch.eye(3), torch.arange(3), torch.zeros(2, 3)), r"bias must have shape \[3\], .* \[2, 3\]"),
        ((1e160 * EYE, 1e160 * EYE, torch.arange(3)), "logits W h must be numbers of float64, but they are too large"),
        (
            (1e-170 * EYE, 1e-170 * EYE, torch.arange(3)),
            "logits W h must be numbers of float64, but they are too small",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_margins_refuse_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        class_margins(*arguments)


def test_ranks_about_given_means_are_those_of_the_features_about_the_mean_of_these():
    _, H, labels = samples(3, [4, 6, 3], 5)
    means = torch.randn(3, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    moments = ClassMoments(3, 5, means=means)
    moments.update(H.T, labels)
    s = np.linalg.svd((H.T - means[labels].mean(0)).numpy(), compute_uv=False)
    p = s / s.sum()
    found = feature_rank(moments)
    assert float(found["stable_rank_features"]) == pytest.approx((s**2).sum() / s[0] ** 2, rel=1e-9)
    assert float(found["effective_rank_features"]) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-7)
