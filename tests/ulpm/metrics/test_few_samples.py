"""Few samples a class, and class means of other data."""

import math

import numpy as np
import pytest
import torch
from metrics_oracle import assert_close, samples
from runtime_checks import without_checks

from ulpm.metrics import METRICS, ClassMoments, few_sample_nc1, measure, neural_collapse, neural_collapse_from_moments


def population(K=4, d=12, seed=0):
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((d, K))
    root = 0.4 * rng.standard_normal((d, d)) / math.sqrt(d)
    return means, root


def true_values(means, root, weights):
    covariance = root @ root.T
    M = means - (means @ weights)[:, None]
    K = M.shape[1]
    pairs = [np.sum((means[:, j] - means[:, k]) ** 2) for j in range(K) for k in range(j)]
    return {
        "nc1_ratio_corrected": np.trace(covariance) / (np.sum(M**2) / K),
        "nc1_cdnv_corrected": np.mean([np.trace(covariance) / pair for pair in pairs]),
        "nc1_pinv_corrected": np.trace(covariance @ np.linalg.pinv(M @ M.T, rcond=1e-10)),
    }


@pytest.mark.parametrize(
    ("counts", "center"), [([3] * 4, "classes"), ([2, 3, 6, 4], "samples"), ([2, 9, 3, 3], "classes")]
)
def test_corrected_values_are_those_of_the_population_in_the_mean(counts, center):
    means, root = population()
    n = np.array(counts)
    expected = true_values(means, root, n / n.sum() if center == "samples" else np.full(4, 1 / 4))
    rng = np.random.default_rng(1)
    y = torch.tensor(np.repeat(np.arange(4), n))
    draws = {key: [] for key in expected}
    plain = []
    for _ in range(150):
        moments = ClassMoments(4, 12)
        moments.update(torch.tensor((means[:, y.numpy()] + root @ rng.standard_normal((12, len(y)))).T), y)
        plain.append(float(neural_collapse_from_moments(moments, torch.eye(4, 12, dtype=torch.float64))["nc1_cdnv"]))
        for key, value in few_sample_nc1(moments, center).items():
            draws[key].append(float(value))
    for key, values in draws.items():
        error = np.std(values) / math.sqrt(len(values))
        assert abs(np.mean(values) - expected[key]) < 4 * error + 0.03 * expected[key], key
    assert np.mean(plain) < 0.8 * expected["nc1_cdnv_corrected"]


def test_many_samples_need_no_correction():
    W, H, labels = samples(0, [4000, 3000, 5000], 3)
    moments = ClassMoments(3, 3)
    moments.update(H.T, labels)
    plain = neural_collapse(W, H, labels)
    for key, value in few_sample_nc1(moments).items():
        assert float(value) == pytest.approx(float(plain[key.removesuffix("_corrected")]), rel=1e-2), key


def test_one_sample_says_nothing_and_equal_means_are_infinitely_far_from_collapse():
    moments = ClassMoments(2, 2)
    moments.update(torch.tensor([[0.0, 1.0], [1.0, 0.0], [3.0, 3.0]]), torch.tensor([0, 0, 1]))
    assert all(math.isnan(float(value)) for value in few_sample_nc1(moments).values())
    moments.update(torch.tensor([[-2.0, -2.0]]), torch.tensor([1]))
    assert all(float(value) == math.inf for value in few_sample_nc1(moments).values())


@pytest.mark.parametrize("center", ["classes", "samples"])
def test_what_means_differ_by_is_not_read_along_the_weights_of_their_centre(center):
    """M p = 0 but for rounding, of which an eigenvalue of G passed for a small one of the means: nc1_pinv was ±1e15."""
    means, root = population(K=3, d=8)
    means[:, 1] = means[:, 0]
    y, rng, found = torch.arange(3).repeat_interleave(5), np.random.default_rng(0), []
    for _ in range(60):
        moments = ClassMoments(3, 8)
        moments.update(torch.tensor((means[:, y.numpy()] + root @ rng.standard_normal((8, len(y)))).T), y)
        found.append(float(few_sample_nc1(moments, center)["nc1_pinv_corrected"]))
    assert 20 <= sum(math.isinf(value) for value in found) <= 45
    assert all(abs(value) < 1e6 for value in found if math.isfinite(value))


