"""How fast features move during the training, and what correlates with the error of the forecast."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from real_experiments.comparison.analysis import MULTIPLES
from real_experiments.comparison.pairing import OWN_MOBILE
from real_experiments.markdown import table
from real_experiments.overview.tables import factor
from real_experiments.pair_result import PairResult

__all__ = ["mobility_section"]


def mobility_section(results: Sequence[PairResult]) -> list[str]:
    """c during the training, its scatter over classes, and their correlation with the error of the forecast."""
    header = [
        "network",
        "c at E",
        "c at the end",
        "c of centred parts at E",
        "c gained after E",
        "scatter over classes",
    ]
    header += ["growth: means, outside", "the same, model", "error at 2E", "error at 5E"]
    rows, numbers, grown = [], [], []
    for each in results:
        history = each.numbers.get("mobility_history", [])
        later = [entry for entry in history if entry["epoch"] >= each.numbers.get("snapshot", math.inf)]
        if len(later) < 2 or "model_means" not in each.numbers:
            continue
        start, end = later[0], later[-1]
        of_rows, of_features = each.numbers["balancedness_gain"]
        gained = of_features / of_rows if of_rows > 0 else math.nan
        off = [each.factors(OWN_MOBILE, "train_loss", multiple, False)[0] for multiple in MULTIPLES]
        cells = [start["ratio"], end["ratio"], start["centered"], gained, start["class_scatter"]]
        growth = [end[name] / start[name] for name in ("means", "means_outside")]
        model = each.numbers["model_means"]
        growth += [after / before for before, after in zip(model["snapshot"], model["end"], strict=True)]
        grown.append(growth)
        of_network, of_model = (f"{factor(a)}, {factor(b)}" for a, b in (growth[:2], growth[2:]))
        rows.append([each.name, *(f"{value:.3g}" for value in cells), of_network, of_model, *map(factor, off)])
        numbers.append((*_deviations(start, end, gained), *off))
    text = (
        "Features of a network move c times faster than free features. The forecast estimates c by ‖H‖²/‖W‖² at E. It "
        "uses one c for all classes and all times. The table shows other estimates: ‖H‖²/‖W‖² at the end; the same "
        "ratio for centred features and centred rows at E; and the gain of ‖H‖² after E over the gain of ‖W‖². The "
        "scatter is the standard deviation over classes of log c_k. In the model, features move only within the span "
        "of the rows of W, whatever c is. The next two columns show how much the centred class means grow from E to "
        "the end, and how much their component outside that span grows. The first is for the network, the second for "
        "the model with faster features up to the same loss. The last columns are the error factors of the forecast "
        "given the loss."
    )
    if not rows:
        return [text]
    medians = np.median(grown, axis=0)
    outside = (
        f"In the median over the networks, the means grow by {factor(medians[0])} and their component outside the "
        f"span of the rows by {factor(medians[1])}. In the model they grow by {factor(medians[2])} and "
        f"{factor(medians[3])}. That component keeps means and rows from becoming parallel. Self-duality measures this."
    )
    return [text, table(header, rows), outside, _correlations(numbers)]


def _deviations(start: Mapping[str, float], end: Mapping[str, float], gained: float) -> tuple[float, ...]:
    """How far a network is from a constant c and from constant means outside the rows, in logarithms."""
    return (
        abs(math.log(end["ratio"] / start["ratio"])),
        _log_gap(gained, start["ratio"]),
        abs(math.log(start["centered"] / start["ratio"])),
        start["class_scatter"],
        abs(math.log(end["means_outside"] / start["means_outside"])),
    )


def _correlations(numbers: Sequence[Sequence[float]]) -> str:
    """Rank correlations of the forecast's error with the deviations from a constant c."""
    table = np.array(numbers)
    known = table[np.isfinite(table).all(1)]
    if len(known) < 6:
        return ""
    from scipy import stats  # takes half a second, for which every command would wait

    names = (
        "the change of c from E to the end",
        "the distance of the gained c from c at E",
        "the distance of the centred c from c at E",
        "the scatter over classes",
        "the growth of the means outside the rows",
    )
    lines = []
    for name, x in zip(names, known.T, strict=False):
        ys = known.T[len(names) :]
        if np.ptp(x) == 0 or any(np.ptp(y) == 0 for y in ys):
            continue  # a value that is the same in every network has no correlation
        found = zip((stats.spearmanr(x, y) for y in ys), MULTIPLES, strict=True)
        words = ", ".join(f"{one.statistic:+.2f} at {multiple}E (p = {one.pvalue:.2g})" for one, multiple in found)
        lines.append(f"- {name}: {words}")
    if not lines:
        return ""
    head = f"These are Spearman's rank correlations with the error factor of the forecast, over {len(known)} networks."
    return f"{head} Networks of one pair are not independent, so p is too small:\n\n" + "\n".join(lines)


def _log_gap(a: float, b: float) -> float:
    return abs(math.log(a / b)) if a > 0 and b > 0 else math.nan
