import math

import pytest
import torch

from ulpm import Problem, gradient_flow
from ulpm.flow.milestones import Milestones
from ulpm.flow.system import FlowSystem

START = torch.tensor([3.0, 2.0], dtype=torch.float64)


def test_marks_run_evenly_from_zero_to_the_end_for_each_replica():
    marks = Milestones.until("log_time", 50.0, 11, START).marks
    assert marks.shape == (11, 2)
    want = math.log1p(50.0) * torch.arange(11).double() / 10  # log(1 + e^50) = 50 to round-off
    torch.testing.assert_close(marks[:, 0], want, rtol=1e-13, atol=0)
    assert torch.equal(marks[:, 0], marks[:, 1])
    marks = Milestones.until("log_loss", -7.0, 11, START).marks
    for b, start in enumerate((3.0, 2.0)):
        want = math.log1p(start + 7) * torch.arange(11).double() / 10
        torch.testing.assert_close(marks[:, b], want, rtol=1e-13, atol=0)


def test_marks_of_a_float32_run_are_kept_in_float64():
    milestones = Milestones.until("log_loss", -7.0, 3, START.float())
    assert milestones.marks.dtype == milestones.start_log_loss.dtype == torch.float64


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("end", [2.0, 2.5, 3.0, 10.0])
def test_a_loss_that_not_every_start_is_above_is_refused(end):
    with pytest.raises(ValueError, match=r"log_loss must lie below that of the start, 2, but"):
        Milestones.until("log_loss", end, 3, START)


@pytest.mark.parametrize("kind", ["log_time", "log_loss"])
def test_the_position_is_zero_at_the_start(kind):
    problem = Problem([2, 2], 3)
    system = FlowSystem(problem, torch.device("cpu"))
    y = system.layout.pack(problem.random_state(seed=0, replicas=2).factors)
    log_loss = system.loss(y).log_loss
    milestones = Milestones.until(kind, -1.0, 3, log_loss)
    assert milestones.position(torch.full_like(log_loss, -torch.inf), log_loss, torch.arange(2)).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("log_time", [-20.0, 0.0, 3.0, 200.0])
def test_records_are_even_in_log_of_one_plus_log_of_one_plus_t(log_time):
    problem = Problem([2, 1, 2], 3)
    path = gradient_flow(problem, problem.random_state(seed=0), log_time=log_time, records=9)
    v = torch.log1p(torch.logaddexp(torch.zeros(1).double(), path.log_time))
    # −20 … 200: the marks are met to round-off of their size, and of log t near the start where v ≈ t.
    torch.testing.assert_close(v, float(v[-1]) * torch.arange(9).double() / 8, rtol=1e-12, atol=1e-15)


def test_records_towards_a_loss_are_even_in_its_logarithm():
    problem = Problem([2, 1, 2], 3)
    path = gradient_flow(problem, problem.random_state(seed=0), log_loss=-40.0, records=9)
    v = torch.log1p(path.log_loss[0] - path.log_loss)
    torch.testing.assert_close(v, float(v[-1]) * torch.arange(9).double() / 8, rtol=1e-12, atol=1e-15)
    assert float(path.log_loss[-1]) == pytest.approx(-40, rel=1e-12)
