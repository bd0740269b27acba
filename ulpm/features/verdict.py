"""What a report says in words: which of NC1 to NC4 hold, how well, and what these data cannot say."""

import math

from ulpm import _checks
from ulpm.features.report import CollapseReport

__all__ = ["DEGREES", "class_table", "degree", "metric_table", "verdict"]

DEGREES = ((0.01, "holds closely"), (0.1, "holds nearly"), (0.5, "holds in part"), (math.inf, "does not hold"))
"""Up to which value of its measure a property is said to hold. Each measure is 0 at collapse and of order 1 without.

The bounds are a convention of this project, which makes the words comparable; the numbers stand beside them.
"""

_FEW = 5
_LONGEST_TABLE = 50


def degree(value: float) -> str:
    """The words of ``DEGREES`` for a measure."""
    return next(words for bound, words in DEGREES if value <= bound)


def verdict(report: CollapseReport) -> list[str]:
    """Sentences about features and classifier: NC1, NC2, NC3, NC4, the class farthest from collapse, and what is open.

    NC1 is judged by nc1_distance; NC2 by the larger of nc2_norm and nc2_angle, of class means and of the centred rows
    of the classifier; NC3 by nc3_duality; NC4 by nc4_mismatch.

    Args:
        report: What ``Features.measure`` found.

    Returns:
        The sentences, in this order.

    >>> problem = ulpm.Problem([5] * 3, feature_dim=4)
    >>> report = ulpm.Features.of(ulpm.collapsed_state(problem).H.T, problem.labels).measure()
    >>> print(ulpm.verdict(report)[0])
    NC1 (variability collapse) holds closely: samples are 0 times as far from their class mean as from the overall mean.
    """
    _checks.instance("report", report, CollapseReport)
    sentences = [_nc1(report), _nc2(report, "means", "class means", "")]
    if "nc2_norm_classifier_centered" in report.metrics:
        sentences.append(_nc2(report, "classifier_centered", "classifier's rows", ", about their mean"))
    if "nc3_duality" in report.metrics:
        value = _above_floor(report, "nc3_duality")
        sentences.append(
            _judged(
                "NC3 (self-duality)", value, f"unit class means and unit rows of the classifier are {value:.2g} apart"
            )
        )
    if "nc4_mismatch" in report.metrics:
        value = report.metrics["nc4_mismatch"]
        sentences.append(
            _judged(
                "NC4 (nearest class mean)", value, f"it and the prediction differ for {_percent(value)} of the samples"
            )
        )
    return [*sentences, *_farthest(report), *_open(report)]


def metric_table(report: CollapseReport) -> str:
    """Every metric in Markdown; those below their floors are marked as such."""
    lines = ["| metric | value |", "|---|---|"]
    for key, value in report.metrics.items():
        floor = report.floors.get(key, 0.0)
        lines.append(f"| {key} | {f'< {floor:.1e} (rounding)' if value < floor else f'{value:.4g}'} |")
    return "\n".join(lines) + "\n"


def class_table(report: CollapseReport) -> str:
    """The classes in Markdown, the one that is farthest from collapse first."""
    keys = [key for key in report.per_class if key not in ("samples", "nearest")]
    lines = [f"| class | samples | {' | '.join(keys)} | nearest class |", "|---" * (len(keys) + 3) + "|"]
    order = _by_spread(report)
    for k in order[:_LONGEST_TABLE]:
        numbers = [f"{report.per_class[key][k]:.3g}" for key in keys]
        nearest = _cell(report.class_names[report.per_class["nearest"][k]])
        samples = report.per_class["samples"][k]
        lines.append(f"| {_cell(report.class_names[k])} | {samples} | {' | '.join(numbers)} | {nearest} |")
    if len(order) > _LONGEST_TABLE:
        lines.append(f"| and {len(order) - _LONGEST_TABLE} more |" + " |" * (len(keys) + 2))
    return "\n".join(lines) + "\n"


