"""The page of all networks says what their numbers say, whichever way they turn out."""

import math
import statistics
from typing import Any

import pytest

from real_experiments.comparison.curves import COMPARED, PAPER
from real_experiments.overview.page import results_page
from real_experiments.pair_result import PairResult, pair_name
from real_experiments.recipe import Recipe

EPOCHS = (1, 2, 4, 8, 16, 32)
FIRST = 4  # without error


def network(
    model: str = "resnet18",
    width: int = 16,
    seed: int = 0,
    fall: float = 0.5,
    off: float = 1.1,
    unchanged: float = 1.5,
    rising: str | None = None,
    late: tuple[float, float] = (-0.4, -0.2),
    without_error: bool = True,
    **recipe: Any,
) -> PairResult:
    """A network whose metrics are epoch^(−fall), and whose forecasts are off by the same factor in each metric."""
    values = {name: [epoch ** (-fall) for epoch in EPOCHS] for name in COMPARED}
    rows = []
    for i, epoch in enumerate(EPOCHS):
        row = {name: column[i] for name, column in values.items()}
        error = float(epoch < FIRST or not without_error)
        extra = {"test_error": 0.3, "test_loss": 1.0, **{f"test_{name}": 0.9 for name in COMPARED}}
        reestimated = {f"reestimated_{name}": 1.25 * value for name, value in row.items()}
        rows.append({"epoch": epoch, "train_error": error, **row, **extra, **reestimated})
    slope = {"value": -fall, "low": -fall - 0.1, "high": -fall + 0.1, "points": 4}
    slopes = dict.fromkeys(COMPARED, slope) | ({rising: {**slope, "low": 0.1, "high": 0.3}} if rising else {})
    history = [
        {
            "epoch": epoch,
            "ratio": 9.0,
            "centered": 8.0,
            "gained": 7.0,
            "class_scatter": 0.1 + seed / 100,
            "means": 1.0 * epoch,
            "means_outside": 1.0,
        }
        for epoch in EPOCHS
    ]
    forecasts = {
        flow: {
            clock: [forecast(multiple, clock, off if "mobile" in flow else 2 * off, unchanged) for multiple in (2, 5)]
            for clock in ("train_loss", "flow_time")
        }
        for flow in ("own", "own, mobile")
    }
    later = {"value": sum(late) / 2, "low": late[0], "high": late[1], "points": 12}
    numbers = {
        "command": "made up",
        "snapshot": FIRST,
        "epoch_slopes": slopes,
        "late_slopes": dict.fromkeys(COMPARED, later),
        "balancedness_gain": [2.0, 14.0],
        "forecasts": forecasts,
        "mobility_history": history,
        "model_means": {"snapshot": [1.0, 1.0], "end": [2.0, 0.5]},
    }
    if not without_error:
        numbers = {"command": "made up", "not_compared": "it has not reached zero training error."}
    made = Recipe(model=model, dataset="mnist", width=width, seed=seed, **recipe)  # type: ignore[arg-type]
    return PairResult(pair_name(model, "mnist", width, seed), made, rows, numbers)


def forecast(multiple: int, clock: str, off: float, unchanged: float) -> dict[str, Any]:
    measured = dict.fromkeys(COMPARED, 1.0)
    return {
        "multiple": multiple,
        "epoch": multiple * FIRST,
        "clock": clock,
        "measured": measured,
        "forecast": dict.fromkeys(COMPARED, off),
        "unchanged": dict.fromkeys(COMPARED, unchanged),
    }


def page(*networks: PairResult) -> str:
    text = results_page(networks, ["made up"], [])
    assert "nan" not in text
    return text


def test_a_metric_that_rises_in_one_network_is_named_with_the_network() -> None:
    text = page(network(), network(seed=1, rising="nc3_duality"))
    assert "- `nc1_distance` falls in 2 of 2 networks." in text
    assert "- `nc3_duality` falls in 1 of 2 networks. Exceptions: resnet18-mnist-w16-seed1 (it rises)." in text


def test_a_metric_that_rises_in_the_end_does_not_fall() -> None:
    text = page(network(), network(seed=1, late=(0.01, 0.04)))
    why = "Exceptions: resnet18-mnist-w16-seed1 (it falls first and rises in the later half)."
    assert text.count(why) == len(PAPER)
    assert "falls in 2 of 2" in page(network(), network(seed=1, late=(-0.01, 0.04)))  # flat is not a rise


