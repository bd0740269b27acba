"""A training run whose "network" is the model itself, with a known feature mobility: a comparison must find it out."""

import dataclasses
import math
import shutil
import tempfile
from pathlib import Path

import torch

import ulpm
from real_experiments.recipe import Recipe
from real_experiments.training_directory import TrainingDirectory
from ulpm.forecasting import with_mobility

PROBLEM = ulpm.Problem([5, 5, 5], 6)
START, END, STEP = 20, 160, 10  # epochs
TIME = 0.05  # flow time of an epoch


def write_run(path: Path, mobility: float, epochs: int = END, error_until: int = 10, **changes: object) -> None:
    """Write the run that is described at ``_write``; the same one again is a copy."""
    key = (mobility, epochs, error_until, *sorted(changes.items()))
    if key not in _WRITTEN:
        _WRITTEN[key] = tempfile.TemporaryDirectory()
        _write(Path(_WRITTEN[key].name) / "run", mobility, epochs, error_until, **changes)
    shutil.copytree(Path(_WRITTEN[key].name) / "run", path)


_WRITTEN: "dict[tuple[object, ...], tempfile.TemporaryDirectory[str]]" = {}


def _write(path: Path, mobility: float, epochs: int, error_until: int, **changes: object) -> None:
    """A training directory of the flow with ``mobility``, from a state with ‖H‖² = mobility · ‖W‖² at epoch START.

    ``changes`` are of the recipe, whose loss, bias and decay are the model's. ‖H‖² = mobility · ‖W‖² for ever, so that
    a λ_H that is λ_W/mobility is the one that a comparison fits.
    """
    directory = TrainingDirectory(path)
    recipe = Recipe(width=2, dataset="fashion-mnist-sample", epochs=epochs, **changes)  # type: ignore[arg-type]
    directory.write_config({"arguments": recipe.to_json()})
    problem = ulpm.Problem(PROBLEM.class_counts, PROBLEM.feature_dim, recipe.model_loss, bias=recipe.bias)
    drawn = PROBLEM.random_state(seed=3, scale=1.5)
    W, H = drawn.W / drawn.W.norm() * 3, drawn.H / drawn.H.norm() * 3
    bias = 0.1 * drawn.W[:, 0] if recipe.bias else None
    state = ulpm.State(W * mobility**-0.25, H * mobility**0.25, bias)
    rows = []
    for epoch in range(START, epochs + 1, STEP):
        row = {"epoch": epoch, "flow_time": TIME * epoch, **_measured(problem, state)}
        row["train_error"] = float(epoch < error_until)
        rows.append(row)
        if epoch in (START, epochs):
            tensors = {"W": state.W, "H": state.H, "labels": PROBLEM.labels}
            tensors |= {} if state.b is None else {"bias": state.b}
            directory.write_snapshot(epoch, tensors, {"class_counts": PROBLEM.class_counts})
        state = _later(problem, state, mobility, TIME * STEP, recipe.weight_decay)
    directory.write_rows(rows)


def _later(problem: ulpm.Problem, state: ulpm.State, mobility: float, time: float, decay: float) -> ulpm.State:
    # In the units of with_mobility both factors decay alike.
    both = problem.num_samples * decay / math.sqrt(mobility)
    decayed = dataclasses.replace(problem, weight_decay=(both, both))
    log_time = math.log(time * math.sqrt(mobility))
    path = ulpm.gradient_flow(decayed, with_mobility(state, mobility), log_time=log_time, rtol=1e-8, records=2)
    return with_mobility(path.final_state, 1 / mobility)


def _measured(problem: ulpm.Problem, state: ulpm.State) -> dict[str, float]:
    log_loss, margin = ulpm.log_loss(problem, state), ulpm.margin(problem, state)
    certificate = ulpm.certify(PROBLEM, ulpm.State(state.W, state.H))
    values = {
        "train_loss": log_loss.exp() / PROBLEM.num_samples,
        "log_loss": log_loss,
        "squared_norm": state.squared_norm,
        "margin": margin,
        "normalised_margin": margin / state.squared_norm,
        **ulpm.neural_collapse(state.W, state.H, PROBLEM.labels, state.b),
        "classifier_sum_drift": torch.tensor(1e-7),
        "certificate_lower_bound": certificate.lower_bound,
        "certificate_nuclear_upper_bound": certificate.nuclear_upper_bound,
    }
    return {name: float(value) for name, value in values.items()}
