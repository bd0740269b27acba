"""Where metrics are easily wrong: rank-deficient or equal class means, rounded features, close means, extreme sizes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_oracle import assert_close, exact, relative_errors, samples

from ulpm.metrics import METRICS, ClassMoments, measure, neural_collapse, neural_collapse_from_moments, tiles
from ulpm.metrics.precision import epsilon_of, format_bits, significant_bits

OF_MEANS = ("nc1_pinv", "nc2_norm_means", "nc2_angle_means", "nc2_etf_means", "nc3_difference", "nc3_duality")
HALVES = (torch.bfloat16, torch.float16)


def bottleneck(widths, classes, n, spread, dtype, seed=0):
    """A linear network in float64, its inputs and labels, all of them numbers of ``dtype``."""
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(a, b) for a, b in zip(widths, [*widths[1:], classes], strict=True)]
    model = torch.nn.Sequential(*layers).to(dtype).double()
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(classes).repeat_interleave(n)
    centres = torch.randn(classes, widths[0], generator=g, dtype=torch.float64)
    x = centres[y] + spread * torch.randn(len(y), widths[0], generator=g, dtype=torch.float64)
    return model, x.to(dtype).double(), y


def batches(x, y, size=64):
    return list(zip(x.split(size), y.split(size), strict=True))


@pytest.mark.parametrize("n", [2, 80])
@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize(
    ("widths", "classes"),
    [((4, 2, 8), 5), ((12, 4, 16), 10), ((12, 1, 16), 10), ((20, 3, 64, 64), 10), ((12, 4, 6), 10), ((9, 8, 64), 10)],
)
def test_a_bottleneck_in_float32_is_measured_as_in_float64(widths, classes, spread, n):
    """The network, its features, and its features after a conversion to float64, by every entry.

    Where the spread is 1e-4 of the centres, the network's own rounding to float32 is 1e-3 of it: there the double
    network says what comes out to 1e-2 only, and the same features by the known rank to 1e-3, as everywhere.
    """
    model, x, y = bottleneck(widths, classes, n, spread, torch.float32)
    expected = float(measure(model, batches(x, y))["nc1_pinv"])
    H = model[:-1](x).detach()
    assert literal_pinv(H, y, min(widths)) == pytest.approx(expected, rel=1e-6)
    W = model[-1].weight.detach()
    single = H.float()
    moments = ClassMoments(classes, H.shape[1])
    moments.update(single, y)
    rounded = literal_pinv(single.double(), y, min(widths))
    of_network = float(measure(model.float(), batches(x.float(), y))["nc1_pinv"])
    own = torch.cat([model[:-1](part).detach() for part, _ in batches(x.float(), y)]).double()
    assert of_network == pytest.approx(literal_pinv(own, y, min(widths)), rel=1e-3)
    found = [
        neural_collapse(W.float(), single.T, y)["nc1_pinv"],
        neural_collapse(W.double(), single.double().T, y)["nc1_pinv"],
        neural_collapse_from_moments(moments, W.double())["nc1_pinv"],
    ]
    assert [float(value) for value in found] == pytest.approx([rounded] * 3, rel=1e-3)
    assert [rounded, of_network] == pytest.approx([expected] * 2, rel=1e-3 if spread > 1e-3 else 1e-2)


def literal_pinv(H, y, rank):
    """tr(Σ_W Σ_B†)/K with a pseudo-inverse of known rank, from centred float64 features [N, d]."""
    h, y = H.numpy(), y.numpy()
    mu = np.stack([h[y == k].mean(0) for k in range(y.max() + 1)])
    deviations = h - mu[y]
    U, S, _ = np.linalg.svd((mu - mu.mean(0)).T, full_matrices=False)
    return sum(np.mean((deviations @ U[:, r]) ** 2) / S[r] ** 2 for r in range(min(rank, len(mu) - 1)))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(("widths", "classes"), [((4, 2, 8), 5), ((12, 4, 16), 10), ((12, 1, 16), 10)])
def test_a_bottleneck_in_half_precision_is_measured_to_its_own_accuracy(widths, classes, dtype):
    model, x, y = bottleneck(widths, classes, 300, 1.0, dtype)
    expected = float(measure(model, batches(x, y))["nc1_pinv"])
    H, W = model[:-1](x).detach().to(dtype), model[-1].weight.detach()
    moments = ClassMoments(classes, H.shape[1])
    moments.update(H.float(), y)
    found = [
        measure(model.to(dtype), batches(x.to(dtype), y))["nc1_pinv"],
        neural_collapse(W.float(), H.float().T, y)["nc1_pinv"],
        neural_collapse_from_moments(moments, W.double())["nc1_pinv"],
    ]
    assert [float(value) for value in found] == pytest.approx([expected] * 3, rel=1e-3)


def with_one_small_direction(size, dtype, n, seed=0, K=4, d=6):
    """Features of K classes whose means differ by ``size`` in one direction and by about 1 in all others."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    y = torch.arange(K).repeat_interleave(n)
    sizes = np.ones((d, 1))
    sizes[K - 2] = size
    means = sizes * np.eye(d)[:, :K] if size == 1 else sizes * rng.standard_normal((d, K))
    means[K - 1 :] = 0.0
    deviations = 0.3 * sizes * rng.standard_normal((d, K * n))
    H = torch.tensor(rotation @ (means[:, y.numpy()] + deviations)).to(dtype)
    return torch.tensor(rng.standard_normal((K, d))), H.double(), y


