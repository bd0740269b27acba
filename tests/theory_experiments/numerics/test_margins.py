"""Derivatives of the margins are those of autograd, and rotations change no margin."""

import pytest
import torch
from torch import Tensor

import ulpm
from theory_experiments.numerics.margins import Margins
from theory_experiments.numerics.vectors import unflat


def test_derivatives_are_those_of_automatic_differentiation() -> None:
    problem = ulpm.Problem([2, 1, 1], 2)
    margins, point = Margins(problem), problem.random_state(seed=0).vector()
    weights = torch.rand(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def lagrangian(x: Tensor) -> Tensor:
        return x @ x / 2 - weights @ margins.values(x)

    torch.testing.assert_close(
        margins.gradients(point), torch.autograd.functional.jacobian(margins.values, point), atol=1e-14, rtol=0
    )
    torch.testing.assert_close(
        margins.lagrangian_hessian(weights), torch.autograd.functional.hessian(lagrangian, point), atol=1e-14, rtol=0
    )
    assert float(margins.values(point).min()) == pytest.approx(float(ulpm.margin(problem, unflat(problem, point))))


def test_rotations_change_no_margin() -> None:
    problem = ulpm.Problem([1] * 4, 3)
    margins, point = Margins(problem), problem.random_state(seed=0).vector()
    turns = margins.rotations(point)
    assert len(turns) == 3
    assert float((margins.gradients(point) @ turns.T).abs().max()) < 1e-13
