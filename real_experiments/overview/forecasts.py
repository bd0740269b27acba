"""How well the model forecasts the networks."""

import math
from collections.abc import Sequence

from real_experiments.comparison.analysis import MULTIPLES
from real_experiments.comparison.curves import COMPARED
from real_experiments.comparison.pairing import OWN, OWN_MOBILE
from real_experiments.comparison.words import BASELINE, CLOCK_NAMES, FLOW_NAMES
from real_experiments.markdown import table
from real_experiments.overview.tables import spread
from real_experiments.pair_result import PairResult

__all__ = ["forecast_section"]


def forecast_section(results: Sequence[PairResult]) -> list[str]:
    """Mean ± standard deviation of the error factors over the networks."""
    widths = sorted({each.recipe.width for each in results})
    parts = [
        "Let E be the first epoch with zero training error. The model starts from the network's (W, H) at E and "
        "forecasts every metric at 2E and 5E. The error factor of a network is the geometric mean over the metrics of "
        f'the factors by which the forecasts differ from the measurements. "{CLOCK_NAMES["train_loss"].capitalize()}" '
        "means that we read the flow where its loss equals the network's. "
        f'"{CLOCK_NAMES["flow_time"].capitalize()}" means that we read it where its flow time equals the network\'s. '
        f"The {BASELINE} assumes that every metric stays as it was at E. Each cell shows the mean ± standard deviation "
        f"of the error factor over the networks. In brackets is the number of networks in which the forecast beats the "
        f"{BASELINE}."
    ]
    for width in widths:
        these = [each for each in results if each.recipe.width == width and each.why_not_compared is None]
        header = [f"width {width}"]
        header += [f"{which}, {m}E" for which in ("all metrics", "the paper's six") for m in MULTIPLES]
        columns = [(paper, multiple) for paper in (False, True) for multiple in MULTIPLES]
        rows = [[BASELINE, *(spread([each.factors(OWN, "train_loss", m, p)[1] for each in these]) for p, m in columns)]]
        for flow in (OWN, OWN_MOBILE):
            for clock in ("train_loss", "flow_time"):
                cells = [_against_baseline([each.factors(flow, clock, m, p) for each in these]) for p, m in columns]
                rows.append([f"{FLOW_NAMES[flow]}, {CLOCK_NAMES[clock]}", *cells])
        parts.append(table(header, rows))
    return [*parts, _rule_or_accident(results), _by_metric(results)]


def _by_metric(results: Sequence[PairResult]) -> str:
    """How well the model with faster features forecasts each metric, at the latest multiple."""
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
        rows.append([f"`{name}`", spread([unchanged for _, unchanged in pairs]), _against_baseline(pairs)])
    header = [f"at {latest}E, all widths", BASELINE, f"{FLOW_NAMES[OWN_MOBILE]}, {CLOCK_NAMES['train_loss']}"]
    closing = f"In most networks the {BASELINE} is better for {', '.join(worse)}." if worse else ""
    return f"The table shows the same for each metric.\n\n{table(header, rows)}\n\n{closing}".rstrip()


def _rule_or_accident(results: Sequence[PairResult]) -> str:
    """In how many forecasts faster features beat the constant baseline, and the exceptions."""
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
    text = (
        f"Averaged over all metrics and given the loss, {FLOW_NAMES[OWN_MOBILE]} beats the {BASELINE} in "
        f"{counted - len(losers)} of {counted} forecasts."
    )
    return f"{text} Exceptions: {'; '.join(losers)}." if losers else text


def _against_baseline(pairs: Sequence[tuple[float, float]]) -> str:
    known = [(model, unchanged) for model, unchanged in pairs if math.isfinite(model)]
    if not known:
        return "–"
    closer = sum(model < unchanged for model, unchanged in known)
    return f"{spread([model for model, _ in known])} ({closer} of {len(known)})"
