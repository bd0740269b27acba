"""Worst cases do not hide a nan; lines agree with numpy."""

import math

import numpy as np
import pytest
import torch

from theory_experiments.numerics.summaries import greatest, line


def test_the_greatest_of_numbers_and_tensors_is_found() -> None:
    assert greatest([1.0, torch.tensor([[0.5, 3.0], [2.0, -1.0]]), 2]) == 3.0


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [torch.tensor([math.nan, 2.0]), 5.0], [torch.empty(0)]])
def test_a_nan_or_nothing_at_all_gives_nan_so_that_no_claim_holds(values: list[float]) -> None:
    assert math.isnan(greatest(values))


def test_a_line_is_that_of_polyfit() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 20))
    assert line(torch.tensor(x), torch.tensor(y)) == pytest.approx(tuple(np.polyfit(x, y, 1)), rel=1e-12)
