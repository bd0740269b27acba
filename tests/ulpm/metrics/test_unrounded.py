"""nc1 of features before they were rounded to bfloat16 or float16: float64 features are the oracle."""

import math

import pytest
import torch
from metrics_oracle import literal
from runtime_checks import without_checks

from ulpm.metrics import (
    METRICS,
    ClassMoments,
    measure,
    neural_collapse,
    neural_collapse_from_moments,
    unrounded_nc1,
)

KEYS = ("nc1_ratio", "nc1_cdnv", "nc1_pinv")
KINDS = ("normal", "relu", "low rank", "powers of two", "half constant", "one block a class")
# Spreads of equally many units of rounding: the machine epsilon of float16 is 8 times smaller.
UNIT = {torch.bfloat16: 1.0, torch.float16: 1 / 8}


def drawn(counts, d, spread, seed, kind="normal"):
    """Features [N, d] in float64, class by class, and labels."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64)

    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    means, noise = normal(len(counts), d), spread * normal(len(labels), d)
    if kind == "low rank":
        noise = noise[:, :3] @ normal(3, d) / math.sqrt(3)
    if kind == "powers of two":
        means[:, ::2] = means[:, ::2].sign()
    if kind == "half constant":
        noise[:, ::2] = 0.0
    if kind == "one block a class":
        noise = torch.where(torch.arange(d) % len(counts) == labels[:, None], noise, 0.0)
    features = means[labels] + noise
    return (features.relu() if kind == "relu" else features), labels


def moments_of(features, labels):
    moments = ClassMoments(int(labels.max()) + 1, features.shape[1])
    moments.update(features, labels)
    return moments


def values(features, labels, center="classes"):
    """The three keys of neural_collapse."""
    W = torch.zeros(int(labels.max()) + 1, features.shape[1], dtype=torch.float64)
    found = neural_collapse(W, features.T, labels, center=center)
    return torch.stack([found[key] for key in KEYS])


def unrounded(moments, center="classes"):
    found = unrounded_nc1(moments, center)
    assert tuple(found) == tuple(f"{key}_unrounded" for key in KEYS)
    return torch.stack(list(found.values()))


def errors(dtype, counts, d, spread, kind="normal", seeds=range(8), center="classes"):
    """Relative errors [seeds, 3] of corrected values and of plain ones."""
    corrected, plain = [], []
    for seed in seeds:
        features, labels = drawn(counts, d, spread * UNIT[dtype], seed, kind)
        rounded = features.to(dtype).double()
        exact = values(features, labels, center)
        corrected.append(unrounded(moments_of(rounded, labels), center) / exact - 1)
        plain.append(values(rounded, labels, center) / exact - 1)
    return torch.stack(corrected), torch.stack(plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("spread", "read"), [(1e-1, 2e-4), (3e-2, 2.5e-3), (2e-2, 6e-3), (1e-2, 0.025)])
def test_of_many_samples_traces_are_right_to_a_thousandth_down_to_a_spread_of_a_hundredth(dtype, spread, read):
    corrected, plain = errors(dtype, [500] * 10, 128, spread, seeds=range(3))
    assert plain[:, :2].min() > read
    assert corrected[:, :2].abs().max() < 1e-3
    # K − 1 of 128 directions: √14 times as much of the random part.
    assert corrected[:, 2].abs().max() < 4e-3


@pytest.mark.parametrize(
    ("dtype", "counts", "d"),
    [
        (torch.bfloat16, [50] * 10, 64),
        (torch.float16, [50] * 10, 64),
        (torch.bfloat16, [90, 60, 40, 10], 96),
        (torch.bfloat16, [5] * 3, 256),
        (torch.float16, [3, 2], 4),
    ],
)
def test_a_value_is_right_to_a_hundredth_or_nan_whatever_the_spread(dtype, counts, d):
    given = []
    for kind in KINDS:
        for spread in (1e-1, 3e-2, 1e-2, 2e-3):
            corrected, _ = errors(dtype, counts, d, spread, kind, seeds=range(2))
            assert corrected.isnan().all() or spread > 2e-3, (kind, spread, corrected)
            given += corrected[corrected.isfinite()].abs().tolist()
    # A hundredth is two standard deviations of the random part.
    assert max(given, default=0.0) < 0.015
    assert sum(error > 0.01 for error in given) <= 0.05 * len(given)
    assert len(given) > 40 or d == 4


@pytest.mark.parametrize("center", ["classes", "samples"])
def test_what_is_removed_is_the_mean_of_what_rounding_adds(center):
    corrected, plain = errors(torch.bfloat16, [2000, 900, 1500], 16, 0.025, seeds=range(30), center=center)
    assert corrected.isfinite().all()
    standard_error = corrected.std(0) / math.sqrt(30)
    assert (corrected.mean(0).abs() < 3 * standard_error + 2e-4).all()
    assert (plain.mean(0) > 0.003).all()


def test_the_correction_is_a_twelfth_of_squared_spacings_written_out():
    features, labels = drawn([300, 200, 250], 8, 0.1, 0)
    rounded = features.bfloat16()
    # The distance to the next larger number.
    spacing = torch.nextafter(rounded.abs(), torch.full_like(rounded, torch.inf)).double() - rounded.abs().double()
    h = rounded.double()
    counts = torch.bincount(labels).double()
    own = torch.stack([(spacing[labels == k].square() / 12).mean(0) * (1 - 1 / counts[k]) for k in range(3)])
    assert (own > 0).all()
    mu = torch.stack([h[labels == k].mean(0) for k in range(3)])
    M = (mu - mu.mean(0)).T
    squares = torch.cdist(mu, mu).square()
    pairs = [(own[j].sum() + own[k].sum()) / (2 * squares[j, k]) for j, k in ((0, 1), (0, 2), (1, 2))]
    pooled = torch.diag(counts / 750 @ own)
    less = [
        pooled.trace() / (M.square().sum() / 3),
        sum(pairs) / 3,
        torch.trace(pooled @ torch.linalg.pinv(M @ M.T, rtol=1e-10)),
    ]
    plain = literal(torch.randn(3, 8, dtype=torch.float64), h.T, labels)
    expected = [plain[key] - float(value) for key, value in zip(KEYS, less, strict=True)]
    torch.testing.assert_close(unrounded(moments_of(h, labels)).tolist(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_in_float32_and_float64_are_read_as_they_are(dtype):
    for spread in (1.0, 1e-3, 1e-6):
        features, labels = drawn([20, 30], 5, spread, 0)
        moments = moments_of(features.to(dtype), labels)
        plain = neural_collapse_from_moments(moments, torch.zeros(2, 5))
        assert {key: float(plain[key]) for key in KEYS} == dict(zip(KEYS, unrounded(moments).tolist(), strict=True))


def test_one_sample_in_float32_says_that_all_are():
    features, labels = drawn([20, 30], 5, 0.01, 0)
    moments = moments_of(features.bfloat16().float(), labels)
    moments.update(features[:1].float(), labels[:1])
    plain = neural_collapse_from_moments(moments, torch.zeros(2, 5))
    assert unrounded(moments).tolist() == [float(plain[key]) for key in KEYS]


def test_few_digits_are_exact_and_equal_features_in_bfloat16_are_not_resolved():
    labels = torch.arange(3).repeat_interleave(4)
    assert unrounded(moments_of(torch.eye(3)[labels], labels)).tolist() == [0.0, 0.0, 0.0]
    assert unrounded(moments_of(torch.eye(3)[labels] * 1.5703125, labels)).isnan().all()


def test_equal_class_means_are_as_in_the_plain_metrics():
    labels = torch.arange(2).repeat_interleave(2)
    moments = moments_of(torch.tensor([[1.5703125], [-1.5703125]] * 2), labels)
    plain = neural_collapse_from_moments(moments, torch.zeros(2, 1))
    assert unrounded(moments)[:2].tolist() == [math.inf, math.inf] == [float(plain[key]) for key in KEYS[:2]]
    assert math.isnan(plain["nc1_pinv"])
    assert math.isnan(unrounded(moments)[2])


def test_a_direction_of_class_means_that_rounding_hides_is_not_taken_for_none():
    """The third mean lies between the others but for a thousandth, which makes nearly all of nc1_pinv."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat_interleave(500)
    centres = torch.tensor([[1.6, 1.6, 1.6], [-1.6, 1.6, 1.6], [0.3, 1.6, 1.601]], dtype=torch.float64)
    features = centres[labels] + 0.03 * torch.randn(1500, 3, generator=generator, dtype=torch.float64)
    rounded = moments_of(features.bfloat16().float(), labels)
    exact = values(features, labels)
    plain = neural_collapse_from_moments(rounded, torch.zeros(3, 3))
    assert float(plain["nc1_pinv"]) < 0.01 * float(exact[2])
    found = unrounded(rounded)
    assert found[:2].isfinite().all()
    assert found[2].isnan()