def test_the_page_says_how_many_images_each_width_saw_and_in_which_arithmetic() -> None:
    text = page(network(subset=2000), network(width=64, subset=2000, bf16=True))
    assert "- Width 16: 2,000 images, trained in float32." in text
    assert "- Width 64: 2,000 images, trained in bfloat16 except for the last layer and the loss." in text


def test_the_table_has_each_metric_of_the_paper_from_zero_error_to_the_end_with_its_slope() -> None:
    text = page(network(fall=0.5))
    (line,) = [line for line in text.splitlines() if line.startswith("| resnet18-mnist-w16-seed0 | 4 | 28 |")]
    assert line.count(f"{4**-0.5:.3g} → {32**-0.5:.3g}<br>-0.500 [-0.600, -0.400]") == len(PAPER)


def test_forecasts_are_averaged_over_networks_with_their_deviation() -> None:
    offs = (1.1, 1.3, 1.6)
    text = page(*(network(seed=i, off=off) for i, off in enumerate(offs)))
    mean, deviation = statistics.mean(offs), statistics.stdev(offs)
    (line,) = [
        line for line in text.splitlines() if line.startswith("| the model with faster features, given the loss")
    ]
    assert line.count(f"×{mean:.3g} ± {deviation:.2g} (2 of 3)") == 4
    assert "the model with faster features beats the constant baseline in 4 of 6 forecasts." in text
    assert "Exceptions: resnet18-mnist-w16-seed2 at 2E (×1.6 against ×1.5)" in text
    assert "the constant baseline is better" not in text
    worse = page(network(off=2.0))
    assert "In most networks the constant baseline is better for `nc2_norm_means`, " in worse


def test_what_keeps_means_and_rows_apart_is_a_median_over_the_networks() -> None:
    text = page(network())
    assert "the means grow by ×8 and their component outside the span of the rows by ×1." in text
    assert "In the model they grow by ×2 and ×0.5." in text
    assert "| resnet18-mnist-w16-seed0 | 9 | 9 | 8 | 7 | 0.1 | ×8, ×1 | ×2, ×0.5 | ×1.1 | ×1.1 |" in text


def test_running_statistics_are_compared_with_reestimated_ones() -> None:
    assert "by a factor (geometric mean) of ×1.25 over 1 network, at most ×1.25" in page(network())


def test_widths_are_compared_at_the_epochs_that_all_of_them_have() -> None:
    text = page(network(width=16), network(width=16, seed=1), network(width=64, fall=1.0))
    lines = [line for line in text.splitlines() if line.startswith("| resnet18, mnist |")]
    assert [line.split(" | ")[1:4] for line in lines] == [["16", "4, 4", "28"], ["64", "4", "28"]]
    assert lines[0].count(f"{4**-0.5:.3g} → {32**-0.5:.3g}") == len(PAPER)
    assert lines[1].count(f"{1 / 4:.3g} → {1 / 32:.3g}") == len(PAPER)
    assert "## Wide networks" not in page(network())


def test_a_network_that_never_was_without_error_is_listed_and_not_averaged() -> None:
    text = page(network(), network(seed=1, without_error=False))
    words = "We trained 2 networks in 1 setting of architecture, data set and width. 1 reached zero training error."
    assert words in text
    assert "| resnet18-mnist-w16-seed1 | never | – |" in text
    assert "not compared: it has not reached zero training error." in text
    assert "falls in 1 of 1 networks" in text


def test_rows_of_the_test_split_say_so() -> None:
    assert "| resnet18-mnist-w16-seed0 (test split) | 4 |" in page(network(split="test"))


@pytest.mark.parametrize("count", [5, 6, 8])
def test_correlations_need_six_networks(count: int) -> None:
    text = page(*(network(seed=i, off=1 + 0.01 * math.exp(i)) for i in range(count)))
    assert ("Spearman" in text) == (count >= 6)
    # Only the scatter differs from network to network here, and the error of the forecast with it.
    assert ("- the scatter over classes: +1.00 at 2E" in text) == (count >= 6)
    assert "the change of c" not in text