def _judged(name: str, value: float, because: str) -> str:
    return f"{name} {degree(value)}: {because}." if math.isfinite(value) else f"{name} cannot be judged: 0/0."


def _above_floor(report: CollapseReport, key: str) -> float:
    """A metric, 0 where rounding alone may give as much."""
    return 0.0 if report.metrics[key] < report.floors[key] else report.metrics[key]


def _nc1(report: CollapseReport) -> str:
    if max(report.per_class["samples"]) == 1:
        return "NC1 (variability collapse) says nothing: every class has one sample."
    value = report.metrics["nc1_distance"]
    if not math.isfinite(value) or not math.isfinite(report.metrics["nc1_pinv"]):
        return "NC1 (variability collapse) cannot be judged: all class means are equal but for rounding."
    value = _above_floor(report, "nc1_distance")
    because = f"samples are {value:.2g} times as far from their class mean as from the overall mean"
    return _judged("NC1 (variability collapse)", value, because)


def _nc2(report: CollapseReport, of: str, what: str, about: str) -> str:
    norm, angle, K = report.metrics[f"nc2_norm_{of}"], report.metrics[f"nc2_angle_{of}"], len(report.class_names)
    name = f"NC2 (simplex) of the {what}"
    if K == 2:
        return f"{name} says nothing with two classes: they are always opposite{about or ', about their mean'}."
    if math.isnan(angle) and math.isfinite(norm):
        return f"{name} cannot be judged: one of them is the mean of all, and has no direction{about}."
    because = f"lengths vary by {_percent(norm)}, and cosines are {angle:.2g} off −1/{K - 1} on average{about}"
    return _judged(name, max(norm, angle), because)


def _farthest(report: CollapseReport) -> list[str]:
    spread = report.per_class["spread"]
    if not all(map(math.isfinite, spread)) or max(report.per_class["samples"]) == 1:
        return []
    if max(spread) < report.floors["nc1_ratio"]:
        return ["Every class is collapsed to within rounding."]
    k = _by_spread(report)[0]
    mean = sum(spread) / len(spread)
    nearest = report.class_names[report.per_class["nearest"][k]]
    return [
        f"Class {report.class_names[k]} is farthest from collapse: its variance is {spread[k] / mean:.2g} times that "
        f"of an average class, and the nearest class mean is that of class {nearest}."
    ]


def _open(report: CollapseReport) -> list[str]:
    """What these data cannot say, or what must be known to read the rest."""
    said, K, d = [], len(report.class_names), report.feature_dim
    if "nc3_duality" not in report.metrics:
        lacking = "NC3 and the classifier's half of NC2" if report.error is not None else "NC3, NC4 and half of NC2"
        said.append(f"Nothing can be said of {lacking} without the classifier W.")
    if report.error:
        said.append(
            f"{_percent(report.error)} of the samples are misclassified, but collapse belongs to zero training error."
        )
    if d < K - 1:
        said.append(f"{K} classes cannot form a simplex in {d} dimensions: NC2 would need {K - 1} or more.")
    counts = report.per_class["samples"]
    if max(counts) > min(counts):
        said.append(
            f"Classes have {min(counts)} to {max(counts)} samples: for unequal counts theory has no regular simplex."
        )
    single = [report.class_names[k] for k, n in enumerate(counts) if n == 1]
    if single and max(counts) > 1:
        more = ", …" if len(single) > _FEW else ""
        said.append(f"NC1 says nothing of classes with one sample: {', '.join(single[:_FEW])}{more}.")
    return said


def _by_spread(report: CollapseReport) -> list[int]:
    """Classes by their variance, the largest first; NaN last."""
    spread = report.per_class["spread"]
    return sorted(range(len(spread)), key=lambda k: -spread[k] if math.isfinite(spread[k]) else math.inf)


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%" if share < 0.995 else f"{100 * share:.0f}%"


def _cell(name: str) -> str:
    return " ".join(name.split()).replace("|", "\\|")
