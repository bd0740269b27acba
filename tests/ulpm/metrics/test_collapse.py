import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_oracle import (
    ALL_BUT_NC4,
    assert_close,
    exact,
    literal,
    relative_errors,
    samples,
)
from runtime_checks import without_checks

from ulpm.metrics import METRICS, ClassMoments, neural_collapse, neural_collapse_from_moments

CENTERS = ("classes", "samples")
examples = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
class_counts = st.lists(st.integers(1, 6), min_size=2, max_size=5)
dims = st.integers(1, 7)
# Some values are exact zeros (the angles of K = 2), and random class means may be close to each other.
ROUNDING = 1e-11


def etf_columns(K, d, seed=0):
    """A simplex ETF [d, K] with unit columns, randomly rotated."""
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, K)))[0]
    return torch.tensor(rotation @ (np.eye(K) - 1 / K) * math.sqrt(K / (K - 1)))


@given(seeds, class_counts, dims, st.sampled_from(CENTERS))
@examples
def test_every_metric_equals_the_literal_formula(seed, counts, d, center):
    W, H, labels = samples(seed, counts, d)
    bias = torch.tensor(np.random.default_rng(seed).standard_normal(len(counts)))
    reference = literal(W, H, labels, bias, center)
    assert_close(neural_collapse(W, H, labels, bias, center), reference, rtol=1e-7, atol=ROUNDING)


@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize("norm", [1.0, 30.0, 1e3])
@pytest.mark.parametrize("collapse", [1e-1, 1e-5, 1e-9])
def test_collapsed_features_are_measured_as_in_exact_arithmetic(collapse, norm, center):
    W, H, labels = samples(3, [4, 2, 3], 4, collapse, norm)
    errors = relative_errors(neural_collapse(W, H, labels, center=center), exact(W, H, labels, center))
    assert max(errors.values()) < 1e-13, errors


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_a_common_offset_of_collapsed_features_costs_no_digits(offset):
    W, H, labels = samples(4, [4, 2, 3], 4, collapse=1e-5, offset=offset)
    errors = relative_errors(neural_collapse(W, H, labels), exact(W, H, labels))
    assert max(errors.values()) < 1e-13, errors


def test_variance_orthogonal_to_the_means_does_not_hide_the_variance_along_them():
    rng = np.random.default_rng(5)
    labels = torch.arange(12) % 3
    means = torch.tensor(np.vstack([rng.standard_normal((2, 3)), np.zeros((2, 3))]))
    size = np.array([[1e-9], [1e-9], [1.0], [1.0]])
    H = means[:, labels] + torch.tensor(size * rng.standard_normal((4, 12)))
    # The frozen part must not move the class means: pair each sample with its mirror image.
    H = torch.cat([H, torch.cat([H[:2], -H[2:]])], dim=1)
    labels = torch.cat([labels, labels])
    W = torch.tensor(rng.standard_normal((3, 4)))
    reference = exact(W, H, labels)
    assert reference["nc1_pinv"] < 1e-16 < 1e-3 < reference["nc1_ratio"]
    errors = relative_errors(neural_collapse(W, H, labels), reference)
    assert errors["nc1_pinv"] < 1e-6, errors


@pytest.mark.parametrize(("K", "d"), [(2, 1), (3, 2), (4, 4), (10, 64)])
def test_a_simplex_etf_has_collapsed_in_every_metric(K, d):
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((d, d)))[0]
    vertices = np.linalg.qr(np.eye(K) - 1 / K)[0][:, : K - 1].T @ (np.eye(K) - 1 / K)
    etf = torch.tensor(rotation[:, : K - 1] @ vertices)
    labels = torch.arange(3 * K) % K
    metrics = neural_collapse(2.0 * etf.T, 5.0 * etf[:, labels], labels, bias=torch.zeros(K, dtype=torch.float64))
    assert metrics["nc1_pinv"] == metrics["nc1_ratio"] == metrics["nc1_cdnv"] == metrics["nc4_mismatch"] == 0.0
    assert max(metrics.values()) < 2e-15


def test_many_classes_do_not_raise_the_rounding_floor():
    etf = torch.eye(300, dtype=torch.float64) - 1 / 300
    assert max(neural_collapse(etf, etf, torch.arange(300)).values()) < 1e-14


def test_nc3_product_is_blind_to_stretching_and_nc3_difference_is_not():
    etf = etf_columns(4, 4)
    stretch = torch.diag(torch.tensor([10.0, 1.0, 0.3, 1.0], dtype=torch.float64))
    labels = torch.arange(8) % 4
    metrics = neural_collapse(etf.T @ stretch.inverse(), (stretch @ etf)[:, labels], labels)
    assert metrics["nc3_product"] < 1e-14
    assert metrics["nc3_difference"] > 0.5


