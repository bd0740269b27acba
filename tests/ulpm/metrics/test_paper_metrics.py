"""The quantities of Ji, Lu, Zhang, Deng, Su (2022), against their definitions written out number by number."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_oracle import samples

import ulpm
from ulpm.metrics import METRICS, measure, neural_collapse

KEYS = (
    "nc1_distance",
    "nc2_norm_classifier_centered",
    "nc2_angle_classifier_centered",
    "nc2_etf_classifier_centered",
    "nc3_duality",
)
examples = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
# At least three classes: of two, centred rows are opposite and equally long, and three keys are rounding alone.
class_counts = st.lists(st.integers(1, 6), min_size=3, max_size=5)
dims = st.integers(2, 7)


def length(x):
    return math.sqrt(math.fsum(v * v for v in x))


def dot(x, y):
    return math.fsum(a * b for a, b in zip(x, y, strict=True))


def difference(x, y):
    return [a - b for a, b in zip(x, y, strict=True)]


def mean(vectors):
    return [math.fsum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def written_out(W, H, labels):
    """The five keys of one replica from lists of floats, in loops."""
    rows, features, labels = W.tolist(), H.T.tolist(), labels.tolist()
    K, N = len(rows), len(features)
    class_means = [mean([h for h, y in zip(features, labels, strict=True) if y == k]) for k in range(K)]
    centre, grand_mean, row_mean = mean(class_means), mean(features), mean(rows)
    within = sum(length(difference(h, class_means[y])) for h, y in zip(features, labels, strict=True)) / N
    total = sum(length(difference(h, grand_mean)) for h in features) / N
    M = [difference(m, centre) for m in class_means]
    centred = [difference(w, row_mean) for w in rows]
    norms = [length(w) for w in centred]
    average = sum(norms) / K
    deviation = math.sqrt(sum((norm - average) ** 2 for norm in norms) / (K - 1))
    cosines = [dot(centred[j], centred[k]) / (norms[j] * norms[k]) for j in range(K) for k in range(K) if j != k]
    gram = [[dot(centred[j], centred[k]) for k in range(K)] for j in range(K)]
    size = length([entry for line in gram for entry in line])
    frame = [[((j == k) - 1 / K) / math.sqrt(K - 1) for k in range(K)] for j in range(K)]
    duality = 0.0
    for k in range(K):
        to_mean, to_row = [m / length(M[k]) for m in M[k]], [w / norms[k] for w in centred[k]]
        duality += length(difference(to_mean, to_row)) / K
    return {
        "nc1_distance": within / total,
        "nc2_norm_classifier_centered": deviation / average,
        "nc2_angle_classifier_centered": sum(abs(cosine + 1 / (K - 1)) for cosine in cosines) / len(cosines),
        "nc2_etf_classifier_centered": length([gram[j][k] / size - frame[j][k] for j in range(K) for k in range(K)]),
        "nc3_duality": duality,
    }


def assert_same(found, expected, rtol=1e-12, atol=1e-13):
    for key in KEYS:
        assert float(found[key]) == pytest.approx(float(expected[key]), rel=rtol, abs=atol), key


@given(seeds, class_counts, dims)
@examples
def test_each_key_is_its_definition_written_out(seed, counts, d):
    W, H, labels = samples(seed, counts, d)
    assert_same(neural_collapse(W, H, labels), written_out(W, H, labels))


@given(seeds, class_counts, dims)
@examples
def test_rotations_renamings_and_scales_change_nothing(seed, counts, d):
    W, H, labels = samples(seed, counts, d)
    rng = np.random.default_rng(seed)
    rotation = torch.tensor(np.linalg.qr(rng.standard_normal((d, d)))[0])
    new = torch.tensor(rng.permutation(len(counts)))  # class k becomes new[k]
    order = torch.tensor(rng.permutation(len(labels)))
    moved = neural_collapse(
        7.3e3 * W[new.argsort()] @ rotation.T, 1.7e-4 * (rotation @ H)[:, order], new[labels][order]
    )
    assert_same(moved, neural_collapse(W, H, labels), rtol=1e-11, atol=1e-12)


@given(seeds, class_counts, dims)
@examples
def test_a_vector_added_to_every_row_is_not_seen_and_one_added_to_every_feature_neither(seed, counts, d):
    W, H, labels = samples(seed, counts, d)
    shift = torch.tensor(np.random.default_rng(seed).standard_normal(d))
    moved, still = neural_collapse(W + 3 * shift, H - shift[:, None], labels), neural_collapse(W, H, labels)
    assert_same(moved, still, rtol=1e-10, atol=1e-12)
    assert float(moved["nc0"]) != pytest.approx(float(still["nc0"]), rel=1e-3)


def test_centred_rows_are_a_simplex_where_raw_rows_are_none():
    problem = ulpm.Problem([3] * 4, 6)
    collapsed = ulpm.collapsed_state(problem, norm=4.0)
    shift = torch.linspace(-1, 2, 6, dtype=torch.float64)
    found = neural_collapse(collapsed.W + shift, collapsed.H, problem.labels)
    assert max(float(found[key]) for key in KEYS) < 1e-14
    for raw in ("nc2_norm_classifier", "nc2_angle_classifier", "nc2_etf_classifier", "nc3_difference"):
        assert found[raw] > 0.05


def test_self_duality_looks_at_each_class_by_itself():
    # Lengths that differ from class to class, in the same way for means and rows or in another: no matter.
    problem = ulpm.Problem([1] * 4, 6)
    collapsed = ulpm.collapsed_state(problem, norm=4.0)
    spread = collapsed.H * torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    shifted = spread - spread.mean(1, keepdim=True)
    found = neural_collapse(collapsed.W, shifted, problem.labels)
    direction = shifted / shifted.norm(dim=0)
    rows = collapsed.W / collapsed.W.norm(dim=1, keepdim=True)
    assert float(found["nc3_duality"]) == pytest.approx(float((direction.T - rows).norm(dim=1).mean()), rel=1e-12)


def test_distances_are_plain_and_not_squared():
    H = torch.tensor([[-3.0, -1.0, 1.0, 7.0]], dtype=torch.float64)  # means −2 and 4, mean of all 1
    found = neural_collapse(torch.tensor([[-1.0], [1.0]], dtype=torch.float64), H, torch.tensor([0, 0, 1, 1]))
    assert float(found["nc1_distance"]) == pytest.approx((1 + 1 + 3 + 3) / (4 + 2 + 0 + 6), rel=1e-14)


def test_with_unequal_counts_the_distance_is_from_the_mean_of_all_samples():
    H = torch.tensor([[0.0, 0.0, 0.0, 8.0]], dtype=torch.float64)
    H = torch.cat([H, torch.tensor([[1.0, -1.0, 0.0, 0.0]], dtype=torch.float64)])
    labels = torch.tensor([0, 0, 0, 1])
    W = torch.eye(2, dtype=torch.float64)
    within = (1 + 1 + 0 + 0) / 4
    total = (math.hypot(2, 1) + math.hypot(2, 1) + 2 + 6) / 4  # the mean of all samples is (2, 0)
    for center in ("classes", "samples"):
        found = neural_collapse(W, H, labels, center=center)
        assert float(found["nc1_distance"]) == pytest.approx(within / total, rel=1e-14)


def test_equal_rows_and_equal_means_have_no_direction():
    H = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.3, -0.3, -0.3, 0.3]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 1])
    found = neural_collapse(torch.full((2, 2), 0.1, dtype=torch.float64), H, labels)
    for key in KEYS[1:]:
        assert math.isnan(float(found[key])), key


@pytest.mark.parametrize("collapse", [1.0, 1e-4])
def test_a_network_is_measured_like_its_features(collapse):
    """``measure`` streams batches of a network; ``neural_collapse`` has all features at once."""
    W, H, labels = samples(5, [6, 9, 4], 5, collapse=collapse, offset=2.0)
    linear = torch.nn.Linear(5, 3, bias=False, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(W)
    batches = list(zip(H.T.split(4), labels.split(4), strict=True))
    found, direct = measure(torch.nn.Sequential(linear), batches), neural_collapse(W, H, labels)
    assert tuple(found) == tuple(direct) == METRICS
    for key in METRICS:
        assert float(found[key]) == pytest.approx(float(direct[key]), rel=1e-10, abs=1e-14), key
    assert_same(found, direct, rtol=1e-12 if collapse == 1.0 else 1e-11)
