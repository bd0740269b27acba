"""The page of all networks, from the tables and numbers that their folders hold and from nothing else."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from real_experiments.compare import FIGURES
from real_experiments.comparison.curves import COMPARED, PAPER
from real_experiments.comparison.pairing import OWN, OWN_MOBILE
from real_experiments.comparison.words import CLOCK_NAMES, FLOW_NAMES
from real_experiments.pair_result import PairResult

__all__ = ["results_page"]

_MULTIPLES = (2, 5)
_CELLS = {
    "nc2_norm_means": "norms: means",
    "nc2_norm_classifier_centered": "norms: classifier",
    "nc1_distance": "within-class",
    "nc2_angle_means": "angles: means",
    "nc2_angle_classifier_centered": "angles: classifier",
    "nc3_duality": "self-duality",
}
_RECIPE = (
    "Recipe of Ji, Lu, Zhang, Deng, Su, *An Unconstrained Layer-Peeled Perspective on Neural Collapse*, 2022, Appendix "
    "D: learning rate 0.01, momentum 0.3, batches of 128, no weight decay. We do not know its epochs, schedule and "
    "augmentation. Ours: a constant rate, standardised images, no augmentation, and the widths, images and epochs "
    "of the tables. Metrics are those of the training images in evaluation mode (running batch-norm statistics)."
)


def results_page(results: Sequence[PairResult], commands: Sequence[str], missing: Sequence[str]) -> str:
    """results.md. ``commands`` made the results, ``missing`` names networks whose data could not be had."""
    parts = ["# Real networks beside the model", _RECIPE]
    if commands:
        parts.append("Made by:\n\n```\n" + "\n".join(commands) + "\n```")
    if missing:
        parts.append("\n".join(f"- {name}: not run: no data" for name in missing))
    if results:
        figures = sorted({(each.recipe.model, each.recipe.width) for each in results})
        parts += ["## In words", *_words(results)]
        parts += ["\n\n".join(f"![{m}, width {w}](networks-{m}-w{w}.png)" for m, w in figures)]
        sections = {
            "How far each metric of the paper falls": [_metrics_table(results)],
            "Forecasts": _forecasts(results),
            "How much faster features move, and where the forecast fails": _mobility(results),
            "Batch-norm statistics": _batch_norm(results),
            "Images that were not trained on": _unseen(results),
            "Wide networks": _widths(results),
            "Each network": [_links(results)],
        }
        for heading, paragraphs in sections.items():
            parts += [f"## {heading}", *paragraphs] if paragraphs else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _words(results: Sequence[PairResult]) -> list[str]:
    """What came out, in sentences."""
    compared = [each for each in results if each.first_without_error is not None]
    sentences = [
        f"{_count(len(results), 'network')} trained: {_count(len({each.pair for each in results}), 'setting')} of "
        f"architecture, data set and width. {len(compared)} reached zero training error."
    ]
    lines = []
    for metric in PAPER:
        falling = [each for each in compared if each.falls(metric)]
        others = [each for each in compared if not each.falls(metric)]
        verdict = f"falls in {len(falling)} of {len(compared)} networks"
        named = "; ".join(f"{each.name} ({_doubt(each, metric)})" for each in others)
        lines.append(f"- `{metric}` {verdict}" + (f". Not in: {named}." if others else "."))
    text = (
        "A metric falls if the 95% interval of its slope against the epoch, from zero training error to the end, lies "
        "below zero. The metrics of the paper:\n\n"
    )
    failures = {m: sum(not each.falls(m) for each in compared) for m in COMPARED if m not in PAPER}
    more = ", ".join(f"`{metric}` ({count})" for metric, count in failures.items() if count)
    closing = f"Of the other metrics these do not fall everywhere (number of networks): {more}." if more else ""
    return [*sentences, text + "\n".join(lines), closing]


def _doubt(result: PairResult, metric: str) -> str:
    slope = result.slope(metric)
    if slope is None:
        return "no line was fitted"
    return "it rises" if slope["low"] > 0 else "the interval holds 0"


def _metrics_table(results: Sequence[PairResult]) -> str:
    header = ["network", "epoch of zero error", "epochs after", *_CELLS.values()]
    rows = []
    for each in results:
        first = each.first_without_error
        if first is None:
            rows.append([each.name, "never", "–", *["–"] * len(_CELLS)])
            continue
        cells = [_fall(each, metric) for metric in _CELLS]
        rows.append([_named(each), str(first), str(each.epochs_after), *cells])
    text = (
        "Each cell: the metric at the first epoch with zero training error → at the last, and its slope "
        "d log/d log epoch between them with the 95% interval.\n\n"
    )
    return text + _table(header, rows)


def _named(result: PairResult) -> str:
    split = " (test split)" if result.recipe.split == "test" else ""
    return result.name + split


def _fall(result: PairResult, metric: str) -> str:
    rows, slope = result.terminal_rows, result.slope(metric)
    values = f"{rows[0].get(metric, math.nan):.3g} → {rows[-1].get(metric, math.nan):.3g}"
    if slope is None:
        return values
    return f"{values}<br>{slope['value']:+.3f} [{slope['low']:+.3f}, {slope['high']:+.3f}]"


def _forecasts(results: Sequence[PairResult]) -> list[str]:
    """Mean ± deviation of the typical factors over the networks."""
    widths = sorted({each.recipe.width for each in results})
    parts = [
        "From its (W, H) at the first epoch E with zero training error, the model forecasts every metric of a network "
        "at 2E and 5E. A forecast is off by a factor; the factor of a network is the geometric mean over the metrics. "
        f'"{CLOCK_NAMES["train_loss"].capitalize()}": the flow is read where its loss is that of the network then; '
        f'"{CLOCK_NAMES["flow_time"]}": where its time is. "No change" is the forecast that every metric stays as it '
        "was at E. Each cell is the mean ± standard deviation of the factor over the networks, and in how many of them "
        "the forecast is closer than no change."
    ]
    for width in widths:
        these = [each for each in results if each.recipe.width == width and each.why_not_compared is None]
        header = [f"width {width}"]
        header += [f"{which}, {m}E" for which in ("all metrics", "the paper's six") for m in _MULTIPLES]
        columns = [(paper, multiple) for paper in (False, True) for multiple in _MULTIPLES]
        rows = [
            ["no change", *(_spread([each.factors(OWN, "train_loss", m, p)[1] for each in these]) for p, m in columns)]
        ]
        for flow in (OWN, OWN_MOBILE):
            for clock in ("train_loss", "flow_time"):
                cells = [_against_no_change([each.factors(flow, clock, m, p) for each in these]) for p, m in columns]
                rows.append([f"{FLOW_NAMES[flow]}, {CLOCK_NAMES[clock]}", *cells])
        parts.append(_table(header, rows))
    return [*parts, _rule_or_accident(results)]


def _rule_or_accident(results: Sequence[PairResult]) -> str:
    """Whether faster features forecast better in every network, or where they do not."""
    losers = []
    counted = 0
    for each in results:
        for multiple in _MULTIPLES:
            model, unchanged = each.factors(OWN_MOBILE, "train_loss", multiple, False)
            if math.isfinite(model):
                counted += 1
                if model >= unchanged:
                    losers.append(f"{each.name} at {multiple}E (×{model:.3g} against ×{unchanged:.3g})")
    if not counted:
        return "No network was trained to twice its epoch of zero training error."
    text = f"Given the loss, {FLOW_NAMES[OWN_MOBILE]} is closer than no change in {counted - len(losers)} of {counted}"
    return f"{text} forecasts over all metrics" + (f"; not in {'; '.join(losers)}." if losers else ".")


def _spread(values: Sequence[float]) -> str:
    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return "–"
    deviation = f" ± {known.std(ddof=1):.2g}" if len(known) > 1 else ""
    return f"×{known.mean():.3g}{deviation}"


def _against_no_change(pairs: Sequence[tuple[float, float]]) -> str:
    known = [(model, unchanged) for model, unchanged in pairs if math.isfinite(model)]
    if not known:
        return "–"
    closer = sum(model < unchanged for model, unchanged in known)
    return f"{_spread([model for model, _ in known])} ({closer} of {len(known)})"


def _mobility(results: Sequence[PairResult]) -> list[str]:
    """c along the training, its scatter over classes, and which of them goes with the error of the forecast."""
    header = [
        "network",
        "c at E",
        "c at the end",
        "c of centred parts at E",
        "c gained after E",
        "scatter over classes",
    ]
    header += ["off at 2E", "off at 5E"]
    rows, numbers = [], []
    for each in results:
        history = each.numbers.get("mobility_history", [])
        later = [entry for entry in history if entry["epoch"] >= each.numbers.get("snapshot", math.inf)]
        if len(later) < 2:
            continue
        start, end = later[0], later[-1]
        gains = [entry["gained"] for entry in later[1:] if entry["gained"] is not None]
        gained = float(np.median(gains)) if gains else math.nan
        off = [each.factors(OWN_MOBILE, "train_loss", multiple, False)[0] for multiple in _MULTIPLES]
        cells = [start["ratio"], end["ratio"], start["centered"], gained, start["class_scatter"]]
        rows.append([each.name, *(f"{value:.3g}" for value in cells), *(_factor(value) for value in off)])
        numbers.append(
            (
                abs(math.log(end["ratio"] / start["ratio"])),
                _log_gap(gained, start["ratio"]),
                abs(math.log(start["centered"] / start["ratio"])),
                start["class_scatter"],
                *off,
            )
        )
    text = (
        "c = ‖H‖²/‖W‖² is how much faster than free features those of a network move, read off its norms at E. The "
        "forecast takes one c for all classes and all times. The table shows whether that holds: c at the end; c of "
        "features and rows about their means; c from what the norms gained after E (median over snapshots); and the "
        "standard deviation over classes of log c_k. The last columns are the factor by which the forecast given the "
        "loss is off."
    )
    return [text, _table(header, rows), _what_goes_with_errors(numbers)] if rows else [text]


def _what_goes_with_errors(numbers: Sequence[Sequence[float]]) -> str:
    """Rank correlations of the forecast's error with what c does."""
    table = np.array(numbers)
    known = table[np.isfinite(table).all(1)]
    if len(known) < 6:
        return ""
    names = (
        "the change of c from E to the end",
        "the distance of the gained c from c at E",
        "the distance of the centred c from c at E",
        "the scatter over classes",
    )
    lines = []
    for i, name in enumerate(names):
        found = [stats.spearmanr(known[:, i], known[:, len(names) + j]) for j in range(len(_MULTIPLES))]
        words = ", ".join(
            f"{one.statistic:+.2f} at {m}E (p = {one.pvalue:.2g})" for one, m in zip(found, _MULTIPLES, strict=True)
        )
        lines.append(f"- {name}: {words}")
    head = f"Spearman's rank correlation with the factor by which the forecast is off, over {len(known)} networks"
    return f"{head} (networks of one pair are not independent, so that p is too small):\n\n" + "\n".join(lines)


