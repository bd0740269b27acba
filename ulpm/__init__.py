"""Reference software for neural collapse theory: the unconstrained layer-peeled model (ULPM) and its gradient flow."""

from ulpm._versions import own_version
from ulpm.descent import gradient_descent
from ulpm.features import CollapseReport, Features, load_features, verdict
from ulpm.flow import Solver, gradient_flow, resume_flow
from ulpm.forecasting import Forecast, forecast
from ulpm.geometry import block_state, collapsed_state, seli_state, simplex_etf
from ulpm.losses import CrossEntropy, Focal, SquaredError
from ulpm.metrics import (
    ClassMoments,
    ClassSummary,
    GeneralisedCollapse,
    class_margins,
    class_summary,
    feature_rank,
    generalised_collapse,
    measure,
    neural_collapse,
    neural_collapse_from_moments,
    out_of_distribution,
    probe,
    regression_collapse,
)
from ulpm.monitor import Monitor
from ulpm.objective import log_loss, margin
from ulpm.optimality import (
    Certificate,
    CriticalPoint,
    LayerPeeledOptimum,
    Optimum,
    Separation,
    certify,
    minimum_norm_separation,
    norm_constrained_optimum,
    optimum,
    regularised_optimum,
    sphere_critical_point,
)
from ulpm.problem import Problem, from_features
from ulpm.sample import fashion_mnist_sample
from ulpm.state import State
from ulpm.trajectory import Snapshots, Status, Trajectory

__version__ = own_version()

__all__ = [
    "Certificate",
    "ClassMoments",
    "ClassSummary",
    "CollapseReport",
    "CriticalPoint",
    "CrossEntropy",
    "Features",
    "Focal",
    "Forecast",
    "GeneralisedCollapse",
    "LayerPeeledOptimum",
    "Monitor",
    "Optimum",
    "Problem",
    "Separation",
    "Snapshots",
    "Solver",
    "SquaredError",
    "State",
    "Status",
    "Trajectory",
    "block_state",
    "certify",
    "class_margins",
    "class_summary",
    "collapsed_state",
    "fashion_mnist_sample",
    "feature_rank",
    "forecast",
    "from_features",
    "generalised_collapse",
    "gradient_descent",
    "gradient_flow",
    "load_features",
    "log_loss",
    "margin",
    "measure",
    "minimum_norm_separation",
    "neural_collapse",
    "neural_collapse_from_moments",
    "norm_constrained_optimum",
    "optimum",
    "out_of_distribution",
    "probe",
    "regression_collapse",
    "regularised_optimum",
    "resume_flow",
    "seli_state",
    "simplex_etf",
    "sphere_critical_point",
    "verdict",
]
