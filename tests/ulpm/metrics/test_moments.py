import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_oracle import assert_close, exact, relative_errors, samples
from runtime_checks import without_checks

from ulpm.metrics import ClassMoments, neural_collapse, neural_collapse_from_moments

CENTERS = ("classes", "samples")


def streamed(H, labels, K, rng, parts=3):
    """Moments of H [d, N] cut into random chunks, which random workers accumulate and merge in random order."""
    workers = [ClassMoments(K, H.shape[0]) for _ in range(parts)]
    cuts = np.sort(rng.integers(0, H.shape[1] + 1, size=4))  # equal cuts make empty batches
    for chunk in np.split(rng.permutation(H.shape[1]), cuts):
        workers[rng.integers(parts)].update(H.T[chunk], labels[chunk])
    total = workers[0]
    for worker in workers[1:]:
        total.merge(worker)
    return total


def direct(W, H, labels, center):
    metrics = neural_collapse(W, H, labels, center=center)
    del metrics["nc1_distance"], metrics["nc4_mismatch"]
    return metrics


@given(st.integers(0, 2**32 - 1), st.sampled_from(CENTERS))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_streamed_metrics_equal_the_direct_ones(seed, center):
    W, H, labels = samples(seed, [7, 3, 1, 5], 6, norm=3.0)
    moments = streamed(H, labels, 4, np.random.default_rng(seed))
    assert_close(neural_collapse_from_moments(moments, W, center), direct(W, H, labels, center), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize("norm", [1.0, 1e3])
@pytest.mark.parametrize("seed", range(4))
def test_collapsed_features_are_streamed_as_in_exact_arithmetic(seed, norm, center):
    W, H, labels = samples(seed, [5, 2, 4], 4, collapse=1e-9, norm=norm)
    reference = exact(W, H, labels, center)
    moments = streamed(H, labels, 3, np.random.default_rng(seed))
    errors = relative_errors(neural_collapse_from_moments(moments, W, center), reference)
    assert max(errors.values()) < 1e-12, errors
    errors = relative_errors(direct(W, H, labels, center), reference)
    assert max(errors.values()) < 1e-12, errors


def test_a_reference_sample_far_from_its_class_costs_at_most_a_few_digits():
    W, H, labels = samples(1, [50, 20, 30], 3, collapse=1e-9)
    order = labels.argsort()
    H, labels = H[:, order], labels[order]
    H[:, 0] += 1.0  # the first sample of class 0, hence its reference, is an outlier
    moments = ClassMoments(3, 3)
    moments.update(H.T, labels)
    errors = relative_errors(neural_collapse_from_moments(moments, W), exact(W, H, labels))
    assert max(errors.values()) < 1e-13, errors


def test_the_statistics_are_those_of_numpy():
    _, H, labels = samples(2, [7, 3, 1], 5)
    moments = streamed(H, labels, 3, np.random.default_rng(2))
    h, y = H.numpy().T, labels.numpy()
    means = np.stack([h[y == k].mean(0) for k in range(3)])
    traces = [np.trace(np.atleast_2d(np.cov(h[y == k].T, bias=True))) if (y == k).sum() > 1 else 0.0 for k in range(3)]
    np.testing.assert_array_equal(moments.counts, [7, 3, 1])
    np.testing.assert_allclose(moments.class_means(), means, rtol=1e-12)
    np.testing.assert_allclose(moments.within_traces(), traces, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(
        moments.within_covariance(), (h - means[y]).T @ (h - means[y]) / 11, rtol=1e-11, atol=1e-15
    )


def test_equal_samples_have_variance_zero_and_not_a_rounding_error():
    moments, other = ClassMoments(2, 3), ClassMoments(2, 3)
    h = torch.tensor([[0.1, 0.7, 1e5], [0.3, -0.1, 3.3]])
    for part in (moments, other):
        part.update(h.repeat(7, 1), torch.tensor([0, 1]).repeat(7))
    moments.merge(other)
    assert torch.equal(moments.class_means(), h.double())
    assert not moments.within_traces().any()
    assert not moments.within_covariance().any()


def test_float32_batches_are_accumulated_in_float64():
    _, H, labels = samples(3, [40, 60], 5, collapse=1e-6, norm=100.0)
    single, double = ClassMoments(2, 5), ClassMoments(2, 5)
    single.update(H.T.float(), labels)
    double.update(H.T.float().double(), labels)
    assert torch.equal(single.within_covariance(), double.within_covariance())
    assert torch.equal(single.class_means(), double.class_means())


def test_accumulation_is_detached_and_leaves_its_input_and_the_merged_part_alone():
    _, H, labels = samples(4, [3, 3], 4)
    h, before = H.T.clone().requires_grad_(), H.T.clone()
    moments, other = ClassMoments(2, 4), ClassMoments(2, 4)
    moments.update(h, labels)
    other.update(h.detach() + 1, labels)
    covariance = other.within_covariance()
    moments.merge(other)
    assert not moments.within_covariance().requires_grad
    assert torch.equal(h.detach(), before)
    assert torch.equal(other.within_covariance(), covariance)
    moments.update(h, labels)
    assert torch.equal(other.within_covariance(), covariance)


def test_merging_with_itself_counts_every_sample_twice():
    _, H, labels = samples(5, [3, 4], 4)
    moments = ClassMoments(2, 4)
    moments.update(H.T, labels)
    covariance = moments.within_covariance()
    moments.merge(moments)
    assert moments.counts.tolist() == [6, 8]
    torch.testing.assert_close(moments.within_covariance(), covariance, rtol=1e-13, atol=1e-15)


def test_an_empty_batch_and_a_class_absent_from_one_part_are_legal():
    W, H, labels = samples(6, [4, 3, 2], 5)
    parts = [ClassMoments(3, 5) for _ in range(3)]
    for k, part in enumerate(parts):
        part.update(H.T[labels == k], labels[labels == k])
        part.update(H.T[:0], labels[:0])
    with pytest.raises(ValueError, match="classes 1, 2 has none"):
        parts[0].within_traces()
    with pytest.raises(ValueError, match="classes 0, 2 has none"):
        neural_collapse_from_moments(parts[1], W)
    parts[0].merge(ClassMoments(3, 5))
    for part in parts[1:]:
        parts[0].merge(part)
    metrics = neural_collapse_from_moments(parts[0], W)
    assert_close(metrics, direct(W, H, labels, "classes"), rtol=1e-12)


@pytest.mark.parametrize(
    ("h", "y", "error", "message"),
    [
        (torch.zeros(2, 4), torch.tensor([0, 1]), ValueError, r"h must have shape \[B, 3\]"),
        (torch.zeros(3), torch.tensor([0]), ValueError, r"h must have shape \[B, 3\]"),
        (torch.zeros(2, 3), torch.tensor([0, 2]), ValueError, "y must lie in 0 … 1"),
        (torch.zeros(2, 3), torch.tensor([0]), ValueError, "y must have shape"),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), TypeError, "y must be a tensor of integers"),
        (torch.zeros(2, 3).long(), torch.tensor([0, 1]), TypeError, "h must have dtype"),
        (torch.full((2, 3), torch.nan), torch.tensor([0, 1]), ValueError, "h must be finite"),
    ],
)
def test_a_wrong_batch_is_refused_and_nothing_is_counted(h, y, error, message):
    moments = ClassMoments(2, 3)
    with without_checks(), pytest.raises(error, match=message):
        moments.update(h, y)
    assert not moments.counts.any()


