import math

import pytest
import torch

from ulpm import Problem, State, Status, Trajectory, neural_collapse
from ulpm.optimality import certify
from ulpm.recorder import Recorder, describe_run
from ulpm.state import Factors

PROBLEM = Problem([2, 3], 3)


def recorder(records=4, snapshots=0, replicas=2, dtype=torch.float64):
    state = PROBLEM.random_state(seed=0, replicas=replicas, dtype=dtype)
    return state, Kept(Recorder(PROBLEM, torch.device("cpu")), state.factors, records, snapshots)


class Kept:
    """What a recorder has written so far."""

    def __init__(self, recorder, start, records, snapshots):
        self.recorder, self.records = recorder, recorder.begin(start, records, snapshots)

    def record(self, *what):
        self.records = self.recorder.record(self.records, *what)

    def trajectory(self, *what):
        return self.recorder.trajectory(self.records, *what)

    @property
    def table(self):
        return self.records.table

    @property
    def snapshots(self):
        return self.records.snapshots

    def group(self, prefix):
        return self.records.group(prefix)

    def last(self, replicas):
        return self.records.last(replicas)


def known(*values):
    column = torch.tensor(values, dtype=torch.float64)
    return {"log_time": column, "log_loss": column + 1, "margin": column + 2}


def config(replicas=2):
    return {"replicas": replicas}


def test_drifts_are_those_of_the_definition():
    state, table = recorder()
    generator = torch.Generator().manual_seed(1)
    W = state.W + torch.randn(state.W.shape, generator=generator, dtype=torch.float64)
    H = state.H + torch.randn(state.H.shape, generator=generator, dtype=torch.float64)
    table.record(torch.tensor([1, 1]), torch.tensor([0, 1]), Factors(W, H), known(0.0, 1.0))
    for b in range(2):
        squared_norm = float((W[b] ** 2).sum() + (H[b] ** 2).sum())
        B = [w.T @ w - h @ h.T for w, h in ((state.W[b], state.H[b]), (W[b], H[b]))]
        drift = float((B[1] - B[0]).norm()) / squared_norm
        moved = float((W[b] - state.W[b]).sum(0).norm()) / math.sqrt(squared_norm)
        assert float(table.table["squared_norm"][1, b]) == pytest.approx(squared_norm, rel=1e-14)
        assert float(table.table["invariant_drift.balancedness"][1, b]) == pytest.approx(drift, rel=1e-12)
        assert float(table.table["invariant_drift.classifier_sum"][1, b]) == pytest.approx(moved, rel=1e-12)


def test_metrics_are_those_of_the_state():
    state, table = recorder()
    table.record(torch.tensor([2]), torch.tensor([1]), state[1:].factors, known(0.0))
    want = neural_collapse(state.W[1], state.H[1], PROBLEM.labels)
    assert set(table.group("metrics.")) == set(want)
    for key, value in want.items():
        assert float(table.table[f"metrics.{key}"][2, 1]) == pytest.approx(float(value), rel=1e-12, abs=1e-15)


def test_certificates_are_those_of_the_state():
    state, table = recorder()
    table.record(torch.tensor([2]), torch.tensor([1]), state[1:].factors, known(0.0))
    want = certify(PROBLEM, State(state.W[1], state.H[1])).columns()
    assert set(table.group("certificate.")) == set(want)
    for key, value in want.items():
        assert float(table.table[f"certificate.{key}"][2, 1]) == pytest.approx(float(value), rel=1e-12)


def test_replicas_are_recorded_in_rows_of_their_own_and_the_rest_is_nan():
    state, table = recorder()
    table.record(torch.tensor([0, 2]), torch.tensor([1, 0]), state.factors, known(5.0, 7.0))
    log_time = table.table["log_time"]
    assert log_time[0, 1] == 5
    assert log_time[2, 0] == 7
    assert torch.isnan(log_time).sum() == 6
    assert table.table["log_loss"][2, 0] == 8
    assert table.table["margin"][2, 0] == 9


def test_float32_states_are_measured_in_float64():
    state, table = recorder(dtype=torch.float32)
    table.record(torch.tensor([0, 0]), torch.tensor([0, 1]), state.factors, known(0.0, 0.0))
    assert {column.dtype for column in table.table.values()} == {torch.float64}
    exact = float(state.W[0].double().square().sum() + state.H[0].double().square().sum())
    assert float(table.table["squared_norm"][0, 0]) == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize(
    ("snapshots", "rows"), [(0, []), (1, [0]), (2, [0, 10]), (3, [0, 5, 10]), (11, list(range(11)))]
)
def test_snapshots_are_spread_evenly_over_the_records(snapshots, rows):
    _, table = recorder(records=11, snapshots=snapshots)
    assert table.snapshots.records.tolist() == rows


def test_snapshots_keep_the_states_and_are_nan_where_none_was_reached():
    state, table = recorder(records=3, snapshots=2)
    table.record(torch.tensor([0, 0]), torch.tensor([0, 1]), state.factors, known(0.0, 0.0))
    table.record(torch.tensor([2]), torch.tensor([1]), (2 * state[1:]).factors, known(1.0))
    kept = table.snapshots
    assert torch.equal(kept.W[0], state.W)
    assert torch.equal(kept.H[1, 1], 2 * state.H[1])
    assert torch.isnan(kept.W[1, 0]).all()


def test_the_last_record_is_that_of_the_replica_furthest_behind():
    state, table = recorder()
    for row, replicas in ((0, [0, 1]), (1, [0, 1]), (2, [0])):
        rows = torch.full((len(replicas),), row)
        table.record(
            rows, torch.tensor(replicas), state[torch.tensor(replicas)].factors, known(*([10.0 * row] * len(rows)))
        )
    assert table.last(torch.arange(2))["log_time"] == 10


@pytest.mark.parametrize("replicas", [None, 1, 2])
def test_a_trajectory_has_the_replica_axis_of_its_start_and_no_row_that_none_reached(replicas):
    state, table = recorder(replicas=replicas or 1)
    count = replicas or 1
    for row in range(2):
        rows = torch.full((count,), row)
        table.record(rows, torch.arange(count), state.factors, known(*[float(row)] * count))
    status = [Status.STEP_LIMIT] * count
    path = table.trajectory(state.factors, status, {"steps": 3}, config(replicas))
    assert isinstance(path, Trajectory)
    assert path.log_time.shape == (2, *(() if replicas is None else (replicas,)))
    assert path.status == (Status.STEP_LIMIT if replicas is None else tuple(status))
    assert path.final_state.batch_shape == (() if replicas is None else (replicas,))
    assert path.snapshots is None
    assert path.stats == {"steps": 3}


def test_a_run_is_described_by_facts_that_its_caller_may_add_to():
    state = PROBLEM.random_state(seed=0, replicas=3, dtype=torch.float32)
    facts = describe_run(PROBLEM, state, 5, 2, {"seed": 0})
    assert facts["seed"] == 0
    assert (facts["records"], facts["snapshots"], facts["replicas"]) == (5, 2, 3)
    assert (facts["dtype"], facts["device"]) == ("float32", "cpu")
    assert facts["versions"]["torch"] == torch.__version__
    single = describe_run(PROBLEM, State(state.W[0], state.H[0]), 5, 2, None)
    assert single["replicas"] is None