def linear_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3)).double()


def test_measure_gives_both_values_and_names_classes_with_one_sample():
    model, x = linear_model(), torch.randn(9, 6, dtype=torch.float64)
    y = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    both = measure(model, [(x, y)], corrected=True)
    kinds = ("nc1_ratio", "nc1_cdnv", "nc1_pinv")
    added = [f"{key}_{suffix}" for suffix in ("corrected", "unrounded") for key in kinds]
    assert tuple(both) == (*METRICS, *added)
    assert_close({key: both[key] for key in METRICS}, measure(model, [(x, y)]), rtol=0.0)
    with pytest.warns(UserWarning, match=r"1 of 3 classes have one sample \(class 2\)"):
        measure(model, [(x[:7], y[:7])])


@pytest.mark.parametrize("center", ["classes", "samples"])
def test_test_data_are_measured_about_the_means_that_are_given(center):
    """Every formula with training means, written out."""
    model = linear_model()
    x, y = torch.randn(40, 6, dtype=torch.float64), torch.arange(40) % 3
    means = torch.randn(3, 5, dtype=torch.float64)
    found = measure(model, list(zip(x.split(7), y.split(7), strict=True)), center=center, means=means)
    h, W = model[0](x).detach(), model[1].weight.detach()
    n = torch.bincount(y).double()
    weights = n / 40 if center == "samples" else torch.full((3,), 1 / 3, dtype=torch.float64)
    e, M = h - means[y], (means - weights @ means).T
    v = torch.stack([e[y == k].square().sum(1).mean() for k in range(3)])
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = {
        "nc1_pinv": torch.trace(e.T @ e / 40 @ torch.linalg.pinv(M @ M.T / 3, rtol=1e-10)) / 3,
        "nc1_ratio": e.square().sum() / 40 / (M.square().sum() / 3),
        "nc1_cdnv": sum((v[j] + v[k]) / (2 * (means[j] - means[k]).square().sum()) for j, k in pairs) / 3,
        "nc1_distance": e.norm(dim=1).mean() / (h - n / 40 @ means).norm(dim=1).mean(),
        "nc4_mismatch": (torch.cdist(h, means).argmin(1) != model(x).argmax(1)).double().mean(),
        "nc3_difference": (W.T / W.norm() - M / M.norm()).norm(),
    }
    for key, value in expected.items():
        assert float(found[key]) == pytest.approx(float(value), rel=1e-10), key
    # Of collapsed states with these means, all that is of means is the same.
    there = neural_collapse(W, means.T, torch.arange(3))
    if center == "classes":
        for key in METRICS:
            if key.startswith(("nc2", "nc3")):
                assert float(found[key]) == pytest.approx(float(there[key]), rel=1e-11, abs=1e-14), key


def test_own_means_that_are_given_change_nothing():
    model = linear_model()
    x, y = torch.randn(30, 6, dtype=torch.float64), torch.arange(30) % 3
    moments = ClassMoments(3, 5)
    moments.update(model[0](x).detach(), y)
    given = measure(model, [(x, y)], means=moments.class_means())
    assert_close(given, measure(model, [(x, y)]), rtol=1e-11)


def test_means_of_another_kind_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"means must have shape \[3, 5\]"):
        measure(linear_model(), [(torch.zeros(3, 6).double(), torch.arange(3))], means=torch.zeros(3, 4))
    one, other = (ClassMoments(2, 3, means=torch.full((2, 3), float(value))) for value in (0, 1))
    for second in (other, ClassMoments(2, 3)):
        with pytest.raises(ValueError, match="about the same given means"):
            one.merge(second)
    with pytest.raises(ValueError, match="no bias to correct"):
        few_sample_nc1(one)
    with without_checks(), pytest.raises(TypeError, match="moments must be a ClassMoments"):
        few_sample_nc1(torch.zeros(2))


@pytest.mark.parametrize("power", [-400, -300, 300, 400])
def test_corrected_values_see_no_scale(power):
    _, H, labels = samples(3, [4, 3, 5], 4)
    one, other = ClassMoments(3, 4), ClassMoments(3, 4)
    one.update(H.T, labels)
    other.update(math.ldexp(1.0, power) * H.T, labels)
    expected, found = few_sample_nc1(one), few_sample_nc1(other)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-10, atol=0, msg=key)