def _batch_norm(results: Sequence[PairResult]) -> list[str]:
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
        "Running statistics are averages over the last steps; re-estimated ones belong to the final parameters. At the "
        "end they change the six metrics of the paper by a factor (geometric mean) of "
        f"{_spread(values)} over {_count(len(values), 'network')}, at most ×{worst:.3g} ({name})."
    ]


def _unseen(results: Sequence[PairResult]) -> list[str]:
    these = [each for each in results if "test_error" in each.rows[-1] and each.first_without_error is not None]
    if not these:
        return []
    keys: dict[str, Callable[[PairResult], str]] = {
        "error": lambda each: _first_to_last(each, "test_error"),
        "loss": lambda each: _first_to_last(each, "test_loss"),
        "within-class": lambda each: _first_to_last(each, "test_nc1_distance"),
        "the same, training": lambda each: _first_to_last(each, "nc1_distance"),
        "angles: means": lambda each: _first_to_last(each, "test_nc2_angle_means"),
        "self-duality": lambda each: _first_to_last(each, "test_nc3_duality"),
    }
    rows = [[_named(each), *(cell(each) for cell in keys.values())] for each in these]
    rising = [
        each for each in these if each.rows[-1]["test_nc1_distance"] >= each.terminal_rows[0]["test_nc1_distance"]
    ]
    text = (
        "The same networks on as many images that they were not trained on, of the official test split; for KMNIST "
        "others of the split that was trained on. Class means are those of these images. Each cell: at the first epoch "
        "with zero training error → at the end. `nc1_distance` of unseen images is smaller at the end in "
        f"{len(these) - len(rising)} of {len(these)} networks"
    )
    names = ", ".join(each.name for each in rising)
    return [text + (f"; not in {names}." if rising else "."), _table(["network", *keys], rows)]


