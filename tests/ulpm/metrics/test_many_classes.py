"""Many classes: tables in parts give what loops give, in bounded memory, from one pass over the samples."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from ulpm.metrics import ClassMoments, neural_collapse_from_moments, pairs, simplex, tiles, variability
from ulpm.metrics.moments import ClassStatistics

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "many_classes.py"


def normal(seed, *size):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair_by_pair(means, v):
    """Sums over j ≠ k of the terms of nc1_cdnv and of angles, and least distances, by loops."""
    K = means.shape[1]
    u = means / means.norm(dim=0)
    variances, angles = [0.0] * K, [0.0] * K
    nearest = [float("inf")] * K
    for k in range(K):
        for j in range(K):
            if j != k:
                square = float((means[:, j] - means[:, k]).square().sum())
                variances[k] += float(v[j] + v[k]) / (2 * square)
                angles[k] += abs(float(u[:, j] @ u[:, k]) + 1 / (K - 1))
                nearest[k] = min(nearest[k], square**0.5)
    return (torch.tensor(each, dtype=torch.float64) for each in (variances, angles, nearest))


@pytest.mark.parametrize("small", [1, 16, 81, 2**17])
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("size", [1e-8, 1.0, 1e4])
def test_sums_over_pairs_in_parts_equal_those_by_loops(small, offset, size, monkeypatch):
    monkeypatch.setattr(pairs, "SMALL", small)
    means = size * normal(0, 6, 23)
    means[:, 11] = means[:, 3] + 1e-9 * size * normal(1, 6)  # close to each other: their products cancel
    means = means + offset * size
    v = size**2 * normal(2, 23).square()
    variances, _, nearest = pair_by_pair(means, v)
    sums, least = pairs.variance_sums(means, v)
    assert_close(sums, variances, rtol=1e-10, atol=0)
    assert_close(least.sqrt(), nearest.min(), rtol=1e-10, atol=0)
    assert_close(pairs.nearest_distances(means), nearest, rtol=1e-10, atol=0)
    _, angles, _ = pair_by_pair(means - offset * size, v)
    directions = (means - offset * size) / (means - offset * size).norm(dim=0)
    assert_close(pairs.angle_sums(directions), angles, rtol=1e-10 if offset == 0 else 1e-9, atol=1e-10)


def test_equal_means_are_infinitely_far_from_collapse_and_no_number_without_variance():
    means = normal(0, 3, 5)
    means[:, 4] = means[:, 1]
    sums = pairs.variance_sums(means, torch.tensor([1.0, 0, 1, 1, 1], dtype=torch.float64))[0]
    assert sums.isinf().tolist() == [False, True, False, False, True]
    none = pairs.variance_sums(means, torch.zeros(5, dtype=torch.float64))[0]
    assert none.isnan().tolist() == [False, True, False, False, True]


@pytest.mark.parametrize("d", [3, 30, 38, 45])
def test_distances_to_a_simplex_of_many_classes_equal_those_of_few(d, monkeypatch):
    A, B, H = normal(0, 40, d), normal(1, d, 40), normal(2, 40, d)
    products = [(A, B), (A, A.mT), (H, 1e-170 * H.mT)]
    assert not bool(simplex.distances_to_etf(products)[1])
    products = [(simplex.of_size_one(one), simplex.of_size_one(other)) for one, other in products]
    whole, moderate = simplex.distances_to_etf(products)
    assert bool(moderate)
    monkeypatch.setattr(tiles, "LARGEST", 40 * 40 - 1)
    assert tiles.many(40)
    assert_close(simplex.distances_to_etf(products)[0], whole, rtol=1e-10, atol=0)
    directions = B / B.norm(dim=0)
    assert_close(simplex.angle_deviation(directions), pairs.angle_sums(directions).mean() / 39, rtol=1e-12, atol=0)


def test_the_branch_for_many_classes_gives_what_the_other_gives(monkeypatch):
    counts = torch.full((50,), 2.0, dtype=torch.float64)
    statistics = ClassStatistics(
        counts=counts,
        origin=torch.zeros(2, 4, 1, dtype=torch.float64),
        means=normal(0, 2, 4, 50),
        within_traces=normal(1, 2, 50).square(),
        variance_along=lambda U: U.square().sum(-2),
        epsilon=lambda: 2.0**-52,
    )
    directions = statistics.means / statistics.means.norm(dim=-2, keepdim=True)
    (whole, nearest), angles = variability.distance_normalised_variance(statistics), simplex.angle_deviation(directions)
    monkeypatch.setattr(tiles, "LARGEST", 2499)
    (parts, of_parts), others = (
        variability.distance_normalised_variance(statistics),
        simplex.angle_deviation(directions),
    )
    assert_close((parts, of_parts(), others), (whole, nearest(), angles), rtol=1e-12, atol=0)


def test_many_replicas_have_the_pairs_of_each_alone(monkeypatch):
    def statistics(means, v):
        counts = torch.full(v.shape[-1:], 2.0, dtype=torch.float64)
        return ClassStatistics(
            counts=counts,
            origin=torch.zeros(*means.shape[:-1], 1, dtype=torch.float64),
            means=means,
            within_traces=v,
            variance_along=lambda U: U.square().sum(-2),
            epsilon=lambda: 2.0**-52,
        )

    means, v = normal(0, 100, 4, 50), normal(1, 100, 50).square()
    means[7, :, 44] = means[7, :, 3]
    monkeypatch.setattr(tiles, "LARGEST", 20_000)  # four classes at a time
    monkeypatch.setattr(variability, "LARGEST", 20_000)
    mean, least = variability.distance_normalised_variance(statistics(means, v))
    tied = variability.tied_classes(statistics(means, v), 1e-30 * v)
    for b in range(100):
        own, own_least = variability.distance_normalised_variance(statistics(means[b], v[b]))
        assert_close((mean[b], least()[b]), (own, own_least()), rtol=1e-12, atol=0)
    assert tied.nonzero().tolist() == [[7, 3], [7, 44]]
    assert mean.isinf().nonzero().tolist() == [[7]]


@pytest.mark.parametrize("given", [False, True])
def test_moments_of_batches_that_meet_few_classes_equal_the_others(given, monkeypatch):
    h, y = normal(0, 60, 3).float(), torch.randint(0, 25, (60,), generator=torch.Generator().manual_seed(1))
    means = normal(1, 25, 3) if given else None
    whole, few = ClassMoments(25, 3, means=means), ClassMoments(25, 3, means=means)
    for moments, largest in ((whole, 2**22), (few, 20)):
        monkeypatch.setattr("ulpm.metrics.moments.LARGEST", largest)
        for part, labels in zip(h.split(13), y.split(13), strict=True):
            moments.update(part, labels)
    for name in ("counts", "references", "sums", "squares", "scatter", "bits"):
        assert_close(getattr(few, name), getattr(whole, name), rtol=1e-13, atol=1e-13)
    assert len(few.absent_classes()) == int((torch.bincount(y, minlength=25) == 0).sum()) > 0


def test_many_classes_with_absent_ones_are_measured_like_those_that_are_there(monkeypatch):
    g = torch.Generator().manual_seed(3)
    K, d = 70, 6
    present = torch.randperm(K, generator=g)[:50].sort().values
    labels = torch.arange(50).repeat(2)[torch.randperm(100, generator=g)]
    h, W = normal(0, 50, d)[labels] + 0.1 * normal(1, 100, d), normal(2, K, d)
    direct = ClassMoments(50, d)
    direct.update(h, labels)
    expected = neural_collapse_from_moments(direct, W[present], per_class=True)
    for module in ("moments", "tiles"):
        monkeypatch.setattr(f"ulpm.metrics.{module}.LARGEST", 400)
    monkeypatch.setattr(pairs, "SMALL", 100)
    moments = ClassMoments(K, d)
    for part, y in zip(h.split(30), present[labels].split(30), strict=True):
        moments.update(part, y)
    found = neural_collapse_from_moments(moments, W, per_class=True, absent="leave out")
    for key, values in expected.items():
        got = found[key][present] if key.endswith("_per_class") else found[key]
        assert_close(got, values, rtol=1e-10, atol=1e-12)


def measured(name, size):
    command = [sys.executable, BENCHMARK, name, json.dumps(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_thirty_thousand_classes_fit_into_four_gib():
    found = measured("of_moments", {"K": 30_000, "d": 256, "fewest": 0, "most": 4})
    assert found["peak"] < 4
    assert found["absent"] > 1000


@pytest.mark.slow
def test_a_thousand_classes_take_at_most_three_times_their_products():
    found = measured("of_samples", {"K": 1000, "d": 512, "fewest": 50, "most": 50})
    assert found["seconds"] < 3 * found["floor"]
