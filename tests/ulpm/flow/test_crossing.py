"""Where in a step a milestone lies, and the states there."""

import numpy as np
import pytest
import torch

import ulpm
from ulpm.flow import landing
from ulpm.flow.clock import LossInside

# They cost several times what the flows themselves do.
pytestmark = pytest.mark.usefixtures("unchecked")


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_log_loss_inside_a_step_is_the_quartic_through_what_is_known_of_it() -> None:
    h = 0.7
    quartic = np.polynomial.Polynomial([-3.0, -2.0, 0.5, -0.3, 0.2])  # in s
    slope = quartic.deriv()
    known = [vector(quartic(s), quartic(s)) for s in (0, h / 2, h)]
    inside = LossInside(vector(h, h), tuple(known), (vector(-slope(0), -slope(0)), vector(-slope(h), -slope(h))))
    value, fall = inside.at(vector(0.2, 0.9))
    for i, theta in enumerate((0.2, 0.9)):
        assert float(value[i]) == pytest.approx(quartic(theta * h), rel=1e-14)
        assert float(fall[i]) == pytest.approx(-slope(theta * h), rel=1e-13)


def run(records: int) -> ulpm.Trajectory:
    problem = ulpm.Problem([10] * 4, feature_dim=8)
    return ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=60.0, records=records)


def test_a_record_takes_two_evaluations_of_the_loss_as_a_rule() -> None:
    few, many = run(2).stats, run(62).stats
    assert many["steps"] == few["steps"]
    assert many["loss_evaluations"] - few["loss_evaluations"] < 2.5 * 60


def test_states_of_large_problems_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(40)
    monkeypatch.setattr(landing, "SMALL", 50)
    monkeypatch.setattr(landing, "_LANDING_ELEMENTS", 0)
    parts = run(40)
    for name in ("log_time", "log_loss", "squared_norm", "margin"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(parts.metrics["nc2_etf_means"], whole.metrics["nc2_etf_means"], rtol=1e-9, atol=1e-12)
    assert torch.equal(parts.final_state.W, whole.final_state.W)
