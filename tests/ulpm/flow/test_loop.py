"""The loop alone: a stepper with scripted errors, whose steps go in a straight line."""

import math

import pytest
import torch

from ulpm import Problem, Status
from ulpm.flow.loop import FlowLoop
from ulpm.flow.milestones import Milestones
from ulpm.flow.runge_kutta import Trial
from ulpm.flow.solver import Solver
from ulpm.flow.system import FlowSystem
from ulpm.recorder import Recorder

# They cost several times what the steps themselves do.
pytestmark = pytest.mark.usefixtures("unchecked")

PROBLEM = Problem([2, 1], 2)
RTOL = 1e-3
GOOD = 0.15  # an error that lets the step size stay about the same


class ScriptedStepper:
    """Euler steps; ``ratio(replica, attempt)`` is the local error of (W, H) over the tolerance."""

    order = 5
    evaluations_per_step = 6

    def __init__(self, run, ratio):
        self.run, self.ratio, self.attempt, self.sizes = run, ratio, 0, []

    def step(self, rate_function, y, rate, step_size):
        end, start_rate = y + step_size[:, None] * rate, rate.clone()
        end_rate = torch.empty_like(y)
        monitor = rate_function(end, end_rate)
        error = torch.zeros_like(y)
        replicas = self.run.state.cohort.replicas.tolist()
        wanted = torch.tensor([self.ratio(b, self.attempt) for b in replicas], dtype=y.dtype)
        error[:, 0] = wanted * RTOL * end.norm(dim=1)
        self.sizes.append(dict(zip(replicas, step_size.tolist(), strict=True)))
        self.attempt += 1
        middle, none = torch.lerp(y, end, 0.5), torch.zeros_like(step_size)
        return Trial(
            y, middle, end, end_rate, monitor, error, step_size, torch.stack([start_rate, end_rate]), stiffness=none
        )

    def interpolate(self, trial, theta, rows):
        return trial.start[rows] + (theta * trial.step_size[rows])[:, None] * trial.stages[0, rows]


class Scripted:
    """A run whose explicit stepper is scripted."""

    def __init__(self, ratio, replicas=3, log_time=3.0, records=5):
        system = FlowSystem(PROBLEM, torch.device("cpu"))
        y = system.layout.pack(PROBLEM.random_state(seed=0, replicas=replicas).factors)
        milestones = Milestones.until("log_time", log_time, records, system.loss(y).log_loss)
        recorder, clock = Recorder(PROBLEM, torch.device("cpu")), torch.zeros(replicas, dtype=torch.float64)
        self.loop = FlowLoop(system, recorder, RTOL, torch.float64, Solver())
        self.state = self.loop.start(milestones, y, clock, 0)
        self.loop.stepper = ScriptedStepper(self, ratio)
        self.state.cohort.step_size *= 0.2  # so short that the end is many steps away

    def step(self):
        self.state = self.loop.step(self.state)

    def run(self, attempts):
        for _ in range(attempts):
            if not self.state.running:
                return
            self.step()


def test_an_accepted_step_moves_and_a_rejected_one_does_not():
    run = Scripted(lambda b, attempt: 2.0 if b == 1 else GOOD)
    c = run.state.cohort
    y, rate, position, log_loss = c.y.clone(), c.rate.clone(), c.position.clone(), c.log_loss.clone()
    sizes = c.step_size.clone()
    run.step()
    c = run.state.cohort
    for b in (0, 2):
        torch.testing.assert_close(c.y[b], y[b] + sizes[b] * rate[b], rtol=1e-15, atol=0)
        assert c.position[b] > position[b]
        assert c.log_loss[b] < log_loss[b]
        assert c.previous_ratio[b] == pytest.approx(GOOD, rel=1e-12)
    for values, before in ((c.y, y), (c.rate, rate), (c.position, position), (c.log_loss, log_loss)):
        assert torch.equal(values[1], before[1])
    assert c.previous_ratio[1] == 1
    assert c.step_size[1] < sizes[1]


