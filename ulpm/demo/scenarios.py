"""The scenarios of the page: runs from their starts, seen and measured."""

import math
from collections.abc import Iterator, Sequence

from ulpm.demo.clock import flow_time, scientific
from ulpm.demo.curves import Panel, bounds_panel, distance_panel, loss_panel, metrics_panel
from ulpm.demo.network import network_scenario
from ulpm.demo.scenario import Scenario
from ulpm.demo.starts import LECTURE, Start, own_start
from ulpm.demo.view import has_target, scene_of
from ulpm.flow import gradient_flow
from ulpm.problem import Problem
from ulpm.sample import first_images
from ulpm.state import State
from ulpm.trajectory import Trajectory

__all__ = ["LOG10_TIME", "flow_scenario", "lecture", "own_setting"]

LOG10_TIME = 1000.0
FRAMES = 121


def lecture() -> Iterator[Scenario]:
    """The scenarios of the page, each as soon as its run ends."""
    for start in LECTURE:
        yield flow_scenario(start())
    yield network_scenario()


def own_setting(class_counts: Sequence[int], feature_dim: int, seed: int, log10_time: float) -> Scenario:
    """A scenario of sizes that you choose, from a random start.

    Raises: TypeError or ValueError for sizes, a seed or a time that make no sense, or a run that does not get there.
    """
    return flow_scenario(own_start(Problem(class_counts, feature_dim), seed), log10_time)


def flow_scenario(start: Start, log10_time: float = LOG10_TIME, frames: int = FRAMES) -> Scenario:
    """Follow the gradient flow from ``start``; every record is a frame.

    Raises: ValueError if the run does not come to its end.
    """
    problem = start.problem
    path = gradient_flow(problem, start.state, log10_time=log10_time, rtol=start.rtol, records=frames, snapshots=frames)
    if path.snapshots is None or not path.finished:
        raise ValueError(f"the run of {start.title!r} did not reach its end: {path.status}")
    return Scenario(
        key=start.key,
        title=start.title,
        caption=start.caption,
        facts=_facts(start, path),
        class_names=tuple(start.class_names or map(str, range(problem.num_classes))),
        scene=scene_of(problem, path.snapshots.W.cpu(), path.snapshots.H.cpu()),
        target_name=_target_name(problem),
        clock=flow_time(path.log_time),
        panels=_panels(path) if start.saddle is None else _panels_near(path, start.saddle),
        pictures=first_images() if start.pictured else None,
        pictured=start.pictured,
    )


def _facts(start: Start, path: Trajectory) -> str:
    problem = start.problem
    each = f"{problem.class_counts[0]} samples each"
    counts = each if problem.balanced else ", ".join(map(str, problem.class_counts)) + " samples"
    end = scientific(float(path.log_time[-1]) / math.log(10))
    return (
        f"Gradient flow of the summed cross-entropy; K = {problem.num_classes} classes ({counts}), "
        f"d = {problem.feature_dim}; {start.origin}; {path.stats['steps']} steps to t = {end}, "
        f"relative tolerance {path.config['rtol']:g}. Drawn are √(2K)·w/ρ and √(2N)·h/ρ, ρ² = ‖W‖² + ‖H‖²."
    )


def _target_name(problem: Problem) -> str:
    if problem.feature_dim < problem.num_classes - 1:
        return "best known shape"
    return "regular simplex" if problem.balanced else "shape of largest margin"


def _panels(path: Trajectory) -> tuple[Panel, ...]:
    certificate = path.certificate
    if certificate is None:
        raise ValueError("the run has no certificates.")
    return (
        metrics_panel(path.metrics),
        loss_panel(path.log_loss / math.log(10), "Training loss L (sum over samples)"),
        bounds_panel(certificate.lower_bound, certificate.nuclear_upper_bound, _optimum(path.problem)),
    )


def _panels_near(path: Trajectory, saddle: State) -> tuple[Panel, ...]:
    """With the distance of (W, H)/ρ from that of the saddle in place of the loss, which tells little there."""
    metrics, _, bounds = _panels(path)
    if path.snapshots is None:
        raise ValueError("the run has no snapshots.")
    directions = State(path.snapshots.W, path.snapshots.H).vector()
    directions = directions / directions.norm(dim=-1, keepdim=True)
    at = saddle.vector() / saddle.vector().norm()
    title = "Distance from the saddle, relative to the norm ρ"
    return metrics, distance_panel((directions - at).norm(dim=-1), title, "distance"), bounds


def _optimum(problem: Problem) -> tuple[float, str] | None:
    """v* in closed form, or the value of the best shape known."""
    if math.isfinite(problem.minimum_norm_value):
        return problem.minimum_norm_value, f"v* = {problem.minimum_norm_value:.5g}"
    if has_target(problem):
        value = problem.num_classes * math.sqrt(problem.class_counts[0])
        return value, f"best known {value:.5g}"
    return None