def test_only_moments_of_equal_sizes_are_merged():
    with pytest.raises(ValueError, match=r"\[2, 3\] and \[2, 4\]"):
        ClassMoments(2, 3).merge(ClassMoments(2, 4))
    with pytest.raises(ValueError, match=r"\[2, 3\] and \[3, 3\]"):
        ClassMoments(2, 3).merge(ClassMoments(3, 3))
    with without_checks(), pytest.raises(TypeError, match="other must be a ClassMoments"):
        ClassMoments(2, 3).merge(torch.zeros(2, 3))


def test_impossible_sizes_and_devices_are_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        ClassMoments(1, 3)
    with pytest.raises(ValueError, match="feature_dim must be at least 1"):
        ClassMoments(2, 0)
    with pytest.raises(ValueError, match="device 'abacus' is not available"):
        ClassMoments(2, 3, "abacus")


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_deviations_from_class_means_are_exact_whatever_the_labels_are_counted_in(dtype):
    _, H, labels = samples(3, [4, 3, 5], 4, collapse=1e-9)
    moments = ClassMoments(3, 4)
    moments.update(H.T, labels)
    means = torch.stack([H[:, labels == k].mean(1) for k in range(3)])
    deviations = moments.centered(H.T, labels.to(dtype))
    torch.testing.assert_close(deviations, H.T - means[labels], rtol=0, atol=1e-15)
    assert float(deviations.norm()) < 1e-7
    with pytest.raises(ValueError, match="y must lie in"):
        moments.centered(H.T, labels - 1)


def test_deviations_of_features_that_are_none_of_these_are_refused():
    _, H, labels = samples(3, [4, 3, 5], 4)
    moments = ClassMoments(3, 4)
    moments.update(H.T, labels)
    with pytest.raises(ValueError, match=r"h must have shape \[B, 4\], one sample a row, but its shape is \[12, 1\]"):
        moments.centered(H[:1].T, labels)
    with pytest.raises(ValueError, match="h must be finite"):
        moments.centered(torch.full_like(H.T, torch.nan), labels)


def test_features_that_are_a_negated_view_are_read_as_their_numbers():
    """torch keeps the imaginary part of a conjugate as the original, to be negated when it is read."""
    z = torch.randn(6, 3, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    z.imag.copy_(z.imag.to(torch.bfloat16))  # so that the grid of the format is kept, too
    view, labels = torch.imag(z.conj()), torch.arange(2).repeat(3)
    assert view.is_neg()
    found, want = ClassMoments(2, 3), ClassMoments(2, 3)
    found.update(view, labels)
    want.update(-z.imag.clone(), labels)
    assert found.bits == want.bits
    assert torch.equal(found.scatter, want.scatter)
    assert found.grid is not None
    assert want.grid is not None
    assert torch.equal(found.grid.powers, want.grid.powers)