def test_rank_deficient_class_means_use_the_pseudo_inverse():
    rng = np.random.default_rng(6)
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    square = np.array([[1, 0, -1, 0], [0, 1, 0, -1]])  # four classes in a plane: rank 2 of 3
    labels = np.arange(40) % 4
    H = rotation[:, :2] @ square[:, labels] + 1e-2 * np.tile(rng.standard_normal((6, 20)), 2) * np.repeat([1, -1], 20)
    W = rng.standard_normal((4, 6))
    metrics = neural_collapse(*map(torch.tensor, (W, H, labels)))
    assert float(metrics["nc1_pinv"]) == pytest.approx(literal(W, H, labels)["nc1_pinv"], rel=1e-9)


def test_nc4_counts_samples_where_nearest_mean_and_classifier_disagree():
    H = torch.tensor([[-0.2, 0.2, 1.0, 1.2]], dtype=torch.float64)  # means 0 and 1.1, boundary 0.55
    labels = torch.tensor([0, 0, 1, 1])
    W = torch.tensor([[0.0], [1.0]], dtype=torch.float64)  # class 1 where h + b₁ > 0
    for threshold, share in [(0.55, 0.0), (1.1, 0.25), (0.1, 0.25), (-1.0, 0.5), (2.0, 0.5)]:
        bias = torch.tensor([0.0, -threshold], dtype=torch.float64)
        assert float(neural_collapse(W, H, labels, bias)["nc4_mismatch"]) == share
    assert float(neural_collapse(W, H, labels)["nc4_mismatch"]) == 0.25  # 0.2 > 0 is given to class 1


@given(seeds, class_counts, dims)
@examples
def test_rotating_the_feature_space_changes_nothing(seed, counts, d):
    W, H, labels = samples(seed, counts, d, offset=0.5)
    rotation = torch.tensor(np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0])
    rotated = neural_collapse(W @ rotation.T, rotation @ H, labels)
    assert_close(rotated, neural_collapse(W, H, labels), rtol=1e-7, atol=ROUNDING)


@given(seeds, class_counts, dims, st.sampled_from(CENTERS))
@examples
def test_renaming_the_classes_changes_nothing(seed, counts, d, center):
    W, H, labels = samples(seed, counts, d)
    new = torch.tensor(np.random.default_rng(seed).permutation(len(counts)))  # class k becomes new[k]
    renamed = neural_collapse(W[new.argsort()], H, new[labels], center=center)
    assert_close(renamed, neural_collapse(W, H, labels, center=center), rtol=1e-7, atol=ROUNDING)


@given(seeds, class_counts, dims)
@examples
def test_the_order_of_the_samples_does_not_matter(seed, counts, d):
    W, H, labels = samples(seed, counts, d)
    order = torch.tensor(np.random.default_rng(seed).permutation(len(labels)))
    assert_close(
        neural_collapse(W, H[:, order], labels[order]), neural_collapse(W, H, labels), rtol=1e-7, atol=ROUNDING
    )


@given(seeds, class_counts, dims)
@examples
def test_a_batch_of_replicas_equals_a_loop_over_them(seed, counts, d):
    W, H, labels = samples(seed, counts, d, replicas=(2, 3))
    bias = torch.tensor(np.random.default_rng(seed).standard_normal((2, 3, len(counts))))
    batched = neural_collapse(W, H, labels, bias)
    assert set(batched) == set(METRICS)
    for index in np.ndindex(2, 3):
        single = neural_collapse(W[index], H[index], labels, bias[index])
        assert_close({key: value[index] for key, value in batched.items()}, single, rtol=1e-10, atol=1e-14)


@given(seeds, class_counts, dims, st.integers(-(2**20), 2**20))
@examples
def test_translating_the_features_leaves_the_metrics_of_the_means_unchanged(seed, counts, d, offset):
    W, H, labels = samples(seed, counts, d)
    H = (H * 2**20).round() / 2**20  # so that the translation is exact
    moved, still = neural_collapse(W, H + offset, labels), neural_collapse(W, H, labels)
    keys = [key for key in METRICS if key.startswith("nc1") or key.endswith("_means")]
    assert_close({k: moved[k] for k in keys}, {k: still[k] for k in keys}, rtol=1e-9, atol=ROUNDING)


@given(seeds, class_counts, dims, st.integers(-40, 40), st.integers(-40, 40))
@examples
def test_scaling_by_powers_of_two_changes_not_one_bit(seed, counts, d, a, b):
    W, H, labels = samples(seed, counts, d)
    assert_close(neural_collapse(W * 2.0**a, H * 2.0**b, labels), neural_collapse(W, H, labels), rtol=0.0)


