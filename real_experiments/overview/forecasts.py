"""How well the model forecasts the networks, and whether that is the rule."""

import math
from collections.abc import Sequence

from real_experiments.comparison.analysis import MULTIPLES
from real_experiments.comparison.curves import COMPARED
from real_experiments.comparison.pairing import OWN, OWN_MOBILE
from real_experiments.comparison.words import CLOCK_NAMES, FLOW_NAMES
from real_experiments.markdown import table
from real_experiments.overview.tables import spread
from real_experiments.pair_result import PairResult

__all__ = ["forecast_section"]


def forecast_section(results: Sequence[PairResult]) -> list[str]:
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
        header += [f"{which}, {m}E" for which in ("all metrics", "the paper's six") for m in MULTIPLES]
        columns = [(paper, multiple) for paper in (False, True) for multiple in MULTIPLES]
        rows = [
            ["no change", *(spread([each.factors(OWN, "train_loss", m, p)[1] for each in these]) for p, m in columns)]
        ]
        for flow in (OWN, OWN_MOBILE):
            for clock in ("train_loss", "flow_time"):
                cells = [_against_no_change([each.factors(flow, clock, m, p) for each in these]) for p, m in columns]
                rows.append([f"{FLOW_NAMES[flow]}, {CLOCK_NAMES[clock]}", *cells])
        parts.append(table(header, rows))
    return [*parts, _rule_or_accident(results), _by_metric(results)]


def _by_metric(results: Sequence[PairResult]) -> str:
    """What the model with faster features forecasts well, and what not, at the latest multiple."""
    latest = MULTIPLES[-1]
    found = [each.forecast(OWN_MOBILE, "train_loss", latest) for each in results]
    forecasts = [each for each in found if each is not None]
    if not forecasts:
        return ""
    rows, worse = [], []
    for name in COMPARED:
        pairs = [(each.factor(name), each.unchanged_factor(name)) for each in forecasts if name in each.measured]
        if 2 * sum(model < unchanged for model, unchanged in pairs) < len(pairs):
            worse.append(f"`{name}`")
        rows.append([f"`{name}`", spread([unchanged for _, unchanged in pairs]), _against_no_change(pairs)])
    header = [f"at {latest}E, all widths", "no change", f"{FLOW_NAMES[OWN_MOBILE]}, {CLOCK_NAMES['train_loss']}"]
    closing = f"No change is the better forecast in most networks for {', '.join(worse)}." if worse else ""
    return f"Metric by metric:\n\n{table(header, rows)}\n\n{closing}".rstrip()


def _rule_or_accident(results: Sequence[PairResult]) -> str:
    """Whether faster features forecast better in every network, or where they do not."""
    losers = []
    counted = 0
    for each in results:
        for multiple in MULTIPLES:
            model, unchanged = each.factors(OWN_MOBILE, "train_loss", multiple, False)
            if math.isfinite(model):
                counted += 1
                if model >= unchanged:
                    losers.append(f"{each.name} at {multiple}E (×{model:.3g} against ×{unchanged:.3g})")
    if not counted:
        return "No network was trained to twice its epoch of zero training error."
    text = f"Given the loss, {FLOW_NAMES[OWN_MOBILE]} is closer than no change in {counted - len(losers)} of {counted}"
    return f"{text} forecasts over all metrics" + (f"; not in {'; '.join(losers)}." if losers else ".")


def _against_no_change(pairs: Sequence[tuple[float, float]]) -> str:
    known = [(model, unchanged) for model, unchanged in pairs if math.isfinite(model)]
    if not known:
        return "–"
    closer = sum(model < unchanged for model, unchanged in known)
    return f"{spread([model for model, _ in known])} ({closer} of {len(known)})"