def test_the_counts_are_of_replicas_and_attempts():
    run = Scripted(lambda b, attempt: 2.0 if b == 1 else GOOD)
    run.run(4)
    assert run.state.counts["attempts"] == 4
    assert run.state.counts["steps"] == 8
    assert run.state.counts["rejected_steps"] == 4
    assert run.state.counts["field_evaluations"] == 3 + 4 * 3 * 6


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300])
def test_a_replica_whose_steps_never_pass_ends_and_leaves_the_others_alone(bad):
    run = Scripted(lambda b, attempt: bad if b == 1 else GOOD)
    start = run.state.cohort.y.clone()
    run.run(2000)
    assert run.state.status == [Status.LOG_TIME_REACHED, Status.STEP_TOO_SMALL, Status.LOG_TIME_REACHED]
    assert torch.equal(run.state.final[1], start[1])
    alone = Scripted(lambda b, attempt: GOOD)
    alone.run(2000)
    for b in (0, 2):
        torch.testing.assert_close(run.state.final[b], alone.state.final[b], rtol=1e-12, atol=1e-14)
    table = run.state.records.table["log_time"]
    assert torch.isnan(table[1:, 1]).all()
    assert not torch.isnan(table[:, [0, 2]]).any()


def test_a_replica_that_is_handed_over_in_its_last_step_takes_no_further_one():
    """With one replica stiff and one not, the steps of the two methods are taken one after the other."""
    run = Scripted(lambda b, attempt: GOOD, replicas=2)
    steps = []

    def attempt(state, part, stiff):
        steps.append((part.replicas.tolist(), stiff))
        if not stiff:
            part.stiff[:] = True
            part.next_record[:] = len(run.state.milestones.marks)
        return state

    run.loop._attempt = attempt
    run.state.cohort.stiff = torch.tensor([False, True])
    run.step()
    assert steps == [([0], False), ([1], True)]
    assert run.state.status == [Status.LOG_TIME_REACHED, Status.RUNNING]


def test_a_rejected_step_is_tried_again_shorter_until_it_passes():
    run = Scripted(lambda b, attempt: 3.0 if 2 <= attempt < 5 else GOOD)
    run.run(6)
    for b in range(3):
        sizes = [attempt[b] for attempt in run.loop.stepper.sizes]
        assert sizes[3] < sizes[2]
        assert sizes[4] < sizes[3]
        assert sizes[5] < sizes[4]
    assert run.state.counts["rejected_steps"] == 9


def test_replicas_end_each_at_its_own_attempt():
    run = Scripted(lambda b, attempt: GOOD if b < 2 else (2.0 if attempt in {3, 4, 9} else GOOD))
    sizes = []
    for _ in range(2000):
        if not run.state.running:
            break
        run.step()
        sizes.append(len(run.state.cohort.replicas))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 0
    assert len(set(sizes)) > 2
    assert run.state.status == [Status.LOG_TIME_REACHED] * 3
    assert run.state.fraction_done == 1


@pytest.mark.parametrize("records", [2, 5, 120])
def test_all_marks_inside_a_step_are_recorded_at_their_place(records):
    """With 120 records most steps pass several marks, with 2 most pass none."""
    run = Scripted(lambda b, attempt: GOOD, records=records)
    run.run(2000)
    v = torch.log1p(torch.logaddexp(torch.zeros(1, dtype=torch.float64), run.state.records.table["log_time"]))
    # The marks are met to 64 epsilon of v, which log T − log L and back round once more.
    torch.testing.assert_close(v, run.state.milestones.marks, rtol=1e-12, atol=1e-15)


def test_a_run_that_is_stopped_leaves_each_replica_where_it_is():
    run = Scripted(lambda b, attempt: GOOD)
    run.run(3)
    here = run.state.cohort.y.clone()
    done = run.state.fraction_done
    assert 0 < done < 1
    run.state = run.loop.stop(run.state)
    assert run.state.status == [Status.STEP_LIMIT] * 3
    assert torch.equal(run.state.final, here)
    assert not run.state.running


def test_progress_only_grows():
    run = Scripted(lambda b, attempt: GOOD if attempt % 2 else 2.0)
    seen = []
    for _ in range(2000):
        if not run.state.running:
            break
        seen.append(run.state.fraction_done)
        run.step()
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] < 1
