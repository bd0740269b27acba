"""The exponents of the paper's quantities to 0.01, and the limits that the conserved quantities give them."""

import dataclasses
import functools

import pytest
import torch

import ulpm
from theory_experiments.numerics.exponents import fitted_exponents
from theory_experiments.numerics.late_laws import limits, mean_row_bend
from theory_experiments.theorems.rates.config import SHARP
from ulpm.support import law_exponents

SIZES = {"K = 4": ([5] * 4, 20), "K = 10": ([50] * 10, 64)}


@pytest.fixture(params=["K = 4", pytest.param("K = 10", marks=pytest.mark.slow)])
def path(request, unchecked):
    """Two starts, of seeds 0 and 1."""
    return run(request.param)


@functools.cache
def run(size):
    counts, d = SIZES[size]
    problem = ulpm.Problem(counts, d)
    starts = [problem.random_state(seed=seed) for seed in (0, 1)]
    start = ulpm.State(torch.stack([each.W for each in starts]), torch.stack([each.H for each in starts]))
    return ulpm.gradient_flow(problem, start, log_time=1e5, rtol=1e-7, records=150, snapshots=2)


def test_centred_rows_and_self_duality_fall_like_one_over_log_time_raw_rows_and_distances_like_its_root(path):
    expected = dict.fromkeys(SHARP, -0.5)
    expected |= {name: -1.0 for name in SHARP if name.endswith("_centered") or name == "nc3_duality"}
    assert {name: law_exponents(path.problem)[name] for name in SHARP} == expected
    for name, exponent in expected.items():
        found = fitted_exponents(path.log_time, path.metrics[name], 999.0, 1.001e5)
        assert float((found - exponent).abs().max()) < 0.01, name


def test_the_limits_follow_from_what_the_flow_conserves(path):
    predicted, end = limits(path), path.log_time[-1]
    for name, limit in predicted.items():
        reached = path.metrics[name][-1] * end ** -law_exponents(path.problem)[name]
        # The next term is smaller by (log t)^(−1/2) = 0.003.
        assert torch.allclose(reached, limit, rtol=0.01), name


def test_a_start_whose_mean_row_is_almost_orthogonal_to_the_classifier_is_told_by_its_next_term(path):
    shots = path.snapshots
    W = shots.W.clone()
    mean, final = W[0].mean(-2), W[-1] - W[-1].mean(-2, keepdim=True)
    span = torch.linalg.svd(final, full_matrices=False).Vh[..., : W.shape[-2] - 1, :]
    W[0] -= 0.99 * (mean[:, None] @ span.mT @ span)
    turned = ulpm.Snapshots(shots.records, W, shots.H)
    bend, turned_bend = (mean_row_bend(each, 1e4) for each in (path, dataclasses.replace(path, snapshots=turned)))
    assert float(bend.max()) < 0.01
    assert float(turned_bend.min()) > 0.01
