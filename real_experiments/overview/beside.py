"""Other measurements: re-estimated batch-norm statistics, unseen images, other widths."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from real_experiments.comparison.curves import PAPER
from real_experiments.markdown import table
from real_experiments.overview.tables import CELLS, count, named, spread
from real_experiments.pair_result import PairResult

__all__ = ["batch_norm_section", "unseen_section", "width_section"]


def batch_norm_section(results: Sequence[PairResult]) -> list[str]:
    """Running against re-estimated statistics at the end."""
    rows = []
    for each in results:
        last = each.rows[-1]
        if "reestimated_nc1_distance" in last:
            ratios = [last[m] / last[f"reestimated_{m}"] for m in PAPER if last.get(f"reestimated_{m}", 0) > 0]
            off = float(np.exp(np.mean(np.abs(np.log(ratios)))))
            rows.append((each.name, off))
    if not rows:
        return []
    values = [off for _, off in rows]
    name, worst = max(rows, key=lambda row: row[1])
    return [
        "Running statistics are averages over the last steps. Re-estimated statistics belong to the final parameters. "
        "At the end of the training, the six metrics of the paper differ between both by a factor (geometric mean) of "
        f"{spread(values)} over {count(len(values), 'network')}, at most ×{worst:.3g} ({name})."
    ]


def unseen_section(results: Sequence[PairResult]) -> list[str]:
    columns = {"test_error", "test_loss", "test_nc1_distance"}
    these = [each for each in results if columns <= each.rows[-1].keys() and each.first_without_error is not None]
    if not these:
        return []
    keys: dict[str, Callable[[PairResult], str]] = {
        "error": lambda each: _first_to_last(each, "test_error"),
        "loss": lambda each: _first_to_last(each, "test_loss"),
        "within-class": lambda each: _first_to_last(each, "test_nc1_distance"),
        "within-class, training": lambda each: _first_to_last(each, "nc1_distance"),
        "angles: means": lambda each: _first_to_last(each, "test_nc2_angle_means"),
        "self-duality": lambda each: _first_to_last(each, "test_nc3_duality"),
    }
    rows = [[named(each), *(cell(each) for cell in keys.values())] for each in these]
    rising = [
        each for each in these if each.rows[-1]["test_nc1_distance"] >= each.terminal_rows[0]["test_nc1_distance"]
    ]
    text = (
        "We measured the same networks on images that they were not trained on. These are images of the official test "
        "split. Networks trained on that split, or on the embedded sample, were measured on other images of the same "
        "set. Class means are those of the unseen images. Each cell shows the value at the first epoch with zero "
        "training error → at the end. `nc1_distance` of unseen images is smaller at the end in "
        f"{len(these) - len(rising)} of {len(these)} networks"
    )
    names = ", ".join(each.name for each in rising)
    return [text + (f". Exceptions: {names}." if rising else "."), table(["network", *keys], rows)]


def _first_to_last(result: PairResult, column: str) -> str:
    first, last = result.terminal_rows[0].get(column, math.nan), result.rows[-1].get(column, math.nan)
    return f"{first:.3g} → {last:.3g}"


def width_section(results: Sequence[PairResult]) -> list[str]:
    """Pairs trained at several widths, at the epochs that all of them have: means over seeds."""
    pairs = sorted({each.pair[:2] for each in results})
    header = ["pair", "width", "E", "epochs after", *CELLS.values()]
    rows = []
    for model, dataset in pairs:
        these = [each for each in results if each.pair[:2] == (model, dataset) and each.first_without_error is not None]
        widths = sorted({each.recipe.width for each in these})
        if len(widths) < 2:
            continue
        after = min(each.epochs_after for each in these)
        for width in widths:
            seeds = [each for each in these if each.recipe.width == width]
            cells = []
            for metric in CELLS:
                start = np.mean([each.terminal_rows[0][metric] for each in seeds])
                end = np.mean([_after(each, metric, after) for each in seeds])
                cells.append(f"{start:.3g} → {end:.3g}")
            firsts = ", ".join(str(each.first_without_error) for each in seeds)
            rows.append([f"{model}, {dataset}", str(width), firsts, str(after), *cells])
    if not rows:
        return []
    text = (
        "We compare widths after the same number of epochs. Each cell shows a metric at E → that many epochs later. "
        "The number is the largest that every network of the pair was trained for. Cells are means over seeds, "
        "interpolated in logarithms between measured epochs. The published networks have width 64."
    )
    return [text, table(header, rows)]


def _after(result: PairResult, metric: str, epochs: int) -> float:
    """The metric so many epochs after zero training error."""
    rows = result.terminal_rows
    x = np.log([row["epoch"] for row in rows])
    return float(np.exp(np.interp(np.log(rows[0]["epoch"] + epochs), x, np.log([row[metric] for row in rows]))))
