"""A trained network and the flows of the model: from which states the flows start, and the curves of both."""

import dataclasses
import math
from pathlib import Path

import torch

import ulpm
from real_experiments.comparison.curves import CLOCKS, Clock, Curve, network_curve
from real_experiments.comparison.mobility import means_and_outside
from real_experiments.comparison.network_run import NetworkRun
from real_experiments.comparison.rest import Rest, end_of_model, rest_quantities, with_decay
from real_experiments.training_directory import Row
from ulpm.forecasting import ModelFlow, measured_mobility, random_start
from ulpm.support import checks

__all__ = ["OWN", "OWN_MOBILE", "RANDOM", "RANDOM_MOBILE", "Comparison", "compare_with_model"]

OWN, OWN_MOBILE = "own", "own, mobile"
RANDOM, RANDOM_MOBILE = "random", "random, mobile"


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """One network and the flows of the model that it is compared with.

    The flows begin at ``snapshot``, a measured epoch at zero training error: "own" from the network's (W, H) there, as
    the model has it, and "own, mobile" with the feature ``mobility`` read off that state; "random" and "random, mobile"
    from Gaussian (W, H) of the norms of the network's first snapshot, at the network's first epoch. ``norms`` are ‖W‖²
    and ‖H‖² of the network at the snapshot and at its end. ``model_means`` are the norms of ``means_and_outside`` for
    the flow "own, mobile", at its start and where its loss is the network's last one, or with decay at its end.
    ``rest`` says where network and model end with weight decay, which has an end; None without.
    """

    run: NetworkRun
    problem: ulpm.Problem
    snapshot: int
    mobility: float
    network: Curve
    flows: dict[str, Curve]
    norms: dict[str, tuple[float, float]]
    model_means: dict[str, tuple[float, float]]
    control: NetworkRun | None
    rest: Rest | None = None

    @property
    def snapshot_row(self) -> Row:
        """The measurement at the snapshot's epoch."""
        return self.run.row(self.snapshot)

    @property
    def compared(self) -> tuple[str, ...]:
        """The metrics that the network's run has."""
        return tuple(self.network.metrics)

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """The clocks that the network has. Steps of Adam follow no flow, so they have no flow time.

        With weight decay the loss comes to rest, so it cannot serve as a clock.
        """
        if self.rest is not None:
            return CLOCKS[1:]
        return CLOCKS if self.run.recipe.optimizer == "sgd" else CLOCKS[:1]

    def terminal_rows(self) -> list[Row]:
        """The measurements from the first epoch at zero training error on; none if it was never reached."""
        first = self.run.epoch_without_error()
        return [] if first is None else [row for row in self.run.rows if row["epoch"] >= first]


def compare_with_model(
    run: NetworkRun,
    control: NetworkRun | None,
    snapshot: int | None,
    seed: int,
    rtol: float,
    device: torch.device,
    keep: Path,
    progress: bool,
) -> Comparison:
    """Follow the flows that belong to a network as far as it was trained; they are kept in the folder ``keep``.

    The model has the loss, the bias and the decay of the network (``rest``).

    Raises: ValueError or OSError with one sentence if the network never reached zero training error (and no
    ``snapshot`` is named), was trained no further, or if something cannot be read or written.
    """
    checks.integer("--seed", seed, 0)
    epoch = run.epoch_without_error() if snapshot is None else snapshot
    if epoch is None:
        raise ValueError(
            f"{run.directory.path} has not reached zero training error by epoch {run.rows[-1]['epoch']}: train it "
            "longer, or name a --snapshot."
        )
    row, later = run.row(epoch), [row for row in run.rows if row["epoch"] > epoch]
    if not later:
        raise ValueError(f"{run.directory.path} was trained no further than the snapshot's epoch {epoch}: train on.")
    problem, own = run.state(epoch, device)
    last = run.state(max(run.directory.snapshot_files()), device)[1]
    problem = with_decay(problem, run.recipe, last)
    first = next(iter(run.directory.snapshot_files()))
    random = random_start(problem, run.state(first, device)[1], seed)
    started, own_time = run.row(first)["flow_time"], row["flow_time"]
    end_loss, end_time = min(row["log_loss"] for row in later), later[-1]["flow_time"]
    if run.recipe.optimizer != "sgd":
        started = own_time = end_time = 0.0  # not a clock of this network: the flows stop at its loss alone
    flows = [
        ModelFlow(OWN, problem, own, 1.0, own_time),
        ModelFlow(OWN_MOBILE, problem, own, measured_mobility(own), own_time),
        ModelFlow(RANDOM, problem, random, 1.0, started),
        ModelFlow(RANDOM_MOBILE, problem, random, measured_mobility(random), started),
    ]
    paths = {flow.name: flow.follow(end_loss, end_time, _kept(keep, flow.name), rtol, progress) for flow in flows}
    mobile, rest = flows[1], None
    if problem.decayed:
        ends = {flow.name: flow.network_state(paths[flow.name].final_state) for flow in flows[:2]}
        end, rest = paths[mobile.name].final_state, _rest(run, problem, last, ends)
    else:
        end = mobile.state_at_loss(run.rows[-1]["log_loss"], _kept(keep, "own, mobile, end"), rtol, progress)
    return Comparison(
        run,
        problem,
        epoch,
        mobile.mobility,
        network_curve(run.rows),
        {flow.name: flow.curve(paths[flow.name], end_time) for flow in flows},
        {"snapshot": _squared_norms(own), "end": _squared_norms(last)},
        {"snapshot": means_and_outside(problem, mobile.start), "end": means_and_outside(problem, end)},
        control,
        rest,
    )


def _rest(run: NetworkRun, problem: ulpm.Problem, last: ulpm.State, ends: dict[str, ulpm.State]) -> Rest:
    """``ends`` are those of the flows, in the network's units."""
    optimum, gap = end_of_model(problem)
    λ_W, λ_H = problem.weight_decay
    return Rest(
        (λ_W / problem.num_samples, λ_H / problem.num_samples),
        2 * λ_W * run.rows[-1]["flow_time"] / math.log(2),
        rest_quantities(problem, last),
        None if optimum is None else rest_quantities(problem, optimum.to(str(last.W.device))),
        gap,
        {name: rest_quantities(problem, state) for name, state in ends.items()},
    )


def _kept(folder: Path, name: str) -> Path:
    """Where a flow is kept."""
    return folder / f"{name.replace(', ', '-')}.safetensors"


def _squared_norms(state: ulpm.State) -> tuple[float, float]:
    """‖W‖² and ‖H‖²."""
    return float(state.W.square().sum()), float(state.H.square().sum())
