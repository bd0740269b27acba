"""Which metrics fall after zero training error, and how far."""

import math
from collections.abc import Sequence

from real_experiments.comparison.curves import COMPARED, PAPER
from real_experiments.comparison.slopes import INTERVALS
from real_experiments.markdown import table
from real_experiments.overview.tables import CELLS, count, named
from real_experiments.pair_result import PairResult

__all__ = ["falling_table", "falling_words"]


def falling_words(results: Sequence[PairResult]) -> list[str]:
    """The results in sentences."""
    compared = [each for each in results if each.first_without_error is not None]
    sentences = [
        f"We trained {count(len(results), 'network')} in {count(len({each.pair for each in results}), 'setting')} of "
        f"architecture, data set and width. {len(compared)} reached zero training error."
    ]
    lines = []
    for metric in PAPER:
        falling = [each for each in compared if each.falls(metric)]
        others = [each for each in compared if not each.falls(metric)]
        verdict = f"falls in {len(falling)} of {len(compared)} networks"
        named = "; ".join(f"{each.name} ({each.doubt(metric)})" for each in others)
        lines.append(f"- `{metric}` {verdict}" + (f". Exceptions: {named}." if others else "."))
    text = (
        "We take the slope of each metric against the epoch, from zero training error to the end. A metric falls if "
        "the interval of this slope lies below zero, and the interval of the slope over the later half of the "
        f"measurements does not lie above zero. {INTERVALS} These are the metrics of the paper:\n\n"
    )
    failures = {m: sum(not each.falls(m) for each in compared) for m in COMPARED if m not in PAPER}
    more = ", ".join(f"`{metric}` ({count})" for metric, count in failures.items() if count)
    closing = (
        f"Of the other metrics, these do not fall in every network (number of exceptions): {more}." if more else ""
    )
    return [*sentences, text + "\n".join(lines), closing]


def falling_table(results: Sequence[PairResult]) -> str:
    header = ["network", "epoch of zero error", "epochs after", *CELLS.values()]
    rows = []
    for each in results:
        first = each.first_without_error
        if first is None:
            rows.append([each.name, "never", "–", *["–"] * len(CELLS)])
            continue
        cells = [_fall(each, metric) for metric in CELLS]
        rows.append([named(each), str(first), str(each.epochs_after), *cells])
    text = (
        "Each cell shows the metric at the first epoch with zero training error → at the last epoch. Below are the "
        "slope d log/d log epoch between them and its interval.\n\n"
    )
    return text + table(header, rows)


def _fall(result: PairResult, metric: str) -> str:
    rows, slope = result.terminal_rows, result.slope(metric)
    values = f"{rows[0].get(metric, math.nan):.3g} → {rows[-1].get(metric, math.nan):.3g}"
    if slope is None:
        return values
    return f"{values}<br>{slope['value']:+.3f} [{slope['low']:+.3f}, {slope['high']:+.3f}]"
