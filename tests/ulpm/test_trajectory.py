"""A trajectory on disk and in tables says what it said in memory."""

import csv
import dataclasses
import io
from pathlib import Path

import pytest
import torch
import xarray

import ulpm
from ulpm import _files
from ulpm.optimality import certify


@pytest.fixture(params=["single", "replicas"])
def path(request: pytest.FixtureRequest) -> ulpm.Trajectory:
    problem = ulpm.Problem([3, 2, 2], 5)
    replicas = None if request.param == "single" else 3
    state = problem.random_state(seed=3, replicas=replicas)
    return ulpm.gradient_flow(problem, state, log_time=4.0, records=7, snapshots=3, config={"seed": 3})


def test_a_saved_trajectory_is_the_same_when_loaded(path: ulpm.Trajectory, tmp_path: Path) -> None:
    path.save(tmp_path / "x.safetensors")
    again = ulpm.Trajectory.load(tmp_path / "x.safetensors")
    assert list(again.columns()) == list(path.columns())
    assert all(torch.equal(again.columns()[name], column) for name, column in path.columns().items())
    assert again.problem == path.problem
    assert again.status == path.status
    assert again.stats == path.stats
    assert again.config == path.config
    assert torch.equal(again.final_state.W, path.final_state.W)
    assert torch.equal(again.final_state.H, path.final_state.H)
    assert path.snapshots is not None
    assert again.snapshots is not None
    for field in dataclasses.fields(ulpm.Snapshots)[:-1]:  # the last is the bias, which there is none of
        assert torch.equal(getattr(again.snapshots, field.name), getattr(path.snapshots, field.name))


def test_a_loaded_trajectory_has_its_columns_in_the_same_order_with_a_bias(tmp_path: Path) -> None:
    problem = ulpm.Problem([3, 2, 2], 5, bias=True)
    path = ulpm.gradient_flow(problem, problem.random_state(), log_time=1.0, records=3)
    path.save(tmp_path / "x.safetensors")
    again = ulpm.Trajectory.load(tmp_path / "x.safetensors")
    assert list(again.columns()) == list(path.columns())
    assert list(again.invariant_drift) == list(path.invariant_drift)
    tables = [io.StringIO(), io.StringIO()]
    for each, table in zip((path, again), tables, strict=True):
        each.to_csv(table)
    assert tables[0].getvalue() == tables[1].getvalue()


def test_the_metadata_name_configuration_seed_versions_and_device(path: ulpm.Trajectory) -> None:
    assert path.config["seed"] == 3
    assert path.config["device"] == "cpu"
    assert path.config["dtype"] == "float64"
    assert path.config["rtol"] == 1e-6
    assert path.config["log_time"] == 4.0
    assert path.config["versions"].keys() == {"ulpm", "torch", "numpy", "python"}


def test_the_table_has_a_row_for_every_record_of_every_replica(path: ulpm.Trajectory) -> None:
    text = io.StringIO()
    path.to_csv(text)
    rows = list(csv.DictReader(io.StringIO(text.getvalue())))
    assert len(rows) == path.log_time.numel()
    batched = path.log_time.ndim > 1
    for row in rows:
        where = (int(row["record"]), int(row["replica"])) if batched else int(row["record"])
        for name, column in path.columns().items():
            assert float(row[name]) == float(column[where])


def test_a_table_can_be_written_to_a_file(path: ulpm.Trajectory, tmp_path: Path) -> None:
    text = io.StringIO()
    path.to_csv(text)
    path.to_csv(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == text.getvalue()


def test_the_data_set_has_every_column_on_named_dimensions(path: ulpm.Trajectory) -> None:
    data = path.to_xarray()
    assert isinstance(data, xarray.Dataset)
    assert set(data.data_vars) == set(path.columns())
    assert data["nc1_pinv"].dims == ("record", "replica")[: path.log_time.ndim]
    assert torch.equal(torch.from_numpy(data["log_loss"].values), path.log_loss)
    assert data.attrs["rtol"] == 1e-6


def test_snapshots_are_the_states_at_their_records(path: ulpm.Trajectory) -> None:
    snapshots = path.snapshots
    assert snapshots is not None
    assert snapshots.records.tolist() == [0, 3, 6]
    for record, W, H in zip(snapshots.records, snapshots.W, snapshots.H, strict=True):
        loss = ulpm.log_loss(path.problem, ulpm.State(W, H))
        # A batch of one and a batch of many may be summed in another order.
        torch.testing.assert_close(loss, path.log_loss[record], rtol=1e-13, atol=1e-13)
    assert torch.equal(snapshots.W[-1], path.final_state.W)


def test_the_final_record_has_the_certificate_of_the_final_state(path: ulpm.Trajectory) -> None:
    assert path.certificate is not None
    for name, value in certify(path.problem, path.final_state).columns().items():
        torch.testing.assert_close(path.columns()[name][-1], value, rtol=1e-12, atol=1e-12)


def test_a_checkpoint_or_a_damaged_file_is_no_trajectory(path: ulpm.Trajectory, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    _files.write_tensors(file, {"a": torch.ones(1)}, {"kind": "checkpoint"})
    with pytest.raises(OSError, match="holds a checkpoint, not a trajectory"):
        ulpm.Trajectory.load(file)
    path.save(file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(OSError, match="damaged or truncated"):
        ulpm.Trajectory.load(file)


def test_a_trajectory_that_cannot_be_saved_does_not_harm_an_earlier_one(path: ulpm.Trajectory, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    path.save(file)
    before = file.read_bytes()
    broken = dataclasses.replace(path, config={"not json": object()})
    with pytest.raises(TypeError):
        broken.save(file)
    assert file.read_bytes() == before


def test_every_status_is_a_sentence() -> None:
    for status in ulpm.Status:
        assert status[0].isupper()
        assert status.endswith(".")
