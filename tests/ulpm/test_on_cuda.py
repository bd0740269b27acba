"""Flows, certificates and metrics on a GPU are those of the CPU but for rounding."""

import pytest
import torch

import ulpm

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
PROBLEMS = {
    "cross-entropy": ulpm.Problem([5] * 4, 8),
    "decay and bias": ulpm.Problem([5, 3, 2], 4, weight_decay=(1e-2, 1e-3), bias=True),
    "focal": ulpm.Problem([5] * 4, 8, loss=ulpm.Focal(gamma=2.0)),
    "squared error": ulpm.Problem([5] * 4, 8, loss=ulpm.SquaredError(), weight_decay=(1e-2, 1e-2)),
}


@pytest.mark.parametrize("replicas", [None, 5])
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_flow_on_a_gpu_records_what_one_on_the_cpu_records(name: str, replicas: int | None) -> None:
    problem = PROBLEMS[name]

    def flow(device: str) -> ulpm.Trajectory:
        start = problem.random_state(seed=0, replicas=replicas, device=device)
        return ulpm.gradient_flow(problem, start, log10_time=100, records=12)

    here, there = flow("cpu"), flow("cuda")
    assert there.final_state.W.device.type == "cuda"
    rows = min(len(here.log_time), len(there.log_time)) - 1
    assert rows >= 3
    for key in ("log_loss", "squared_norm", "margin"):
        one, other = getattr(here, key)[:rows], getattr(there, key)[:rows]
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_a_certificate_on_a_gpu_is_that_of_the_cpu() -> None:
    problem = PROBLEMS["cross-entropy"]
    state = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=100, records=2).final_state
    here, there = ulpm.certify(problem, state).columns(), ulpm.certify(problem, state.to("cuda")).columns()
    for key, value in here.items():
        torch.testing.assert_close(there[key].cpu(), value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_metrics_on_a_gpu_are_those_of_the_cpu(dtype: torch.dtype) -> None:
    problem = PROBLEMS["cross-entropy"]
    state = problem.random_state(seed=0, dtype=dtype)
    here = ulpm.neural_collapse(state.W, state.H, problem.labels)
    there = ulpm.neural_collapse(state.W.to("cuda"), state.H.to("cuda"), problem.labels.to("cuda"))
    for key, value in here.items():
        torch.testing.assert_close(there[key].cpu(), value, rtol=1e-9, atol=1e-12)
