"""The gradient flow of log L in rescaled time, followed to astronomically late time."""

from ulpm.flow.run import gradient_flow, resume_flow

__all__ = ["gradient_flow", "resume_flow"]
