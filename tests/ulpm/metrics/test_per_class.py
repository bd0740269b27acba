"""The values of single classes: their means are the metrics, and they name the class that an aggregate hides."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from ulpm.geometry import collapsed_state
from ulpm.metrics import ClassMoments, class_summary, measure, neural_collapse, neural_collapse_from_moments
from ulpm.problem import Problem

WEIGHTED = ("nc1_pinv", "nc1_ratio", "nc1_distance", "nc4_mismatch")
UNWEIGHTED = ("nc1_cdnv", "nc2_angle_means", "nc2_angle_classifier", "nc2_angle_classifier_centered", "nc3_duality")
NORMS = ("nc2_norm_means", "nc2_norm_classifier", "nc2_norm_classifier_centered")


def samples(seed, counts, d, scale=1.0, replicas=()):
    g = torch.Generator().manual_seed(seed)
    K, N = len(counts), sum(counts)
    labels = torch.arange(K).repeat_interleave(torch.tensor(counts))[torch.randperm(N, generator=g)]
    W = torch.randn(*replicas, K, d, generator=g, dtype=torch.float64)
    centres = torch.randn(*replicas, d, K, generator=g, dtype=torch.float64)
    H = centres[..., labels] + 0.4 * torch.randn(*replicas, d, N, generator=g, dtype=torch.float64)
    return W, scale * H, labels


def by_loops(W, H, labels, bias):
    """Every value of every class, transcribed from its formula."""
    W, H, labels = W.numpy(), H.numpy(), labels.numpy()
    K, norm = len(W), np.linalg.norm
    mu = np.stack([H[:, labels == k].mean(1) for k in range(K)], 1)
    M = mu - mu.mean(1, keepdims=True)
    rows = W - W.mean(0)
    pinv = np.linalg.pinv(M @ M.T / K, rcond=1e-12)
    covariance = [np.cov(H[:, labels == k], bias=True).reshape(len(H), len(H)) for k in range(K)]
    v = [np.trace(c) for c in covariance]
    total = np.mean([norm(h - H.mean(1)) for h in H.T])
    found = {
        "nc1_pinv": [np.trace(c @ pinv) / K for c in covariance],
        "nc1_ratio": [vk / np.trace(M @ M.T / K) for vk in v],
        "nc1_cdnv": [
            np.mean([(v[j] + v[k]) / (2 * norm(mu[:, j] - mu[:, k]) ** 2) for j in range(K) if j != k])
            for k in range(K)
        ],
        "nc1_distance": [np.mean([norm(h - mu[:, k]) for h in H[:, labels == k].T]) / total for k in range(K)],
        "nc3_duality": [norm(M[:, k] / norm(M[:, k]) - rows[k] / norm(rows[k])) for k in range(K)],
    }
    for name, vectors in (("means", M.T), ("classifier", W), ("classifier_centered", rows)):
        lengths = norm(vectors, axis=1)
        found[f"nc2_norm_{name}"] = lengths / lengths.mean() - 1
        found[f"nc2_angle_{name}"] = [
            np.mean([abs(x @ vectors[k] / norm(x) / lengths[k] + 1 / (K - 1)) for j, x in enumerate(vectors) if j != k])
            for k in range(K)
        ]
    wrong = [[] for _ in range(K)]
    for h, y in zip(H.T, labels, strict=True):
        wrong[y].append(np.argmin(norm(mu.T - h, axis=1)) != np.argmax(W @ h + bias.numpy()))
    return found | {"nc4_mismatch": [np.mean(each) for each in wrong]}


@pytest.mark.parametrize(("counts", "d"), [([4, 2, 7, 1, 3], 6), ([2] * 9, 4), ([3, 5], 1)])
def test_every_value_of_a_class_equals_its_formula(counts, d):
    W, H, labels = samples(0, counts, d)
    bias = torch.linspace(-1, 1, len(counts), dtype=torch.float64)
    found = neural_collapse(W, H, labels, bias, per_class=True)
    for key, values in by_loops(W, H, labels, bias).items():
        expected = torch.as_tensor(np.asarray(values), dtype=torch.float64)
        assert_close(found[f"{key}_per_class"], expected, rtol=1e-10, atol=1e-12)


@given(st.integers(0, 10**6), st.lists(st.integers(1, 5), min_size=3, max_size=6), st.sampled_from([1e-8, 1.0, 1e4]))
@settings(max_examples=8, deadline=None)
def test_metrics_are_means_of_the_values_of_the_classes(seed, counts, scale):
    W, H, labels = samples(seed, counts, 4, scale, replicas=(2,))
    found = neural_collapse(W, H, labels, per_class=True)
    plain = neural_collapse(W, H, labels)
    assert all(torch.equal(found[key], plain[key]) for key in plain)
    weights = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    K = len(counts)
    for key in WEIGHTED:
        assert_close(found[f"{key}_per_class"] @ weights, plain[key], rtol=1e-9, atol=1e-12)
    for key in UNWEIGHTED:
        assert_close(found[f"{key}_per_class"].mean(-1), plain[key], rtol=1e-10, atol=1e-12)
    for key in NORMS:
        squares = found[f"{key}_per_class"].square().sum(-1) / (K - 1)
        assert_close(squares.sqrt(), plain[key], rtol=1e-9, atol=1e-12)


@given(st.integers(0, 10**6), st.permutations(range(5)))
@settings(max_examples=6, deadline=None)
def test_values_move_with_their_classes_and_not_with_rotation_scale_or_order(seed, order):
    W, H, labels = samples(seed, [3, 2, 4, 1, 5], 6)
    before = neural_collapse(W, H, labels, per_class=True)
    g = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64)).Q
    shuffled = torch.randperm(len(labels), generator=g)
    order = torch.tensor(order)
    after = neural_collapse(
        3 * W[order] @ Q.T, 5 * Q @ H[:, shuffled], order.argsort()[labels[shuffled]], per_class=True
    )
    for key, values in before.items():
        expected = values[order] if key.endswith("_per_class") else values
        assert_close(after[key], expected, rtol=1e-8, atol=1e-11)


def test_the_balanced_metrics_take_all_classes_for_equal():
    W, H, labels = samples(1, [40, 3, 2], 5)
    found = neural_collapse(W, H, labels, per_class=True)
    mu = torch.stack([H[:, labels == k].mean(1) for k in range(3)], 1)
    M = mu - mu.mean(1, keepdim=True)
    balanced = sum(torch.cov(H[:, labels == k], correction=0) for k in range(3)) / 3
    sigma_B = M @ M.T / 3
    expected = (balanced @ torch.linalg.pinv(sigma_B, rtol=1e-12)).trace() / 3
    assert_close(found["nc1_pinv_balanced"], expected, rtol=1e-10, atol=0)
    assert_close(found["nc1_ratio_balanced"], balanced.trace() / sigma_B.trace(), rtol=1e-10, atol=0)
    assert abs(float(found["nc1_ratio_balanced"] / found["nc1_ratio"]) - 1) > 0.01
    equal = neural_collapse(*samples(1, [4] * 3, 5), per_class=True)
    assert_close(equal["nc1_ratio_balanced"], equal["nc1_ratio"], rtol=1e-12, atol=0)


def test_one_collapsed_class_of_ten_is_hidden_by_the_aggregate_and_named_by_its_value():
    W, H, labels = samples(2, [20] * 10, 16)
    before = neural_collapse(W, H, labels)
    H[:, labels == 7] = H[:, labels == 7].mean(1, keepdim=True)
    found = neural_collapse(W, H, labels, per_class=True)
    assert abs(float(found["nc1_ratio"] / before["nc1_ratio"]) - 1) < 0.2
    for key in ("nc1_pinv", "nc1_ratio", "nc1_distance"):
        summary = class_summary(found[f"{key}_per_class"])
        assert int(summary.best_class) == 7
        assert float(summary.best) < 1e-15
        assert float(summary.median) > 100 * float(summary.best)


def test_one_class_that_does_not_collapse_is_the_worst():
    problem = Problem([20] * 10, feature_dim=12)
    state = collapsed_state(problem)
    H = state.H.clone()
    g = torch.Generator().manual_seed(0)
    H[:, problem.labels == 3] += 0.05 * torch.randn(12, 20, generator=g, dtype=torch.float64)
    found = neural_collapse(state.W, H, problem.labels, per_class=True)
    for key in ("nc1_pinv", "nc1_cdnv", "nc1_distance", "nc2_angle_means"):
        assert int(class_summary(found[f"{key}_per_class"]).worst_class) == 3


def test_two_antipodal_pairs_are_no_simplex_though_signed_deviations_cancel():
    means = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    found = neural_collapse(means, means.T, torch.arange(4), per_class=True)
    signed = np.mean([float(means[j] @ means[k]) + 1 / 3 for j, k in itertools.permutations(range(4), 2)])
    assert abs(signed) < 1e-15
    assert_close(found["nc2_angle_means"], torch.tensor(4 / 9, dtype=torch.float64))
    assert_close(found["nc2_angle_means_per_class"], torch.full((4,), 4 / 9, dtype=torch.float64))


def test_a_class_of_one_sample_has_no_variance_of_its_own():
    W, H, labels = samples(3, [1, 4, 4], 5)
    found = neural_collapse(W, H, labels, per_class=True)
    assert [float(found[f"{key}_per_class"][0]) for key in ("nc1_pinv", "nc1_ratio", "nc1_distance")] == [0, 0, 0]
    assert float(found["nc1_cdnv_per_class"][0]) > 0  # of the other classes


def test_collinear_means_have_values_along_their_line():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(5)
    H = torch.zeros(3, 20, dtype=torch.float64)
    H[0] = labels + 0.1 * torch.randn(20, generator=g, dtype=torch.float64)
    H[1] = torch.randn(20, generator=g, dtype=torch.float64)
    H[1] -= torch.stack([H[1, labels == k].mean() for k in range(4)])[labels]
    found = neural_collapse(torch.eye(4, 3, dtype=torch.float64), H, labels, per_class=True)
    mu = torch.stack([H[0, labels == k].mean() for k in range(4)])
    expected = torch.stack([H[0, labels == k].var(correction=0) for k in range(4)]) / (mu - mu.mean()).square().sum()
    assert_close(found["nc1_pinv_per_class"], expected, rtol=1e-10, atol=0)


def test_equal_means_have_no_values_of_classes():
    found = neural_collapse(torch.eye(3), torch.ones(3, 6), torch.arange(3).repeat(2), per_class=True)
    for key in ("nc1_pinv", "nc2_angle_means", "nc4_mismatch"):
        assert found[key].isnan()
        assert found[f"{key}_per_class"].isnan().all()


def test_moments_give_what_samples_give():
    W, H, labels = samples(4, [5, 3, 8, 2], 6)
    moments = ClassMoments(4, 6)
    for h, y in zip(H.T.split(5), labels.split(5), strict=True):
        moments.update(h, y)
    streamed = neural_collapse_from_moments(moments, W, per_class=True)
    direct = neural_collapse(W, H, labels, per_class=True)
    assert {"nc1_cdnv_per_class", "nc1_ratio_balanced", "nc3_duality_per_class"} <= set(streamed)
    assert not {"nc1_pinv_per_class", "nc1_pinv_balanced", "nc4_mismatch_per_class"} & set(streamed)
    for key, values in streamed.items():
        assert_close(values, direct[key], rtol=1e-10, atol=1e-12)


def network(W, bias=None):
    head = torch.nn.Linear(W.shape[1], W.shape[0], bias=bias is not None, dtype=torch.float64)
    head.weight.data.copy_(W)
    if bias is not None:
        head.bias.data.copy_(bias)
    return torch.nn.Sequential(torch.nn.Identity(), head)


def test_a_network_has_the_values_of_its_features():
    W, H, labels = samples(5, [5, 3, 8, 2], 6)
    bias = torch.linspace(-1, 1, 4, dtype=torch.float64)
    batches = list(zip(H.T.split(5), labels.split(5), strict=True))
    found = measure(network(W, bias), batches, per_class=True)
    direct = neural_collapse(W, H, labels, bias, per_class=True)
    assert list(found) == list(direct)
    for key, values in direct.items():
        assert_close(found[key], values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bias", [None, torch.linspace(-1, 1, 6, dtype=torch.float64)])
def test_classes_that_are_left_out_are_as_though_they_had_not_been(bias):
    W, H, labels = samples(6, [5, 3, 8, 2], 5)
    present = torch.tensor([0, 2, 3, 5])
    everywhere = torch.randn(6, 5, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    everywhere[present] = W
    expected = neural_collapse(W, H, labels, None if bias is None else bias[present], per_class=True)
    arguments = {"per_class": True, "absent": "leave out"}
    found = neural_collapse(everywhere, H, present[labels], bias, **arguments)
    batches = list(zip(H.T.split(5), present[labels].split(5), strict=True))
    of_network = measure(network(everywhere, bias), batches, **arguments)
    moments = ClassMoments(6, 5)
    moments.update(H.T, present[labels])
    assert moments.absent_classes() == [1, 4]
    streamed = neural_collapse_from_moments(moments, everywhere, **arguments)
    for key, values in expected.items():
        for other in (found, of_network, streamed):
            if key in other:
                got = other[key]
                if key.endswith("_per_class"):
                    assert got[[1, 4]].isnan().all()
                    got = got[present]
                assert_close(got, values, rtol=1e-9, atol=1e-12)


def test_absent_classes_are_named_but_not_thousands_of_them():
    with pytest.raises(ValueError, match=r"classes 2, 3, 4, .*, 21 … \(9978 more\) has none"):
        neural_collapse(torch.zeros(10_000, 2), torch.eye(2), torch.arange(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"absent": "drop"}, "absent must be 'refuse' or 'leave out', but 'drop' was given"),
        ({"absent": "leave out"}, "needs samples of at least two classes, but 1 of 3"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_wrong_wish_for_absent_classes_is_refused_in_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        neural_collapse(torch.eye(3), torch.ones(3, 2), torch.zeros(2, dtype=torch.int64), **arguments)


def test_a_summary_leaves_out_what_is_not_a_number():
    values = torch.tensor([[torch.nan, 2.0, -5.0, 1.0], [4.0, 3.0, torch.nan, torch.nan]])
    summary = class_summary(values)
    assert_close(summary.mean, torch.tensor([-2 / 3, 3.5]))
    assert summary.median.tolist() == [1.0, 3.5]
    assert (summary.worst.tolist(), summary.worst_class.tolist()) == ([-5.0, 4.0], [2, 0])
    assert (summary.best.tolist(), summary.best_class.tolist()) == ([1.0, 3.0], [3, 1])


@pytest.mark.usefixtures("unchecked")
def test_a_summary_of_no_values_is_refused():
    with pytest.raises(TypeError, match="floating tensor"):
        class_summary([1.0])
    with pytest.raises(ValueError, match="K ≥ 1"):
        class_summary(torch.zeros(()))


def test_a_summary_takes_infinite_values_for_better_than_none_and_half_formats_as_they_are():
    found = class_summary(torch.tensor([torch.nan, torch.inf, torch.inf], dtype=torch.float64))
    assert (float(found.best), int(found.best_class), float(found.median)) == (torch.inf, 1, torch.inf)
    halves = class_summary(torch.tensor([1.0, -2.0, 4.0, 0.5], dtype=torch.bfloat16))
    assert halves.median.dtype == torch.bfloat16
    assert (float(halves.median), int(halves.worst_class), int(halves.best_class)) == (0.75, 2, 3)


@pytest.mark.parametrize(("of_w", "of_h"), [(1e-160, 1.0), (1.0, 1e-200), (1e160, 1e-160), (1e-100, 1e-150)])
def test_the_scale_is_not_seen_where_a_bias_has_it_too(of_w, of_h):
    W, H, labels = samples(0, (5, 3, 4), 4, replicas=(2,))
    bias = torch.tensor([0.7, -0.4, 0.1], dtype=torch.float64)
    expected = neural_collapse(W, H, labels, bias, per_class=True)
    found = neural_collapse(of_w * W, of_h * H, labels, of_w * of_h * bias, per_class=True)
    for key in expected:
        assert_close(found[key], expected[key], rtol=1e-9, atol=1e-12)
    assert float(expected["nc4_mismatch"].max()) > 0


def test_a_bias_that_outweighs_tiny_features_decides():
    W, H, labels = samples(0, (5, 3, 4), 4)
    bias = torch.tensor([0.7, -0.4, 0.1], dtype=torch.float64)
    found = neural_collapse(1e-160 * W, 1e-200 * H, labels, bias)
    assert_close(found["nc4_mismatch"], neural_collapse(0 * W, H, labels, bias)["nc4_mismatch"])


@pytest.mark.parametrize("scale", [1e-160, 1e-300, 1e150])
def test_features_whose_squares_are_no_numbers_are_refused(scale):
    W, H, labels = samples(0, (5, 3, 4), 4)
    moments = ClassMoments(3, 4)
    moments.update(scale * H.T, labels)
    with pytest.raises(ValueError, match="scale them, which no metric sees"):
        neural_collapse_from_moments(moments, W)
    model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(4, 3)).double()
    with pytest.raises(ValueError, match="scale them, which no metric sees"):
        measure(model, [(scale * H.T, labels)])