@pytest.mark.parametrize("collapse", [1.0, 1e-7])
def test_float32_input_is_measured_like_the_same_numbers_in_float64(collapse):
    W, H, labels = samples(7, [5, 3, 4], 6, collapse, norm=10.0)
    W, H = W.float(), H.float()
    bias = torch.linspace(-1, 1, 3)
    metrics = neural_collapse(W, H, labels, bias)
    assert all(value.dtype == torch.float64 and value.shape == () for value in metrics.values())
    assert_close(metrics, neural_collapse(W.double(), H.double(), labels, bias.double()), rtol=0.0)


def test_the_two_centres_differ_exactly_when_the_classes_are_unbalanced():
    W, H, labels = samples(8, [4, 4, 4], 5)
    assert_close(neural_collapse(W, H, labels, center="samples"), neural_collapse(W, H, labels), rtol=0.0)
    W, H, labels = samples(8, [9, 2, 1], 5)
    by_sample, by_class = neural_collapse(W, H, labels, center="samples"), neural_collapse(W, H, labels)
    independent = {"nc0", "nc1_cdnv", "nc1_distance"} | {key for key in METRICS if "_classifier" in key}
    for key in ALL_BUT_NC4:
        assert (by_sample[key] == by_class[key]) == (key in independent), key


def test_one_sample_a_class_has_no_within_class_variance():
    W, H, labels = samples(9, [1, 1, 1], 4)
    metrics = neural_collapse(W, H, labels)
    assert metrics["nc1_pinv"] == metrics["nc1_ratio"] == metrics["nc1_cdnv"] == 0.0
    assert all(bool(value.isfinite()) for value in metrics.values())


def test_the_input_is_left_alone_and_needs_no_gradient():
    W, H, labels = samples(10, [3, 2], 4)
    before = W.clone(), H.clone(), labels.clone()
    metrics = neural_collapse(W.requires_grad_(), H.requires_grad_(), labels)
    assert not any(value.requires_grad for value in metrics.values())
    assert torch.equal(W, before[0])
    assert torch.equal(H, before[1])
    assert torch.equal(labels, before[2])


W0, H0, LABELS0 = samples(11, [2, 2, 2], 4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"labels": torch.tensor([0, 0, 0, 2, 2, 2])}, ValueError, "class 1 has none"),
        ({"labels": torch.zeros(6, dtype=torch.int64)}, ValueError, "classes 1, 2 has none"),
        ({"labels": torch.tensor([0, 0, 1, 1, 2, 3])}, ValueError, "labels must lie in 0 … 2"),
        ({"labels": LABELS0[:5]}, ValueError, "labels must have shape"),
        ({"labels": LABELS0.double()}, TypeError, "labels must be a tensor of integers"),
        ({"W": W0[:1]}, ValueError, "at least two classes"),
        ({"W": W0.long()}, TypeError, "W must have dtype"),
        ({"W": W0.numpy()}, TypeError, "W must be a torch tensor"),
        ({"W": W0 * math.nan}, ValueError, "W must be finite"),
        ({"W": W0[0]}, ValueError, "W must have shape"),
        ({"W": W0.expand(2, 3, 4)}, ValueError, "same leading axes"),
        ({"H": H0 / 0.0}, ValueError, "H must be finite"),
        ({"H": H0[:3]}, ValueError, "H must have shape"),
        ({"H": H0.half()}, TypeError, "H must have dtype"),
        ({"bias": torch.zeros(2)}, ValueError, "bias must have shape"),
        ({"bias": torch.zeros(2, 3)}, ValueError, "bias must have shape"),
        ({"bias": torch.zeros(3, dtype=torch.int64)}, TypeError, "bias must have dtype"),
        ({"center": "global"}, ValueError, "center must be 'classes' or 'samples'"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_sentence(arguments, error, message):
    with without_checks(), pytest.raises(error, match=message):
        neural_collapse(**({"W": W0, "H": H0, "labels": LABELS0} | arguments))


def test_moments_are_refused_with_a_classifier_of_another_size():
    moments = ClassMoments(3, 4)
    moments.update(H0.T, LABELS0)
    for W in (W0[:2], W0[:, :3], W0.expand(2, 3, 4)):
        with without_checks(), pytest.raises(ValueError, match=r"W must have shape \[3, 4\] like the moments"):
            neural_collapse_from_moments(moments, W)
    with without_checks(), pytest.raises(TypeError, match="moments must be a ClassMoments"):
        neural_collapse_from_moments(H0, W0)
    with without_checks(), pytest.raises(ValueError, match="center must be"):
        neural_collapse_from_moments(moments, W0, center="mean")
