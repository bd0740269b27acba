"""Arguments that make no sense are a TypeError, ValueError, OSError or ImportError with one sentence."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ulpm
from ulpm import plotting

pytestmark = pytest.mark.usefixtures("unchecked")

CALLS = [150, pytest.param(1000, marks=pytest.mark.slow)]
PROBLEM = ulpm.Problem([2, 2, 1], 3)
STATE = PROBLEM.random_state(seed=0)
LABELS = PROBLEM.labels
FEATURES = STATE.H.T
MODEL = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
MOMENTS = ulpm.ClassMoments(3, 3)
MOMENTS.update(FEATURES, LABELS)
BATCH = (torch.linspace(-1, 1, 18, dtype=torch.float64).sin().reshape(6, 3), torch.arange(6) % 3)
KNOWN = ulpm.Features.of(FEATURES, LABELS, STATE.W)
LATER = ulpm.Features.of(2 * FEATURES, LABELS, 2 * STATE.W)


def hostile() -> list[Any]:
    """Values of any kind; made anew, since some of them may be changed."""
    W = STATE.W
    tensors = [W.to_sparse(), W.to("meta"), W.half(), W.long(), W * torch.nan, W[:0], W[None, None], W.mT, W.clone()]
    numbers = [10**400, -(10**400), 2**63, -1, 0, 1, 1e308, -1e308, 1e-320, float("nan"), float("inf"), 1 + 2j, True]
    others = [None, "", "x", "\0", b"\xff", [], [[]], [1, "a"], (), {}, object(), int, lambda: 0, Path("/nowhere")]
    return [*tensors, *numbers, *others, np.float32(1), np.array([1.0]), PROBLEM, STATE, torch.tensor(1.0), LABELS]


# A call of each with arguments that are right, and small whatever one of the hostile ones puts in their place.
CALLED: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Problem": (ulpm.Problem, {"class_counts": [2, 2], "feature_dim": 2}),
    "State": (ulpm.State, {"W": STATE.W, "H": STATE.H}),
    "random_state": (
        PROBLEM.random_state,
        {"seed": 0, "scale": 1.0, "replicas": 2, "dtype": torch.float64, "device": "cpu"},
    ),
    "from_features": (ulpm.from_features, {"features": STATE.H.T, "labels": LABELS, "classifier": STATE.W, "seed": 0}),
    "gradient_flow": (
        ulpm.gradient_flow,
        {
            "problem": PROBLEM,
            "state": STATE,
            "log_time": 0.1,
            "rtol": 1e-3,
            "records": 3,
            "snapshots": 1,
            "max_steps": 5,
        }
        | {"checkpoint": None, "config": None},
    ),
    "gradient_descent": (
        ulpm.gradient_descent,
        {"problem": PROBLEM, "state": STATE, "learning_rate": 0.1, "momentum": 0.5, "steps": 3, "records": 2}
        | {"snapshots": 1, "config": None},
    ),
    "resume_flow": (ulpm.resume_flow, {"checkpoint": "/nowhere/at/all"}),
    "load": (ulpm.Trajectory.load, {"path": "/nowhere/at/all"}),
    "log_loss": (ulpm.log_loss, {"problem": PROBLEM, "state": STATE}),
    "margin": (ulpm.margin, {"problem": PROBLEM, "state": STATE}),
    "certify": (ulpm.certify, {"problem": PROBLEM, "state": STATE}),
    "sphere_critical_point": (ulpm.sphere_critical_point, {"problem": PROBLEM, "state": STATE}),
    "simplex_etf": (ulpm.simplex_etf, {"num_classes": 3, "feature_dim": 3}),
    "collapsed_state": (ulpm.collapsed_state, {"problem": ulpm.Problem([2, 2], 3), "norm": 1.0}),
    "block_state": (ulpm.block_state, {"problem": ulpm.Problem([2] * 4, 3), "block_size": 2, "norm": 1.0}),
    "seli_state": (ulpm.seli_state, {"problem": PROBLEM, "norm": 1.0}),
    "neural_collapse": (
        ulpm.neural_collapse,
        {"W": STATE.W, "H": STATE.H, "labels": LABELS, "bias": None, "center": "classes"}
        | {"per_class": False, "absent": "refuse"},
    ),
    "ClassMoments": (ulpm.ClassMoments, {"num_classes": 3, "feature_dim": 3}),
    "update": (ulpm.ClassMoments(3, 3).update, {"h": FEATURES, "y": LABELS}),
    "merge": (ulpm.ClassMoments(3, 3).merge, {"other": MOMENTS}),
    "neural_collapse_from_moments": (
        ulpm.neural_collapse_from_moments,
        {"moments": MOMENTS, "W": STATE.W, "center": "classes"},
    ),
    "few_sample_nc1": (ulpm.metrics.few_sample_nc1, {"moments": MOMENTS, "center": "classes"}),
    "unrounded_nc1": (ulpm.metrics.unrounded_nc1, {"moments": MOMENTS, "center": "classes"}),
    "class_summary": (ulpm.class_summary, {"values": STATE.W[:, 0]}),
    "class_margins": (ulpm.class_margins, {"W": STATE.W, "H": STATE.H, "labels": LABELS, "bias": None}),
    "feature_rank": (ulpm.feature_rank, {"moments": MOMENTS}),
    "generalised_collapse": (ulpm.generalised_collapse, {"vectors": STATE.W, "classes": None, "centered": True}),
    "out_of_distribution": (ulpm.out_of_distribution, {"moments": MOMENTS, "outside": FEATURES}),
    "regression_collapse": (ulpm.regression_collapse, {"W": STATE.W[:2], "H": STATE.H, "Y": STATE.H[:2]}),
    "measure": (
        ulpm.measure,
        {"model": MODEL, "batches": [BATCH], "layer": None, "center": "classes", "means": None}
        | {"layers": None, "corrected": False, "per_class": False, "absent": "refuse", "unpack": None},
    ),
    "measure labels": (lambda labels: ulpm.measure(MODEL, [(BATCH[0], labels)]), {"labels": BATCH[1]}),
    "measure batch": (lambda batch: ulpm.measure(MODEL, [batch]), {"batch": BATCH}),
    "Monitor": (
        ulpm.Monitor,
        {"model": MODEL, "loaders": [BATCH], "every": "log", "layer": None, "layers": None}
        | {"means": None, "batch_norm": "running", "center": "classes", "unpack": None, "log": None},
    ),
    "Features": (
        ulpm.Features.of,
        {"features": FEATURES, "labels": LABELS, "classifier": STATE.W, "bias": None, "predictions": None},
    ),
    "load_features": (ulpm.load_features, {"file": "/nowhere/at/all.npz"}),
    "verdict": (ulpm.verdict, {"report": KNOWN.measure()}),
    "forecast": (
        ulpm.forecast,
        {"first": KNOWN, "second": LATER, "epochs": (1, 2), "at": [3], "time_per_epoch": 0.01, "rtol": 1e-2}
        | {"progress": False},
    ),
    "CrossEntropy": (ulpm.CrossEntropy, {"label_smoothing": 0.1}),
    "Focal": (ulpm.Focal, {"gamma": 2.0}),
    "optimum": (ulpm.optimum, {"problem": ulpm.Problem([2, 2], 2, weight_decay=(0.1, 0.1)), "solver": None}),
    "minimum_norm_separation": (
        ulpm.minimum_norm_separation,
        {"problem": PROBLEM, "solver": None, "symmetric": True, "margins": None},
    ),
    "norm_constrained_optimum": (
        ulpm.norm_constrained_optimum,
        {"problem": PROBLEM, "classifier_energy": 1.0, "feature_energy": 1.0, "solver": None},
    ),
    "regularised_optimum": (
        ulpm.regularised_optimum,
        {"problem": PROBLEM, "classifier_decay": 0.1, "feature_decay": 0.1, "solver": None},
    ),
}
# Long, but no mistake: what is asked for is done.
LONG = {("gradient_descent", "steps"), ("gradient_flow", "max_steps")}


SENTENCES = (TypeError, ValueError, OSError, ImportError)


def raised(function: Callable[..., Any], arguments: dict[str, Any]) -> Exception | None:
    """The exception of a call, if there is one."""
    try:
        function(**arguments)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("number", CALLS)
def test_any_arguments_are_taken_or_refused_with_one_sentence(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    refused = 0
    for call in range(number):
        name = rng.choice(list(CALLED))
        function, right = CALLED[name]
        wrong = dict(right)
        for argument in rng.sample(list(right), min(len(right), rng.choice((1, 1, 2)))):
            value = rng.choice(hostile())
            if (name, argument) not in LONG or isinstance(value, str | None | list | float | complex):
                wrong[argument] = value
        error = raised(function, wrong)
        if error is not None:
            assert isinstance(error, SENTENCES), f"call {call}: {name}({wrong}): {error!r}"
            assert str(error), f"call {call}: {name}({wrong})"
            assert "\n" not in str(error), f"call {call}: {name}({wrong}): {error}"
            refused += 1
    assert refused > number / 3


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLED)
def test_each_argument_is_taken_or_refused_with_one_sentence_whatever_it_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function, right = CALLED[name]
    for argument in right:
        if (name, argument) in LONG:
            continue
        for value in hostile():
            error = raised(function, right | {argument: value})
            assert error is None or isinstance(error, SENTENCES), f"{argument}={value!r}: {error!r}"
            assert "\n" not in str(error), f"{argument}={value!r}: {error}"


FIGURES = (
    plotting.plot_loss,
    plotting.plot_margin,
    plotting.plot_invariants,
    plotting.plot_certificate,
    plotting.plot_metrics,
    plotting.plot_collapse,
    plotting.plot_features,
    plotting.plot_forecast,
)


@pytest.mark.parametrize("figure", FIGURES)
def test_what_cannot_be_drawn_is_a_type_error(figure: Callable[..., Any]) -> None:
    for value in (None, "x", 3, [], {}, PROBLEM, STATE):
        with pytest.raises(
            TypeError, match=r"must be an ulpm\.(Trajectory|CollapseReport|Forecast), but a .* was given"
        ):
            figure(value)


@pytest.mark.parametrize("value", [1, "False", None, torch.tensor([True, False])])
def test_what_is_no_truth_value_is_a_type_error(value: Any) -> None:
    for name, flag in (
        ("neural_collapse", "per_class"),
        ("measure", "corrected"),
        ("generalised_collapse", "centered"),
        ("minimum_norm_separation", "symmetric"),
        ("gradient_flow", "progress"),
    ):
        function, right = CALLED[name]
        with pytest.raises(TypeError, match=f"{flag} must be True or False, but .* was given"):
            function(**right | {flag: value})


def test_what_a_state_of_overflowing_size_would_give_is_refused_and_not_nan() -> None:
    large = ulpm.State(STATE.W * 1e200, STATE.H * 1e200)
    for function in (ulpm.log_loss, ulpm.margin, ulpm.certify, ulpm.sphere_critical_point):
        with pytest.raises(ValueError, match="so large that its logits or its norm overflow: scale it down"):
            function(PROBLEM, large)


@pytest.mark.parametrize("name", [name for name, (_, right) in CALLED.items() if "problem" in right])
def test_what_is_no_problem_is_a_type_error(name: str) -> None:
    function, right = CALLED[name]
    for value in (None, "x", 3, [2, 2], STATE):
        with pytest.raises(TypeError, match=r"problem must be an ulpm\.Problem, but a .* was given"):
            function(**right | {"problem": value})


@pytest.mark.parametrize("make", [torch.Tensor.to_sparse, lambda W: W.to("meta")])
def test_tensors_without_dense_numbers_are_a_type_error(make: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with pytest.raises(TypeError, match=r"W must (be a dense tensor|hold numbers)"):
        ulpm.State(make(STATE.W), STATE.H)
