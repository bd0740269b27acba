"""Descent follows the flow as claimed at QUICK size, a wrong clock fails, and the eigenvalue is autograd's."""

import dataclasses
from pathlib import Path

import pytest
import torch
from quick_runs import check_quick_run

import ulpm
from theory_experiments.theorems.descent_against_flow import QUICK
from theory_experiments.theorems.descent_against_flow.stability import threshold


@pytest.mark.usefixtures("unchecked")  # they cost several times what the experiment itself does
def test_the_quick_claims_hold_and_negative_controls_fail(tmp_path: Path) -> None:
    failing = {
        "a step with momentum is counted as η of flow time, not η/(1−β)": "the distance with momentum 0.3",
        "the rate is beyond stability": "Order in η of the distance from the flow",
        "the loss-scaled rate is claimed to be stable up to four times the norm": "ρ² at which the rate 0.2/L departs",
    }
    check_quick_run("descent_against_flow", tmp_path, failing)


@pytest.mark.parametrize(("K", "n", "d"), [(3, 2, 4), (4, 3, 5), (5, 2, 4)])
def test_the_limit_of_stability_is_where_autograds_hessian_says(K: int, n: int, d: int) -> None:
    problem = ulpm.Problem([n] * K, d)
    state = ulpm.collapsed_state(problem, norm=600.0)

    def log_loss(flat: torch.Tensor) -> torch.Tensor:
        W, H = flat[: K * d].view(K, d), flat[K * d :].view(d, K * n)
        gaps = W @ H - (W @ H).gather(0, problem.labels[None])
        others = gaps.masked_fill(torch.nn.functional.one_hot(problem.labels, K).T.bool(), -torch.inf)
        return torch.logsumexp(torch.logsumexp(others, 0), 0)  # log of Σ e^x, which L is where it is tiny

    hessian = torch.autograd.functional.hessian(log_loss, torch.cat([state.W.flatten(), state.H.flatten()]))
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    config = dataclasses.replace(QUICK, counts=(n,) * K, dim=d)
    predicted = 2 / (0.1 * largest / 600.0**2)
    # ∇² log L also has a part of order 1 beside that of order ρ² = 3.6e5.
    assert threshold(config, 0.1) == pytest.approx(predicted, rel=1e-4)
