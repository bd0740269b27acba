"""Figures of a run beside the theory. matplotlib is used through its objects only: no windows, no global state.

``style``, ``house_style``, ``legend_below``, ``save_figure`` and ``FORMULAS``, the metrics in LaTeX, are for those who
draw other figures in the same look, whatever their matplotlibrc says.
"""

from ulpm.plotting.house import house_style  # isort: skip
from ulpm.plotting import style
from ulpm.plotting.certificate import plot_certificate
from ulpm.plotting.collapse import plot_collapse
from ulpm.plotting.curves import plot_invariants, plot_loss, plot_margin
from ulpm.plotting.features import plot_features
from ulpm.plotting.files import save_figure, save_figures
from ulpm.plotting.forecast import plot_forecast
from ulpm.plotting.legends import legend_below
from ulpm.plotting.metrics import FORMULAS, plot_metrics
from ulpm.plotting.monitored import plot_depth, plot_monitor

__all__ = [
    "FORMULAS",
    "house_style",
    "legend_below",
    "plot_certificate",
    "plot_collapse",
    "plot_depth",
    "plot_features",
    "plot_forecast",
    "plot_invariants",
    "plot_loss",
    "plot_margin",
    "plot_metrics",
    "plot_monitor",
    "save_figure",
    "save_figures",
    "style",
]
