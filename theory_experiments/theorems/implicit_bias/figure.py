"""Smoothed margin and both KKT residuals along the flows."""

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import ulpm
from theory_experiments.theorems.implicit_bias.config import Config
from theory_experiments.theorems.implicit_bias.measurement import Data, separated, slack_bound, smoothed_margin
from ulpm.plotting import style

__all__ = ["plot"]


def plot(config: Config, data: Data) -> Figure:
    """Smoothed margin, stationarity residual and complementary slackness against time."""
    runs = style.runs(data.paths, [_kind(path.problem) for path in data.paths])
    figure = style.new_figure(
        14, 4.8, f"Implicit bias of the flow · {config.starts} starts each (median, least to greatest)"
    )
    margin, stationarity, slack = figure.subplots(1, 3)
    for run in runs:
        columns, path = run.path.columns(), run.path
        smoothed = smoothed_margin(config, path)
        style.draw(margin, run, torch.where(separated(path), smoothed / smoothed[-1], torch.nan), label=run.label)
        style.draw(stationarity, run, _finite(columns["stationarity"]))
        style.draw(slack, run, _finite(columns["complementarity"]))
        bound = torch.where(separated(path), slack_bound(path.problem) / path.margin, torch.nan)
        style.draw(slack, run, bound, **style.THEORY | {"color": run.color})
        style.draw(
            stationarity, run, (path.squared_norm[0] / path.squared_norm).sqrt(), **style.THEORY | {"color": run.color}
        )
    margin.set_ylabel("smoothed margin, relative to its end")
    _log_axis(stationarity, r"stationarity residual")
    _log_axis(slack, r"complementary slackness")
    for axes in (margin, stationarity, slack):
        style.time_axis(axes, runs)
        style.finish(axes)
    margin.legend(fontsize=9, frameon=False, loc="lower right")
    for axes, label in ((stationarity, r"bound $\rho(0)/\rho$"), (slack, r"bound $2N(K-1)/(e\,q_{\min})$")):
        axes.plot([], [], **style.THEORY, label=label)
        axes.legend(fontsize=10, frameon=False, loc="upper right")
    return figure


def _kind(problem: ulpm.Problem) -> str:
    if problem.feature_dim < problem.num_classes - 1:
        return "d < K − 1"
    return "balanced" if problem.balanced else "unequal"


def _finite(values: Float[Tensor, " R *batch"]) -> Float[Tensor, " R *batch"]:
    return torch.where(values.isinf(), torch.nan, values)


def _log_axis(axes: Axes, label: str) -> None:
    axes.set(yscale="log", ylabel=label)