def _first_to_last(result: PairResult, column: str) -> str:
    first, last = result.terminal_rows[0].get(column, math.nan), result.rows[-1].get(column, math.nan)
    return f"{first:.3g} → {last:.3g}"


def _widths(results: Sequence[PairResult]) -> list[str]:
    """Pairs that were trained at several widths, at the epochs that all of them have: means over seeds."""
    pairs = sorted({each.pair[:2] for each in results})
    header = ["pair", "width", "E", "epochs after", *_CELLS.values()]
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
            for metric in _CELLS:
                start = np.mean([each.terminal_rows[0][metric] for each in seeds])
                end = np.mean([_after(each, metric, after) for each in seeds])
                cells.append(f"{start:.3g} → {end:.3g}")
            firsts = ", ".join(str(each.first_without_error) for each in seeds)
            rows.append([f"{model}, {dataset}", str(width), firsts, str(after), *cells])
    if not rows:
        return []
    text = (
        "Each metric at E and as many epochs later as every network of the pair was trained (means over seeds; between "
        "measured epochs interpolated in logarithms). Width 64 is that of the published networks."
    )
    return [text, _table(header, rows)]


def _after(result: PairResult, metric: str, epochs: int) -> float:
    """The metric so many epochs after zero training error."""
    rows = result.terminal_rows
    x = np.log([row["epoch"] for row in rows])
    return float(np.exp(np.interp(np.log(rows[0]["epoch"] + epochs), x, np.log([row[metric] for row in rows]))))


def _links(results: Sequence[PairResult]) -> str:
    lines = []
    for each in results:
        files = [f"[metrics]({each.name}/metrics.csv)", f"[numbers]({each.name}/comparison.json)"]
        if each.why_not_compared is None and each.recipe.seed == min(
            r.recipe.seed for r in results if r.pair == each.pair
        ):
            files += [f"[page]({each.name}/comparison.md)", f"[figure]({each.name}/{FIGURES['train_loss']})"]
        reason = f" – not compared: {each.why_not_compared}" if each.why_not_compared else ""
        lines.append(f"- {each.name}: {', '.join(files)}{reason}")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def _log_gap(a: float, b: float) -> float:
    return abs(math.log(a / b)) if a > 0 and b > 0 else math.nan


def _factor(value: float) -> str:
    return f"×{value:.3g}" if math.isfinite(value) else "–"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