@pytest.mark.parametrize(
    ("size", "dtype", "n"),
    [
        *((1e-3, torch.float64, 2), (1e-6, torch.float64, 2), (1e-9, torch.float64, 5)),
        *((1e-2, torch.float32, 2), (1e-4, torch.float32, 2), (1e-5, torch.float32, 50), (1e-6, torch.float32, 400)),
        *((0.3, torch.bfloat16, 5), (3e-2, torch.bfloat16, 50), (1e-2, torch.bfloat16, 2000)),
        (1e-2, torch.float16, 10),
    ],
)
def test_a_small_direction_of_the_means_is_kept_while_rounding_does_not_explain_it(size, dtype, n):
    W, H, y = with_one_small_direction(size, dtype, n)
    assert float(neural_collapse(W, H, y)["nc1_pinv"]) == pytest.approx(literal_pinv(H.T, y, 3), rel=1e-5)
    assert literal_pinv(H.T, y, 3) > 1.02 * literal_pinv(H.T, y, 2)


@pytest.mark.parametrize("collapse", [1e-3, 1e-6, 1e-9])
def test_collapsed_features_in_float64_lose_no_direction(collapse):
    W, H, labels = samples(2, [4, 2, 3], 4, collapse)
    H[0] *= 1e-4
    errors = relative_errors(neural_collapse(W, H, labels), exact(W, H, labels))
    assert errors["nc1_pinv"] < 1e-8, errors


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_collinear_means_leave_one_direction(dtype):
    rng = np.random.default_rng(1)
    y = torch.arange(6).repeat_interleave(40)
    line, place = rng.standard_normal((5, 1)), rng.standard_normal(6)
    half = rng.standard_normal((5, 120)).reshape(5, 6, 20)
    noise = 0.1 * np.concatenate([half, -half], 2).reshape(5, 240)
    H = torch.tensor(line * place[y.numpy()] + noise)
    H = H.to(dtype).double()
    found = neural_collapse(torch.eye(6, 5, dtype=torch.float64), H, y)
    assert float(found["nc1_pinv"]) == pytest.approx(literal_pinv(H.T, y, 1), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_the_format_of_numbers_is_read_off_their_digits(dtype):
    values = torch.randn(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    assert epsilon_of(significant_bits(values)) == torch.finfo(dtype).eps
    assert significant_bits(values * 2.0**-3) == significant_bits(values)
    assert significant_bits(torch.tensor([0.0, 1.0, -0.75])) == 2
    assert significant_bits(torch.zeros(3)) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("fine", [0, 63, 64, 99, 6363, 6400, 9999])
def test_one_number_decides_the_format_of_many_wherever_it_is(dtype, fine):
    values = torch.linspace(1, 2, 10_000).to(torch.bfloat16).double()
    values[fine] = (torch.tensor(1.0, dtype=torch.float64) / 3).to(dtype)
    for shape in ((100, 100), (4, 50, 50)):
        whole = values.reshape(shape)
        assert epsilon_of(format_bits(whole)) == epsilon_of(significant_bits(whole)) == torch.finfo(dtype).eps


def test_numbers_written_by_hand_are_exact():
    """No direction of 1 and 2^-20 is lost, though bfloat16 holds both: it would round to more digits than these."""
    H = torch.tensor([[1.0, 1.0, -1.0, -1.0, 0.0, 0.0], [0, 0, 0, 0, 2.0**-20, 2.0**-19]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1, 2, 2])
    W = torch.eye(3, 2, dtype=torch.float64)
    assert float(neural_collapse(W, H, y)["nc1_pinv"]) == pytest.approx(literal_pinv(H.T, y, 2), rel=1e-12)


def test_equal_means_of_features_that_spread_are_no_collapse():
    H = torch.tensor([[1.0, -1.0, 2.0, -2.0], [0.3, -0.3, -0.3, 0.3]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1])
    found = neural_collapse(torch.eye(2, dtype=torch.float64), H, y)
    for key in (*OF_MEANS, "nc4_mismatch"):
        assert math.isnan(float(found[key])), key
    assert float(found["nc1_ratio"]) == float(found["nc1_cdnv"]) == math.inf
    assert float(found["nc1_distance"]) == 1.0


def constant(dtype, seed=0, K=4, n=20, d=8, by_class=False):
    """One vector for all samples, up to its rounding, which may differ from sample to sample or from class to class."""
    g = torch.Generator().manual_seed(seed)
    vector = torch.randn(d, 1, generator=g, dtype=torch.float64)
    noise = torch.rand(d, K if by_class else K * n, generator=g, dtype=torch.float64) - 0.5
    noise = noise.repeat_interleave(n, 1) if by_class else noise
    return (vector * (1 + torch.finfo(dtype).eps * noise)).to(dtype).double(), torch.arange(K).repeat_interleave(n)


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("seed", range(3))
def test_a_constant_embedding_is_no_collapse_though_its_samples_round_differently(seed, dtype, by_class):
    H, y = constant(dtype, seed, by_class=by_class)
    W = torch.randn(4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moments = ClassMoments(4, 8)
    moments.update(H.T, y)
    for found in (neural_collapse(W, H, y), neural_collapse_from_moments(moments, W)):
        for key in found:
            assert math.isnan(float(found[key])) == (key[:3] in ("nc1", "nc4") or key in (*OF_MEANS, "nc3_product")), (
                key
            )


@pytest.mark.parametrize("bias", [0.0, 0.37])
def test_a_network_of_dead_units_is_no_collapse(bias):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 6), torch.nn.Linear(6, 3))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
        model[2].bias.fill_(bias)
    found = measure(model, batches(torch.randn(60, 5), torch.arange(60) % 3, 7))
    assert tuple(found) == METRICS
    for key in METRICS:
        assert math.isnan(float(found[key])) == ("_classifier" not in key and key != "nc0"), key


def test_one_replica_of_equal_means_leaves_the_others_alone():
    W, H, labels = samples(3, [3, 4, 2], 5, replicas=(3,))
    H[1] = 0.7
    found = neural_collapse(W, H, labels)
    assert found["nc1_pinv"].isnan().tolist() == found["nc4_mismatch"].isnan().tolist() == [False, True, False]
    for b in (0, 2):
        alone = neural_collapse(W[b], H[b], labels)
        assert_close({key: value[b] for key, value in found.items()}, alone, rtol=1e-12, atol=1e-15)


def about(points, dtype, seed=0, n=6, spread=0.3):
    """Samples in pairs that lie opposite of class means [K, d], which rounding to ``dtype`` moves; labels."""
    g = torch.Generator().manual_seed(seed)
    half = spread * torch.randn(points.shape[1], len(points), n, generator=g, dtype=torch.float64)
    H = (points.mT[..., None] + torch.cat([half, -half], -1)).flatten(1)
    return H.to(dtype).double(), torch.arange(len(points)).repeat_interleave(2 * n)


def both_forms(W, H, y):
    moments = ClassMoments(*W.shape)
    moments.update(H.T, y)
    return neural_collapse(W, H, y, per_class=True), neural_collapse_from_moments(moments, W, per_class=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("d", [2, 7])
@pytest.mark.parametrize("seed", range(3))
def test_two_classes_of_one_mean_have_no_finite_variance_over_their_distance(seed, d, dtype):
    """Among five, with spread samples: 1e31 was read in float64, 1e13 in float32 and 1e3 in bfloat16."""
    points = torch.randn(5, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    points[3] = points[1]
    H, y = about(points, dtype, seed)
    for found in both_forms(torch.eye(5, d, dtype=torch.float64), H, y):
        assert float(found["nc1_cdnv"]) == math.inf
        assert found["nc1_cdnv_per_class"].isinf().tolist() == [False, True, False, True, False]
        assert math.isfinite(found["nc1_ratio"])


@pytest.mark.parametrize("classes", [5, 200])
def test_two_classes_of_one_mean_in_one_replica_leave_the_others_alone(classes):
    points = torch.randn(2, classes, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[1, 3] = points[1, 1]
    (H, y), (tied, _) = (about(each, torch.float64) for each in points)
    W = torch.randn(classes, 3, dtype=torch.float64)
    alone, found = neural_collapse(W, H, y), neural_collapse(torch.stack([W, W]), torch.stack([H, tied]), y)
    assert float(found["nc1_cdnv"][1]) == math.inf
    assert_close({key: value[0] for key, value in found.items()}, alone, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 4])
def test_close_classes_whose_samples_are_as_close_have_a_finite_variance_over_their_distance(dtype, n):
    """Rounding explains both: neither inf nor NaN follows."""
    points = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    epsilon = torch.finfo(dtype).eps
    points[3] = points[1] + epsilon * points[1].abs().max()
    g = torch.Generator().manual_seed(1)
    H = points.mT.repeat_interleave(n, 1)
    H = (H + 0.2 * epsilon * torch.randn(H.shape, generator=g, dtype=torch.float64)).to(dtype).double()
    y = torch.arange(5).repeat_interleave(n)
    for found in both_forms(torch.eye(5, 7, dtype=torch.float64), H, y):
        assert float(found["nc1_cdnv"]) == pytest.approx(exact(torch.eye(5, 7), H, y)["nc1_cdnv"], rel=1e-8)


@pytest.mark.parametrize("d", [2, 7])
@pytest.mark.parametrize("gap", [1e-2, 1e-5, 1e-8, 1e-11, 1e-13])
def test_classes_of_nearly_one_mean_have_the_variance_over_their_distance(gap, d):
    points = torch.randn(5, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[3] = points[1]
    points[3, 0] += gap
    H, y = about(points, torch.float64)
    v = [(H[:, y == k] - points[k][:, None]).square().sum(0).mean() for k in (1, 3)]
    for found in both_forms(torch.eye(5, d, dtype=torch.float64), H, y):
        expected = float(sum(v)) / (2 * gap**2) / 10
        assert float(found["nc1_cdnv"]) == pytest.approx(expected, rel=1e-14 / gap + 20 * gap)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("d", [2, 7])
@pytest.mark.parametrize("seed", range(3))
def test_a_class_mean_that_is_the_mean_of_all_has_no_direction(seed, d, dtype):
    """Rounding gave it one, and nc2_angle_means a number: 0.67 in one form and 0.71 in the other."""
    points = torch.randn(5, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    points[2] = points[[0, 1, 3, 4]].mean(0)
    H, y = about(points, dtype, seed)
    for found in both_forms(torch.eye(5, d, dtype=torch.float64), H, y):
        assert math.isnan(found["nc2_angle_means"])
        assert math.isnan(found["nc3_duality"])
        assert math.isfinite(found["nc1_cdnv"])
        assert float(found["nc2_norm_means_per_class"][2]) == -1.0


@pytest.mark.parametrize("d", [2, 7])
@pytest.mark.parametrize("off", [1e-3, 1e-6, 1e-9, 1e-12])
def test_a_class_mean_near_the_mean_of_all_keeps_its_direction(off, d):
    points = torch.randn(5, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[2] = points[[0, 1, 3, 4]].mean(0)
    points[2, 0] += off
    H, y = about(points, torch.float64)
    M = points.mT - points.mean(0)[:, None]
    units = M / M.norm(dim=0)
    units[:, 2] = torch.eye(d, dtype=torch.float64)[0]  # what is left is 0.8 times the first axis
    expected = (units.mT @ units + 0.25).abs().fill_diagonal_(0.0).sum() / 20
    for found in both_forms(torch.eye(5, d, dtype=torch.float64), H, y):
        assert float(found["nc2_angle_means"]) == pytest.approx(float(expected), rel=1e-14 / off + 1e-10)


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-8, 1e-10, 1e-12])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_samples_on_means_that_are_close_belong_to_them(gap, offset):
    H = torch.tensor([[1.0, 1.0 + gap, 0.0], [0.3, 0.3, 0.0]], dtype=torch.float64).repeat_interleave(3, 1) + offset
    labels = torch.arange(3).repeat_interleave(3)
    W = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    for predicted in range(3):
        bias = torch.eye(3, dtype=torch.float64)[predicted]
        assert float(neural_collapse(W, H, labels, bias)["nc4_mismatch"]) == pytest.approx(2 / 3)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3)).double()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    assert float(measure(model, [(H.T.clone(), labels)])["nc4_mismatch"]) == pytest.approx(2 / 3)


@given(st.integers(0, 2**32 - 1), st.floats(-11, -1))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_the_nearest_of_close_means_is_that_of_exact_arithmetic(seed, power):
    """Means in a cluster of size 10^power beside one far away, samples spread over the cluster."""
    from fractions import Fraction

    rng = np.random.default_rng(seed)
    K, d, n = 4, 3, 4
    centre = rng.standard_normal((d, 1))
    means = np.concatenate([centre + 10**power * rng.standard_normal((d, K - 1)), np.zeros((d, 1))], 1)
    labels = torch.arange(K).repeat_interleave(n)
    H = torch.tensor(means[:, labels.numpy()] + 10**power * rng.standard_normal((d, K * n)))

    def squares(i):
        for k in range(K):
            members = [[Fraction(float(x)) for x in H[:, m]] for m in range(k * n, k * n + n)]
            mean = [sum(column) / n for column in zip(*members, strict=True)]
            yield sum((Fraction(float(x)) - m) ** 2 for x, m in zip(H[:, i], mean, strict=True))

    nearest = [min(enumerate(squares(i)), key=lambda pair: pair[1])[0] for i in range(K * n)]
    for k in range(K):
        bias = torch.eye(K, dtype=torch.float64)[k]
        found = neural_collapse(torch.zeros(K, d, dtype=torch.float64), H, labels, bias)["nc4_mismatch"]
        assert float(found) == np.mean([j != k for j in nearest])


@pytest.mark.parametrize("power", [80, 150, 250])
@pytest.mark.parametrize("sign", [1, -1])
def test_sizes_far_from_one_change_nothing(power, sign):
    W, H, labels = samples(5, [4, 2, 3], 5)
    reference = neural_collapse(W, H, labels)
    assert_close(neural_collapse(W * 10.0 ** (sign * power), H, labels), reference, rtol=1e-12, atol=1e-15)
    assert_close(neural_collapse(W, H * 10.0 ** (sign * power), labels), reference, rtol=1e-12, atol=1e-15)
    moments = ClassMoments(3, 5)
    moments.update(H.T * 10.0 ** (80 * sign), labels)
    found = neural_collapse_from_moments(moments, W * 10.0 ** (sign * power))
    assert_close(found, {key: reference[key] for key in found}, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("counts", "d", "replicas"), [([3, 2, 5, 1, 4, 2], 7, ()), ([2] * 40, 5, ()), ([2] * 9, 4, (2,))]
)
@pytest.mark.parametrize("center", ["classes", "samples"])
def test_tables_in_tiles_give_what_whole_tables_give(counts, d, replicas, center, monkeypatch):
    W, H, labels = samples(6, counts, d, replicas=replicas)
    bias = torch.linspace(-1, 1, len(counts), dtype=torch.float64)
    whole = neural_collapse(W, H, labels, bias, center)
    moments = ClassMoments(len(counts), d)
    moments.update(H.reshape(-1, *H.shape[-2:])[0].T, labels)
    for module in ("_blocks", "metrics.tiles", "metrics.variability"):
        monkeypatch.setattr(f"ulpm.{module}.LARGEST", 20)
    monkeypatch.setattr("ulpm._blocks.SMALL", 3 * d)
    assert len(tiles.tiles(len(counts), len(counts))) > 1
    assert_close(neural_collapse(W, H, labels, bias, center), whole, rtol=1e-12, atol=1e-15)
    again = ClassMoments(len(counts), d)
    again.update(H.reshape(-1, *H.shape[-2:])[0].T, labels)
    for one, other in zip(vars(moments).values(), vars(again).values(), strict=True):
        if isinstance(one, torch.Tensor):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "rows",
    [
        [[0.0, 0.0, 0.0], [0.3, 0.1, 0.7], [0.6, 0.2, 1.4]],
        [[0.1, 0.2, 0.3], [0.4, 0.3, 1.0], [0.7, 0.4, 1.7]],
        [[1 / 3, 2.0, 0.0], [1.0, 2.7, 5.1], [5 / 3, 3.4, 10.2]],
    ],
)
@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_a_row_that_is_the_mean_of_all_rows_has_no_centred_direction(rows, scale):
    """(0, u, 2u) and the like: 0/0 but for rounding, of which the angles read 0.76."""
    W = torch.tensor(rows, dtype=torch.float64) * scale
    _, H, labels = samples(0, [3, 3, 3], 3)
    found = neural_collapse(W, H, labels)
    for key in ("nc2_angle_classifier_centered", "nc3_duality"):
        assert math.isnan(float(found[key])), key
    # The lengths are 1, 0, 1 times one number.
    assert float(found["nc2_norm_classifier_centered"]) == pytest.approx(math.sqrt(3) / 2, rel=1e-14)
    # A row at 1e-13 from there has one.
    W[1, 0] += 1e-13 * float(W.abs().max())
    found = neural_collapse(W, H, labels)
    assert all(math.isfinite(float(found[key])) for key in ("nc2_angle_classifier_centered", "nc3_duality"))