def test_parts_merge_into_the_whole_and_absent_classes_are_left_out():
    features, labels = drawn([400, 500, 600], 24, 0.05, 1)
    rounded, order = features.bfloat16(), torch.randperm(1500, generator=torch.Generator().manual_seed(2))
    parts = [ClassMoments(4, 24) for _ in range(3)]
    for part, rows in zip(parts, order.split(600), strict=True):
        for batch in rows.split(250):
            part.update(rounded[batch].float(), labels[batch])
    parts[2].merge(parts[0])
    parts[2].merge(ClassMoments(4, 24))
    empty = ClassMoments(4, 24)
    empty.merge(parts[1])
    empty.merge(parts[2])
    found = unrounded(empty.without_absent())
    torch.testing.assert_close(found, unrounded(moments_of(rounded.float(), labels)), rtol=1e-11, atol=0)
    assert found.isfinite().all()


def test_moments_that_were_put_together_without_a_grid_leave_the_values_unresolved():
    features, labels = drawn([400, 500, 600], 24, 0.05, 1)
    whole, part = (moments_of(features.bfloat16().float(), labels) for _ in range(2))
    part.grid = None
    assert unrounded(part).isnan().all()
    whole.merge(part)
    assert unrounded(whole).isnan().all()


def test_many_classes_are_as_few(monkeypatch):
    """A batch that touches few of many classes takes another way."""
    features, labels = drawn([400, 500, 600], 24, 0.05, 1)
    expected = unrounded(moments_of(features.bfloat16().float(), labels))
    monkeypatch.setattr("ulpm.metrics.moments.LARGEST", 10)
    torch.testing.assert_close(unrounded(moments_of(features.bfloat16().float(), labels)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("power", [-400, -100, 100, 400])
def test_corrected_values_see_no_scale(power):
    features, labels = drawn([400, 500, 600], 24, 0.05, 1)
    rounded = features.bfloat16().double()
    found = unrounded(moments_of(math.ldexp(1.0, power) * rounded, labels))
    torch.testing.assert_close(found, unrounded(moments_of(rounded, labels)), rtol=1e-11, atol=0)


@pytest.mark.parametrize("exponent", [-16, -14, -12])
def test_small_numbers_of_float16_are_equally_spaced(exponent):
    size, given = 2.0**exponent, []
    for spacings in (0.3, 1.0, 2.0, 4.0, 8.0):
        features, labels = drawn([500] * 10, 64, spacings * 2.0**-24 / size, 0)
        rounded = (size * features).half()
        error = unrounded(moments_of(rounded.float(), labels)) / values(size * features, labels) - 1
        given += error[error.isfinite()].abs().tolist()
    assert max(given) < 0.01
    assert len(given) >= 3


def test_measure_gives_the_values_of_a_network_in_bfloat16():
    features, labels = drawn([60] * 4, 256, 0.01, 3)
    head = torch.nn.Linear(256, 4, dtype=torch.bfloat16)
    model = torch.nn.Sequential(torch.nn.Identity(), head)
    found = measure(model, [(features.bfloat16(), labels)], corrected=True)
    assert tuple(found)[: len(METRICS)] == METRICS
    exact = values(features, labels)
    for i, key in enumerate(KEYS[:2]):
        assert float(found[key] / exact[i]) > 1.02
        assert float(found[f"{key}_unrounded"] / exact[i]) == pytest.approx(1, abs=5e-3)


def test_moments_of_another_kind_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="about the class means of their own samples"):
        unrounded_nc1(ClassMoments(2, 3, means=torch.zeros(2, 3)))
    with without_checks(), pytest.raises(TypeError, match="moments must be a ClassMoments"):
        unrounded_nc1(torch.zeros(2))
