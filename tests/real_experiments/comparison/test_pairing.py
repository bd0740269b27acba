"""Where the network is the model itself, a comparison finds that out; where there is nothing to compare, it says so."""

import dataclasses
from pathlib import Path

import pytest
import torch
from flow_as_network import END, START, write_run

from real_experiments.comparison.analysis import Analysis, analyse
from real_experiments.comparison.curves import CLOCKS, COMPARED
from real_experiments.comparison.network_run import NetworkRun
from real_experiments.comparison.pairing import OWN, OWN_MOBILE, Comparison, compare_with_model
from real_experiments.comparison.words import verdict

pytestmark = pytest.mark.usefixtures("unchecked_module")

CPU = torch.device("cpu")


def compared(path: Path, control: NetworkRun | None = None, snapshot: int | None = None) -> Comparison:
    run = NetworkRun.read(path)
    return compare_with_model(run, control, snapshot, 0, 1e-8, CPU, path / "flows", progress=False)


@pytest.fixture(scope="module")
def mobile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Analysis]:
    path = tmp_path_factory.mktemp("runs") / "mobile"
    write_run(path, mobility=25.0)
    comparison = compared(path)
    return comparison, analyse(comparison)


def test_the_mobility_is_found(mobile: tuple[Comparison, Analysis]) -> None:
    assert mobile[0].mobility == pytest.approx(25.0, rel=1e-5)
    assert mobile[0].snapshot == START


@pytest.mark.parametrize("clock", CLOCKS)
def test_the_flow_with_the_network_s_mobility_forecasts_it_and_never_parts(
    mobile: tuple[Comparison, Analysis], clock: str
) -> None:
    _, analysis = mobile
    forecasts = analysis.forecasts[OWN_MOBILE][clock]  # type: ignore[index]
    assert [each.multiple for each in forecasts] == [2, 5]
    for each in forecasts:
        assert max(each.factor(name) for name in COMPARED) < 1.005
        assert set(each.better) == set(COMPARED)
    assert set(analysis.parting[OWN_MOBILE][clock].values()) == {END}  # type: ignore[index]


def test_the_flow_with_another_mobility_does_not(mobile: tuple[Comparison, Analysis]) -> None:
    _, analysis = mobile
    for clock in CLOCKS:
        each = analysis.forecasts[OWN][clock][-1]
        assert max(each.factor(name) for name in COMPARED) > 1.1
        assert min(analysis.parting[OWN][clock].values()) < END


def test_the_classifier_and_the_features_gain_as_the_mobility_says(mobile: tuple[Comparison, Analysis]) -> None:
    classifier, features = mobile[1].balancedness_gain
    assert features / classifier == pytest.approx(25.0, rel=1e-4)


def test_slopes_of_network_and_flow_agree(mobile: tuple[Comparison, Analysis]) -> None:
    _, analysis = mobile
    for name in COMPARED:
        network, flow = analysis.loss_slopes["network"][name], analysis.loss_slopes[OWN_MOBILE][name]
        assert network is not None
        assert flow is not None
        assert flow == pytest.approx(network, abs=0.02)


@pytest.mark.parametrize("unusable", [float("nan"), float("inf"), 0.0])
def test_a_metric_without_a_slope_takes_no_loss_from_the_others(
    mobile: tuple[Comparison, Analysis], unusable: float
) -> None:
    comparison, analysis = mobile
    curve = comparison.flows[OWN]
    broken = curve.metrics["nc1_cdnv"].copy()
    broken[len(broken) // 2 :] = unusable
    flow = dataclasses.replace(curve, metrics={**curve.metrics, "nc1_cdnv": broken})
    slopes = analyse(dataclasses.replace(comparison, flows={**comparison.flows, OWN: flow})).loss_slopes[OWN]
    assert slopes == {**analysis.loss_slopes[OWN], "nc1_cdnv": None}


def test_the_verdict_states_what_was_found(mobile: tuple[Comparison, Analysis]) -> None:
    comparison, analysis = mobile
    words = " ".join(verdict(comparison, analysis))
    assert f"zero training error from epoch {START} on" in words
    assert "features beats the constant baseline in all 4 forecasts" in words
    assert "better in at least 17 of 17 metrics" in words
    for name in analysis.not_falling():
        assert f"`{name}`" in words


def test_with_mobility_one_both_flows_are_the_same(tmp_path: Path) -> None:
    write_run(tmp_path / "plain", mobility=1.0)
    comparison = compared(tmp_path / "plain")
    own, mobile = comparison.flows[OWN], comparison.flows[OWN_MOBILE]
    assert own.metrics["nc1_pinv"] == pytest.approx(mobile.metrics["nc1_pinv"], rel=1e-4)


def test_a_run_with_nothing_to_compare_gets_one_sentence(tmp_path: Path) -> None:
    write_run(tmp_path / "errors", 1.0, error_until=10_000)
    write_run(tmp_path / "good", 1.0)
    for name, snapshot, message in (
        ("errors", None, "has not reached zero training error by epoch 160"),
        ("good", END, "trained no further than the snapshot's epoch 160"),
        ("good", 21, "has no measurement at epoch 21"),
        ("good", 30, "has no snapshot at epoch 30: there are 20, 160"),
    ):
        with pytest.raises(ValueError, match=message):
            compared(tmp_path / name, snapshot=snapshot)
    with pytest.raises(OSError, match=r"config\.json could not be read"):
        NetworkRun.read(tmp_path / "nowhere")
    (tmp_path / "good" / "metrics.csv").unlink()
    with pytest.raises(OSError, match="has measured no epoch yet"):
        NetworkRun.read(tmp_path / "good")


def test_a_named_snapshot_is_compared_also_without_zero_error(tmp_path: Path) -> None:
    write_run(tmp_path / "errors", 1.0, error_until=10_000)
    comparison = compared(tmp_path / "errors", snapshot=START)
    assert comparison.terminal_rows() == []
    words = verdict(comparison, analyse(comparison))
    assert words[0] == "The network never reached zero training error, so it has no terminal phase."
