"""Flows and descents on a device give the bits of the CPU in as many steps, and keep their states there."""

from pathlib import Path

import pytest
import torch
from both_devices import on_both, state_on
from standin_device import NAME

import ulpm

pytestmark = pytest.mark.usefixtures("unchecked_module")  # checks cost several times what the flows themselves do

COUNTS, DIM = [3] * 3, 4
TIMES = torch.tensor([1.0, 3.0])
PROBLEMS = {
    "cross-entropy": ulpm.Problem(COUNTS, DIM),
    "bias": ulpm.Problem(COUNTS, DIM, bias=True),
    "mean over samples": ulpm.Problem(COUNTS, DIM, reduction="mean"),
    "imbalanced": ulpm.Problem([4, 2, 1], DIM),
    "label smoothing": ulpm.Problem(COUNTS, DIM, loss=ulpm.CrossEntropy(label_smoothing=0.1)),
    "focal": ulpm.Problem(COUNTS, DIM, loss=ulpm.Focal(gamma=2.0)),
    "squared error": ulpm.Problem(COUNTS, DIM, loss=ulpm.SquaredError()),
    "decay": ulpm.Problem(COUNTS, DIM, weight_decay=(0.1, 0.05), bias=True),
}
# Late enough for the stiff method.
LOG10_TIMES = {"squared error": 6.0, "label smoothing": 6.0, "decay": 4.0}


def start(problem: ulpm.Problem, device: str, **how: object) -> ulpm.State:
    return problem.random_state(seed=0, device=device, **how)  # type: ignore[arg-type]


def flow(name: str, log10_time: float) -> ulpm.Trajectory:
    problem = PROBLEMS[name]
    path = on_both(lambda device: ulpm.gradient_flow(problem, start(problem, device), log10_time=log10_time, records=3))
    assert path.finished
    assert path.final_state.W.device.type == NAME
    assert path.log_loss.device.type == "cpu"
    return path


@pytest.mark.parametrize("name", PROBLEMS)
def test_explicit_steps_for_every_problem_are_those_of_the_cpu(name: str) -> None:
    assert flow(name, log10_time=0.0).stats["steps"] >= 3


@pytest.mark.parametrize(
    "name", [name if name == "bias" else pytest.param(name, marks=pytest.mark.slow) for name in PROBLEMS]
)
def test_stiff_steps_are_those_of_the_cpu(name: str) -> None:
    assert flow(name, LOG10_TIMES.get(name, 100.0)).stats["jacobian_products"] > 0


