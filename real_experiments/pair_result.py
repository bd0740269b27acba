"""The results of a trained network without its checkpoint: its table, and the numbers of its comparison."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from real_experiments.comparison.analysis import doubt
from real_experiments.comparison.curves import Clock
from real_experiments.comparison.forecast import Forecast
from real_experiments.comparison.mobility import Mobility
from real_experiments.comparison.slopes import Slope
from real_experiments.comparison.words import typical_factors
from real_experiments.recipe import Recipe
from real_experiments.table import checksum, lost_epochs
from real_experiments.training_directory import Row, TrainingDirectory
from ulpm.support import files

__all__ = ["NUMBERS", "PairResult", "pair_name", "read_numbers", "read_results"]

NUMBERS = "comparison.json"


def pair_name(model: str, dataset: str, width: int, seed: int) -> str:
    """The folder of a network's results."""
    return f"{model}-{dataset}-w{width}-seed{seed}"


@dataclasses.dataclass(frozen=True, eq=False)
class PairResult:
    """One network: its recipe, the rows of metrics.csv, and comparison.json as plain values.

    For a network that diverged or could not be compared with the model, comparison.json has only the reason.
    """

    name: str
    recipe: Recipe
    rows: Sequence[Row]
    numbers: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "PairResult":
        """Raises: OSError with one sentence if a file is missing or damaged."""
        numbers = read_numbers(folder / NUMBERS)
        recipe, directory = Recipe.from_json(numbers["recipe"]), TrainingDirectory(folder)
        rows = directory.read_rows()
        if not rows and "diverged" not in numbers:
            raise OSError(f"{folder} has no metrics.csv: delete the folder, and the network is trained again.")
        last = int(rows[-1]["epoch"]) if rows else 0
        whole = not lost_epochs(rows, recipe, last) and (last == recipe.epochs or "diverged" in numbers)
        if "metrics_checksum" in numbers:
            whole = checksum(rows) == numbers["metrics_checksum"]
        # A longer table is newer than its numbers: the network was trained on, and is compared again.
        if not whole and last <= recipe.epochs:
            raise OSError(
                f"{directory.metrics} is damaged: it is not the table that {NUMBERS} was made from; delete the folder, "
                "and the network is compared again."
            )
        return cls(folder.name, recipe, rows, numbers)

    @property
    def pair(self) -> tuple[str, str, int]:
        """Network, data set and width."""
        return self.recipe.model, self.recipe.dataset, self.recipe.width

    @property
    def first_without_error(self) -> int | None:
        """The first measured epoch at zero training error."""
        return next((int(row["epoch"]) for row in self.rows if row["train_error"] == 0), None)

    @property
    def epochs_after(self) -> int:
        """Epochs from there to the end."""
        first = self.first_without_error
        return 0 if first is None else int(self.rows[-1]["epoch"]) - first

    @property
    def why_not_compared(self) -> str | None:
        """The sentence, or None for a network that was compared."""
        reason = self.diverged or self.numbers.get("not_compared")
        return None if reason is None else str(reason)

    @property
    def diverged(self) -> str | None:
        """The sentence, or None for a network whose training came to its end."""
        reason = self.numbers.get("diverged")
        return None if reason is None else str(reason)

    @property
    def terminal_rows(self) -> Sequence[Row]:
        """The rows from the first epoch at zero training error on."""
        first = self.first_without_error
        return [] if first is None else [row for row in self.rows if row["epoch"] >= first]

    def slope(self, metric: str) -> dict[str, float] | None:
        """value, low and high of d log metric/d log epoch over the terminal phase, None where no line was fitted."""
        found = self.numbers.get("epoch_slopes", {}).get(metric)
        return None if found is None else dict(found)

    def doubt(self, metric: str) -> str:
        """Why the metric is not shown to fall after zero training error; empty if it falls."""
        slopes = [self.numbers.get(which, {}).get(metric) for which in ("epoch_slopes", "late_slopes")]
        return doubt(*(None if slope is None else Slope(**slope) for slope in slopes))

    def falls(self, metric: str) -> bool:
        """Whether the 95% interval of the slope lies below zero, and that of the later half not above."""
        return not self.doubt(metric)

    def forecast(self, flow: str, clock: Clock, multiple: int) -> Forecast | None:
        """The forecast of a flow at so many times the epoch E, or None if the training ended before."""
        for each in self.numbers.get("forecasts", {}).get(flow, {}).get(clock, []):
            if each["multiple"] == multiple:
                return _forecast(each)
        return None

    def factors(self, flow: str, clock: Clock, multiple: int, paper_only: bool) -> tuple[float, float]:
        """The typical error factors of a flow's forecast and of the constant baseline; nan if there is no forecast."""
        found = self.forecast(flow, clock, multiple)
        return (math.nan, math.nan) if found is None else typical_factors(found, paper_only)


def read_numbers(path: Path) -> dict[str, Any]:
    """comparison.json. Raises: OSError with one sentence if it is missing or damaged."""
    try:
        numbers = json.loads(files.read_text(path))
        Recipe.from_json(numbers["recipe"])
        _check(numbers)
        return dict(numbers)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise OSError(
            f"{path} is damaged, or of another version: delete its folder, and the network is compared again."
        ) from error


def _check(numbers: dict[str, Any]) -> None:
    """Raise KeyError, TypeError or AttributeError if something has not the form that it is read in."""
    str(numbers["command"])
    for reason in ("not_compared", "diverged"):
        if reason in numbers:
            return
    for which in ("epoch_slopes", "late_slopes"):
        for slope in numbers[which].values():
            if slope is not None:
                Slope(**slope)
    for clocks in numbers["forecasts"].values():
        for forecasts in clocks.values():
            for each in forecasts:
                _forecast(each)
    for entry in numbers["mobility_history"]:
        Mobility(**entry)
    for key in ("balancedness_gain", "model_means"):
        len(numbers[key])


def read_results(out: Path) -> list[PairResult]:
    """Every network that ``out`` holds, in the order of names. Raises: OSError if one of them is damaged."""
    return [PairResult.read(path.parent) for path in sorted(out.glob(f"*-w*-seed*/{NUMBERS}"))]


def _forecast(values: dict[str, Any]) -> Forecast:
    """A forecast from its plain values."""
    return Forecast(**{**values, **{key: _known(values[key]) for key in ("measured", "forecast", "unchanged")}})


def _known(values: dict[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in values.items()}
