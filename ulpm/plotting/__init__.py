"""Figures of a run beside the theory. matplotlib is used through its objects only: no windows, no global state."""

from ulpm.plotting.certificate import plot_certificate
from ulpm.plotting.collapse import plot_collapse
from ulpm.plotting.curves import plot_invariants, plot_loss, plot_margin
from ulpm.plotting.files import save_figures
from ulpm.plotting.metrics import plot_metrics

__all__ = [
    "plot_certificate",
    "plot_collapse",
    "plot_invariants",
    "plot_loss",
    "plot_margin",
    "plot_metrics",
    "save_figures",
]