@pytest.mark.parametrize("replicas", [pytest.param(None, marks=pytest.mark.slow), 2])
def test_solves_in_coordinates_are_those_of_the_cpu(replicas: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ulpm.flow.reduction.worthwhile", lambda *_: True)
    problem = ulpm.Problem(COUNTS, 9)

    def steps(device: str) -> ulpm.Trajectory:
        return ulpm.gradient_flow(problem, start(problem, device, replicas=replicas), log10_time=1000, max_steps=45)

    assert on_both(steps).stats["jacobian_products"] > 0


def test_a_step_whose_solves_need_more_iterations_than_the_last_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ulpm.flow.loop._SPARE_ITERATIONS", -2)
    problem = PROBLEMS["cross-entropy"]

    def few_steps(device: str) -> ulpm.Trajectory:
        return ulpm.gradient_flow(problem, start(problem, device), log10_time=1000, records=2, max_steps=36)

    assert on_both(few_steps).stats["jacobian_products"] > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_five_replicas_with_snapshots_are_those_of_the_cpu(dtype: torch.dtype) -> None:
    problem = PROBLEMS["cross-entropy"]
    how = {"replicas": 5, "dtype": dtype}
    path = on_both(
        lambda device: ulpm.gradient_flow(
            problem, start(problem, device, **how), log10_time=0, records=4, snapshots=2, rtol=1e-4
        )
    )
    assert path.finished
    assert path.final_state.W.dtype == dtype
    assert path.snapshots is not None


def test_a_flow_to_a_loss_with_times_of_its_own_start() -> None:
    problem = PROBLEMS["cross-entropy"]
    on_both(
        lambda device: ulpm.gradient_flow(
            problem,
            start(problem, device, replicas=2),
            log_loss=-9.0,
            records=4,
            start_log_time=torch.tensor([1.0, 3.0]),
        )
    )


def test_a_flow_recorded_at_given_times() -> None:
    problem = PROBLEMS["bias"]
    path = on_both(
        lambda device: ulpm.gradient_flow(problem, start(problem, device), log_time=2, save_at=[-3.0, 0.0, 1.5])
    )
    assert len(path.log_time) == 5


def test_a_critical_start_and_a_run_out_of_steps() -> None:
    problem = PROBLEMS["cross-entropy"]
    zero = ulpm.State(torch.zeros(3, DIM, dtype=torch.float64), torch.zeros(DIM, 9, dtype=torch.float64))
    resting = on_both(lambda device: ulpm.gradient_flow(problem, state_on(device, zero), log_time=3, records=2))
    assert resting.status is ulpm.Status.STATIONARY
    stopped = on_both(
        lambda device: ulpm.gradient_flow(
            problem, start(problem, device, replicas=2), log_time=9, records=3, max_steps=5
        )
    )
    assert set(stopped.status) == {ulpm.Status.STEP_LIMIT}


@pytest.mark.parametrize("there", [NAME, "cpu"])
def test_a_flow_resumes_on_its_device_or_on_another(tmp_path: Path, there: str) -> None:
    problem = PROBLEMS["bias"]
    uninterrupted = ulpm.gradient_flow(problem, start(problem, "cpu", replicas=2), log10_time=4, records=4)
    part = ulpm.gradient_flow(
        problem,
        start(problem, NAME, replicas=2),
        log10_time=4,
        records=4,
        max_steps=9,
        checkpoint=tmp_path / "c",
    )
    assert ulpm.Status.STEP_LIMIT in part.status
    whole = ulpm.resume_flow(tmp_path / "c", max_steps=10_000, device=None if there == NAME else there)
    assert whole.final_state.W.device.type == there
    assert whole.stats == uninterrupted.stats
    for column, expected in zip(whole.columns().values(), uninterrupted.columns().values(), strict=True):
        assert torch.equal(column.nan_to_num(), expected.nan_to_num())


def test_a_trajectory_is_saved_and_loaded(tmp_path: Path) -> None:
    problem = PROBLEMS["cross-entropy"]

    def saved(device: str) -> ulpm.Trajectory:
        path = ulpm.gradient_flow(problem, start(problem, device), log_time=1, records=4, snapshots=2)
        path.save(tmp_path / device)
        return ulpm.Trajectory.load(tmp_path / device)

    assert on_both(saved).snapshots is not None


DESCENTS: dict[str, dict[str, object]] = {
    "constant rate": {},
    "momentum": {"momentum": 0.7, "snapshots": 2},
    "loss-scaled": {"loss_scaled": True, "learning_rate": 0.5},
}


@pytest.mark.parametrize("how", DESCENTS)
@pytest.mark.parametrize("replicas", [None, 3])
def test_a_descent_is_that_of_the_cpu(how: str, replicas: int | None) -> None:
    problem = PROBLEMS["bias"]
    path = on_both(
        lambda device: ulpm.gradient_descent(
            problem, start(problem, device, replicas=replicas), steps=30, records=4, **DESCENTS[how]
        )
    )
    assert path.final_state.H.device.type == NAME


def test_the_value_of_the_loss_and_its_two_derivatives_are_those_of_the_cpu() -> None:
    problem = PROBLEMS["decay"]

    def derivatives(device: str) -> list[torch.Tensor]:
        state = start(problem, device)
        W, H, b = (part.requires_grad_() for part in (state.W, state.H, state.b))
        loss = ulpm.log_loss(problem, ulpm.State(W, H, b))
        slopes = torch.autograd.grad(loss, (W, H, b), create_graph=True)
        curvature = torch.autograd.grad(sum(slope.sum() for slope in slopes), (W, H, b))
        gap = ulpm.margin(problem, ulpm.State(W, H, b))
        return [loss, *slopes, *curvature, gap, *torch.autograd.grad(gap, (W, H))]

    on_both(derivatives)
