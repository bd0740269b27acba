"""Predictions for the late flow with unequal counts agree with states constructed to be late."""

import math

import numpy as np
import pytest
import torch

import ulpm
from theory_experiments.numerics import seli

COUNTS = [[6, 6, 2, 2], [7, 3, 2], [40, 4, 4, 2, 2]]


def late_state(counts: list[int], d: int, log_time: float, seed: int) -> tuple[ulpm.Problem, ulpm.State]:
    """√(log t) × SELI at margin 1, rotated, plus frozen parts: η/n_k in the class means, deviations within classes."""
    problem, K = ulpm.Problem(counts, d), len(counts)
    rng = torch.Generator().manual_seed(seed)
    ideal = ulpm.seli_state(problem, norm=math.sqrt(2 * problem.minimum_norm_value * log_time))
    frozen = torch.zeros(d, problem.num_samples, dtype=torch.float64)
    frozen[K - 1 :] = torch.randn(d - K + 1, problem.num_samples, generator=rng, dtype=torch.float64)
    for k in range(K):
        members = problem.labels == k
        frozen[:, members] -= frozen[:, members].mean(1, keepdim=True)
        frozen[K - 1 :, members] += torch.linspace(1, 2, d - K + 1, dtype=torch.float64)[:, None] / counts[k]
    rotation = torch.linalg.qr(torch.randn(d, d, generator=rng, dtype=torch.float64)).Q
    return problem, ulpm.State(ideal.W @ rotation.T, rotation @ (ideal.H + frozen))


@pytest.mark.parametrize("counts", COUNTS)
def test_the_variability_of_a_late_state_has_the_predicted_constant(counts: list[int]) -> None:
    d = len(counts) + 2
    for log_time in (1e6, 1e8):
        problem, state = late_state(counts, d, log_time, seed=1)
        measured = ulpm.neural_collapse(state.W, state.H, problem.labels)["nc1_pinv"] * log_time**2
        assert float(seli.variability_constant(problem, state) / measured) == pytest.approx(1, abs=30 / log_time**0.5)


def test_equal_counts_have_no_variability_of_that_order() -> None:
    problem, state = late_state([3, 3, 3], 5, 1e6, seed=2)
    assert float(seli.variability_constant(problem, state)) < 1e-20


def test_replicas_are_predicted_one_by_one() -> None:
    states = [late_state([7, 3, 2], 5, 1e4, seed)[1] for seed in (3, 4)]
    problem = ulpm.Problem([7, 3, 2], 5)
    together = ulpm.State(torch.stack([one.W for one in states]), torch.stack([one.H for one in states]))
    alone = torch.stack([seli.variability_constant(problem, one) for one in states])
    torch.testing.assert_close(seli.variability_constant(problem, together), alone, rtol=1e-10, atol=0)


@pytest.mark.parametrize("counts", COUNTS)
def test_the_logits_constant_is_that_of_logits_whose_probabilities_are_the_multipliers(counts: list[int]) -> None:
    problem, K = ulpm.Problem(counts, len(counts)), len(counts)
    # Multipliers by the polar factor: G(λ) = U Vᵀ of (I − 11ᵀ/K) diag(√n), whose entry j, k is −√n_k λ_jk.
    roots = np.sqrt(counts)
    U, S, Vh = np.linalg.svd((np.eye(K) - 1 / K) * roots)
    multipliers = -(U[:, : K - 1] @ Vh[: K - 1]) / roots
    log_loss = -1e7
    Z = np.zeros((K, K))
    for j in range(K):
        for k in range(K):
            if j != k:
                Z[j, k] = log_loss + math.log(multipliers[j, k] / S.sum())  # log p_jk, and 0 on the label row
    Z -= Z.mean(0)
    distance = seli.direction_distance(torch.tensor(Z), seli.centred(K))
    predicted = seli.logits_constant(problem, ulpm.minimum_norm_separation(problem))
    assert float(distance) * 1e7 == pytest.approx(predicted, rel=1e-5)


def test_equal_counts_have_no_correction_of_the_logits() -> None:
    problem = ulpm.Problem([4] * 5, 5)
    assert seli.logits_constant(problem, ulpm.minimum_norm_separation(problem)) < 1e-10


def test_class_means_are_means() -> None:
    problem = ulpm.Problem([3, 1, 2], 4)
    H = problem.random_state(5, replicas=2).H
    for k in range(3):
        torch.testing.assert_close(seli.class_means(problem, H)[..., k], H[..., problem.labels == k].mean(-1))


def test_the_distance_of_directions_does_not_see_sizes() -> None:
    A, B = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    assert float(seli.direction_distance(2 * A, A)) < 1e-15
    assert float(seli.direction_distance(-A, A)) == pytest.approx(2)
    assert float(seli.direction_distance(A, B)) == pytest.approx(float((A / A.norm() - B / B.norm()).norm()))
