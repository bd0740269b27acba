"""A training run whose "network" is the model itself, with a known feature mobility: a comparison must find it out."""

import math
from pathlib import Path

import torch

import ulpm
from real_experiments.comparison.model_flow import with_mobility
from real_experiments.recipe import Recipe
from real_experiments.training_directory import TrainingDirectory

PROBLEM = ulpm.Problem([5, 5, 5], 6)
START, END, STEP = 20, 160, 10  # epochs
TIME = 0.05  # flow time of an epoch


def write_run(path: Path, mobility: float, epochs: int = END, error_until: int = 10, bias: bool = False) -> None:
    """A training directory of the flow with ``mobility``, from a state with ‖H‖² = mobility · ‖W‖² at epoch START."""
    directory = TrainingDirectory(path)
    recipe = Recipe(width=2, dataset="fashion-mnist-sample", epochs=epochs, bias=bias)
    directory.write_config({"arguments": recipe.to_json()})
    drawn = PROBLEM.random_state(seed=3, scale=1.5)
    own = ulpm.State(drawn.W / drawn.W.norm() * 3, drawn.H / drawn.H.norm() * 3)
    state = ulpm.State(own.W * mobility**-0.25, own.H * mobility**0.25)
    rows = []
    for epoch in range(START, epochs + 1, STEP):
        row = {"epoch": epoch, "flow_time": TIME * epoch, **_measured(state)}
        row["train_error"] = float(epoch < error_until)
        rows.append(row)
        if epoch in (START, epochs):
            tensors = {"W": state.W, "H": state.H, "labels": PROBLEM.labels}
            directory.write_snapshot(epoch, tensors, {"class_counts": PROBLEM.class_counts})
        state = _later(state, mobility, TIME * STEP)
    directory.write_rows(rows)


def _later(state: ulpm.State, mobility: float, time: float) -> ulpm.State:
    log_time = math.log(time * math.sqrt(mobility))
    path = ulpm.gradient_flow(PROBLEM, with_mobility(state, mobility), log_time=log_time, rtol=1e-8, records=2)
    return ulpm.State(path.final_state.W * mobility**-0.25, path.final_state.H * mobility**0.25)


def _measured(state: ulpm.State) -> dict[str, float]:
    log_loss, margin = ulpm.log_loss(PROBLEM, state), ulpm.margin(PROBLEM, state)
    certificate = ulpm.certify(PROBLEM, state)
    values = {
        "train_loss": log_loss.exp() / PROBLEM.num_samples,
        "log_loss": log_loss,
        "squared_norm": state.squared_norm,
        "margin": margin,
        "normalised_margin": margin / state.squared_norm,
        **ulpm.neural_collapse(state.W, state.H, PROBLEM.labels),
        "classifier_sum_drift": torch.tensor(1e-7),
        "certificate_lower_bound": certificate.lower_bound,
        "certificate_nuclear_upper_bound": certificate.nuclear_upper_bound,
    }
    return {name: float(value) for name, value in values.items()}
