"""What ``ulpm forecast`` says of two snapshots of a training run is what the comparison of the run says."""

import math
from pathlib import Path

import pytest
import torch
from flow_as_network import START, TIME, write_run

import ulpm
from real_experiments.comparison.analysis import analyse
from real_experiments.comparison.curves import COMPARED
from real_experiments.comparison.network_run import NetworkRun
from real_experiments.comparison.pairing import OWN, OWN_MOBILE, compare_with_model
from real_experiments.training_directory import TrainingDirectory

LAST, RTOL = 110, 1e-5


@pytest.mark.usefixtures("unchecked")
def test_a_forecast_of_two_snapshots_is_that_of_the_comparison(tmp_path: Path) -> None:
    write_run(tmp_path / "r", mobility=25.0, epochs=LAST)
    directory = TrainingDirectory(tmp_path / "r")
    # With a loss that hardly falls, the flows of the comparison go on to the time of the last epoch, as forecasts do.
    rows = [dict(row) for row in NetworkRun.read(tmp_path / "r").rows]
    for row in rows[1:]:
        row["log_loss"] = rows[0]["log_loss"] - 1e-6
    directory.write_rows(rows)
    files = directory.snapshot_files()
    run = NetworkRun.read(tmp_path / "r")
    comparison = compare_with_model(run, None, None, 0, RTOL, torch.device("cpu"), tmp_path / "flows", progress=False)
    forecasts = analyse(comparison).forecasts
    features = ulpm.load_features(files[START])
    at = [2 * START, 5 * START, LAST]
    found, alone = (
        ulpm.forecast(features, features, (0, START), asked, time_per_epoch=TIME, rtol=RTOL) for asked in (at, [LAST])
    )
    for name, flow in ((OWN, "plain"), (OWN_MOBILE, "mobile")):
        assert [each.multiple for each in forecasts[name]["flow_time"]] == [2, 5]
        for i, each in enumerate(forecasts[name]["flow_time"]):
            assert each.epoch == at[i]
            # Between the records that the comparison has; a forecast of this epoch has a record there.
            between_records = alone.flows[flow].curve.at("flow_time", at[i] * TIME)
            for key in COMPARED:
                assert math.isfinite(between_records[key])
                assert between_records[key] == pytest.approx(each.forecast[key], rel=1e-10), key
                assert found.flows[flow].metrics[key][i] == pytest.approx(each.forecast[key], rel=1e-4), key
