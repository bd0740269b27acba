"""The gradient flow of log L in rescaled time, followed to astronomically late time."""

from ulpm.flow.run import FlowRun, gradient_flow, resume_flow
from ulpm.flow.solver import Solver

__all__ = ["FlowRun", "Solver", "gradient_flow", "resume_flow"]
