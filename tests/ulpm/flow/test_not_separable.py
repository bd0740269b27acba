"""More than two classes in one dimension: their loss cannot vanish, and whoever asks for it is told."""

import math

import pytest
import torch

import ulpm
from ulpm.cli import main


@pytest.mark.parametrize(("classes", "dim"), [(K, d) for K in (2, 3, 4, 7) for d in (1, 2, 3)])
def test_a_problem_knows_whether_its_classes_can_be_separated(classes, dim):
    problem = ulpm.Problem([2] * classes, dim)
    # Different points of a circle separate any number of classes; on a line an order of the w_k is all that there is.
    angles = 2 * math.pi * torch.arange(classes, dtype=torch.float64) / classes
    W = torch.stack([angles.cos(), angles.sin()], 1) if dim > 1 else torch.linspace(-1, 1, classes).double()[:, None]
    W = torch.nn.functional.pad(W, (0, dim - W.shape[1]))
    separated = float(ulpm.margin(problem, ulpm.State(W, W[problem.labels].T.contiguous()))) > 0
    assert separated == problem.separable
    assert (problem.smallest_loss == 0) == problem.separable


@pytest.mark.parametrize("counts", [[1, 1, 1], [5, 1, 3], [2, 2, 2, 2, 2], [9, 1, 1, 4]])
def test_no_state_on_a_line_has_a_loss_below_the_bound(counts):
    problem = ulpm.Problem(counts, 1)
    expected = math.log(2) * (sum(counts) - sum(sorted(counts)[-2:]))
    assert problem.smallest_loss == pytest.approx(expected)
    for scale in (0.1, 1.0, 30.0):
        states = problem.random_state(seed=0, scale=scale, replicas=2000)
        assert float(ulpm.log_loss(problem, states).min()) >= math.log(expected)


def test_a_flow_of_what_cannot_be_separated_says_so_and_goes_on():
    problem = ulpm.Problem([1, 1, 1], 1)
    with pytest.warns(UserWarning, match="In one dimension at most two classes can be separated"):
        path = ulpm.gradient_flow(problem, problem.random_state(0), log_time=0.1, records=2, rtol=1e-3)
    assert path.finished


def test_a_loss_that_no_state_has_is_refused():
    problem = ulpm.Problem([3, 1, 1], 1)
    with pytest.raises(ValueError, match=r"log_loss must be at least -0\.366513 in one dimension"):
        ulpm.gradient_flow(problem, problem.random_state(0), log_loss=-0.37)


def test_the_command_line_says_it_in_a_line(capsys, tmp_path):
    sizes = ("flow", "--class-counts", "1,1,1", "--feature-dim", "1", "--no-figures", "--no-progress")
    assert main([*sizes, "--log-time", "0.1", "--records", "2", "--rtol", "1e-3", "--out", str(tmp_path / "a")]) == 0
    assert "so use --feature-dim of 2 or more" in capsys.readouterr().out
    assert main([*sizes, "--log-loss", "-3", "--out", str(tmp_path / "b")]) == 1
    assert "--log-loss must be at least" in capsys.readouterr().err


@pytest.mark.parametrize(("counts", "dim"), [([1, 1], 1), ([1, 1, 1], 2)])
def test_what_can_be_separated_needs_no_words(counts, dim):
    problem = ulpm.Problem(counts, dim)
    assert ulpm.gradient_flow(problem, problem.random_state(0), log_time=0.1, records=2, rtol=1e-3).finished
