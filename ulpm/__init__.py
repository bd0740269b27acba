"""Reference software for neural collapse theory: the unconstrained layer-peeled model (ULPM) and its gradient flow."""

from ulpm.descent import gradient_descent
from ulpm.field import log_loss, margin
from ulpm.flow import gradient_flow, resume_flow
from ulpm.metrics import ClassMoments, measure, neural_collapse, neural_collapse_from_moments, probe
from ulpm.problem import Problem, State, from_features
from ulpm.sample import fashion_mnist_sample
from ulpm.trajectory import Snapshots, Status, Trajectory

__all__ = [
    "ClassMoments",
    "Problem",
    "Snapshots",
    "State",
    "Status",
    "Trajectory",
    "fashion_mnist_sample",
    "from_features",
    "gradient_descent",
    "gradient_flow",
    "log_loss",
    "margin",
    "measure",
    "neural_collapse",
    "neural_collapse_from_moments",
    "probe",
    "resume_flow",
]
