"""The gradient flow of log L in rescaled time, followed to astronomically late time."""

from ulpm.flow.run import FlowRun, gradient_flow, resume_flow

__all__ = ["FlowRun", "gradient_flow", "resume_flow"]
