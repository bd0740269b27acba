"""A flow that is taken step by step, within ``torch.inference_mode``, to look at single steps."""

import dataclasses

import torch

import ulpm
from ulpm.flow.options import FlowOptions
from ulpm.flow.run import FlowRun

# So late that no step comes near it: nothing but the start is recorded.
_LOG_TIME = 1e6


def started(problem: ulpm.Problem, state: ulpm.State, rtol: float) -> FlowRun:
    """A flow at its start."""
    return FlowRun.prepare(problem, state, FlowOptions(log_time=_LOG_TIME, rtol=rtol, records=2))


def hand_over(run: FlowRun) -> None:
    """Let all replicas take their next step by the stiff method."""
    cohort = run.state.cohort
    stiff = dataclasses.replace(cohort, stiff=torch.ones_like(cohort.stiff))
    run.state = dataclasses.replace(run.state, cohort=stiff)


def go_to_stiff(run: FlowRun, most: int) -> None:
    """Take steps until the flow itself hands over. Raises: RuntimeError if it has not after so many."""
    for _ in range(most):
        if bool(run.state.cohort.stiff.all()):
            return
        run.step()
    raise RuntimeError(f"the flow was not handed over to the stiff method in {most} steps")
