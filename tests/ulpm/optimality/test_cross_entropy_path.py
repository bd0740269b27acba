"""Optima of many classes are continued from the closed form of equal counts, and are right to rounding."""

import math

import numpy as np
import pytest

import ulpm
from ulpm.optimality.cross_entropy import CrossEntropyProgramme
from ulpm.optimality.cross_entropy_path import continued_optimum


@pytest.mark.parametrize(("classes", "samples", "decay"), [(60, 2, 1e-4), (60, 2, 1e-6), (20, 5, 3e-3), (13, 1, 0.07)])
def test_equal_counts_have_the_margin_of_the_closed_form(classes, samples, decay):
    problem = ulpm.Problem([samples] * classes, classes)
    found = ulpm.regularised_optimum(problem, decay, decay)
    c = decay * math.sqrt(samples)
    margin = math.log((1 - (classes - 1) * c) / c)
    value = math.log(1 + (classes - 1) * math.exp(-margin)) + c * (classes - 1) * margin
    assert float(found.logits[0, 0] - found.logits[1, 0]) == pytest.approx(margin, rel=1e-12)
    assert found.value == pytest.approx(value, rel=1e-12)
    assert abs(found.duality_gap) <= 1e-12 * value
    assert found.rank == classes - 1
    assert found.tight


@pytest.mark.parametrize("counts", [[2] * 59 + [3], [3] * 30 + [2] * 30, [1, 2, 3, 4] * 10])
def test_unequal_counts_near_by_are_proven_optimal_to_rounding(counts):
    found = ulpm.regularised_optimum(ulpm.Problem(counts, len(counts)), 1e-4, 1e-4)
    assert abs(found.duality_gap) <= 1e-12 * found.value


@pytest.mark.parametrize("has_budget", [True, False])
@pytest.mark.parametrize("counts", [[5, 4, 3, 2], [7, 7, 1], [2, 2, 2], [6, 5]])
def test_the_path_ends_where_the_solver_does(counts, has_budget):
    problem = ulpm.Problem(counts, len(counts))
    if has_budget:
        reference = ulpm.norm_constrained_optimum(problem, 2.0, 3.0)
        programme = CrossEntropyProgramme(
            np.array(counts) / sum(counts), np.ones(len(counts)), budget=len(counts) * math.sqrt(6)
        )
    else:
        reference = ulpm.regularised_optimum(problem, 2e-3, 1e-3)
        programme = CrossEntropyProgramme(np.array(counts) / sum(counts), np.sqrt(counts), price=math.sqrt(2e-6))
    found = continued_optimum(programme)
    assert programme.value(found) == pytest.approx(reference.value, rel=1e-11)
    logits = found / programme.scales
    np.testing.assert_allclose(logits[:, problem.labels.numpy()], reference.logits.numpy(), rtol=1e-7, atol=1e-7)


def test_optima_of_lower_rank_are_left_to_the_solver():
    # Minority collapse: the two small classes share a classifier.
    programme = CrossEntropyProgramme(np.array([1000, 1000, 1, 1]) / 2002, np.ones(4), budget=4 * math.sqrt(5))
    assert continued_optimum(programme) is None
    heavy = CrossEntropyProgramme(np.full(3, 1 / 3), np.ones(3), price=0.4)
    assert continued_optimum(heavy) is None
