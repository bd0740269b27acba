"""A run in a few numbers, compared with the values of the theory."""

import decimal
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ulpm.laws import late_limits
from ulpm.metrics import METRICS
from ulpm.optimality.certificate import Certificate
from ulpm.trajectory import Trajectory

__all__ = ["certificate_summary", "certificate_table", "markdown_table", "summarise"]


def summarise(path: Trajectory) -> dict[str, Any]:
    """The end of a trajectory: status, time, loss, the constants of late time over their limits, drifts and metrics.

    With replicas every number is a list. Numbers that are not finite are None, so that the result is valid JSON.
    Limits, if the flow ends at the optimum v*: ρ²/log t → 2v*/κ, L·t·log t → v*/(2κ), γ → 1/(2v*), with κ = 1 for
    cross-entropy; None where norms stay finite. ``floors`` are those of the metrics at the end (``Trajectory.floors``).
    """
    plain: dict[str, Any] = _plain(_numbers(path))
    return plain


def _numbers(path: Trajectory) -> dict[str, Any]:
    """The same with the numbers that are not finite."""
    v = path.problem.minimum_norm_value
    loss_limit, norm_limit = late_limits(path.problem)
    last, floors = last_rows(path), _last_floors(path)
    of_loss = {"log10_loss": (floors["log_loss"] / math.log(10)).tolist()} if "log_loss" in floors else {}
    log_t, log_loss = last["log_time"], last["log_loss"]
    # A replica that has not left t = 0 has no late time to compare with: ρ²/log t would be −0.
    norm_rate = torch.where(log_t == -torch.inf, torch.nan, last["squared_norm"] / log_t)
    status = [path.status] if isinstance(path.status, str) else path.status
    return {
        **path.problem.record(),
        "class_counts": list(path.problem.class_counts),
        "method": path.config.get("method"),
        "status": [str(entry) for entry in status],
        "finished": path.finished,
        "log10_time": (log_t / math.log(10)).tolist(),
        "log10_loss": (log_loss / math.log(10)).tolist(),
        "squared_norm_over_limit": (norm_rate / norm_limit).tolist(),
        "loss_time_over_limit": (torch.exp(log_loss + log_t) * log_t / loss_limit).tolist(),
        "margin_over_optimum": (2 * v * last["margin"] / last["squared_norm"]).tolist(),
        "largest_drift": {name: _nanmax(drift).tolist() for name, drift in path.invariant_drift.items()},
        "metrics_at_start": {name: values[0].tolist() for name, values in path.metrics.items()},
        "metrics": {name: last[name].tolist() for name in path.metrics},
        "floors": of_loss | {name: floor.tolist() for name, floor in floors.items() if name in path.metrics},
        "stats": dict(path.stats),
    }


def last_rows(path: Trajectory) -> dict[str, torch.Tensor]:
    """Every column at the last record that each replica reached."""
    return {name: _at_end(path, column) for name, column in path.columns().items()}


def _last_floors(path: Trajectory) -> dict[str, torch.Tensor]:
    """Every floor there."""
    return {name: _at_end(path, floor) for name, floor in path.floors.items()}


def _at_end(path: Trajectory, column: torch.Tensor) -> torch.Tensor:
    row = (~path.log_time.isnan()).sum(0, keepdim=True) - 1
    return column.gather(0, row)[0]


def markdown_table(paths: Mapping[str, Trajectory]) -> str:
    """A table in Markdown with a column a run; with replicas the median over them.

    What is below its floor is shown as "< floor", and "–" is a number that is not finite. Infinite replicas count in a
    median. Undefined ones do not: "(3 of 4)" behind a number says that three of four are defined.
    """
    summaries = [_numbers(path) for path in paths.values()]
    rows: list[tuple[str, list[str]]] = [
        ("classes K, samples N, dimension d", [_sizes(path) for path in paths.values()]),
        ("method", [str(s["method"]) for s in summaries]),
        ("status", ["; ".join(sorted(set(s["status"]))) for s in summaries]),
    ]
    if any(path.problem.model for path in paths.values()):
        rows.insert(1, ("loss, decay, bias", [path.problem.model or "cross-entropy" for path in paths.values()]))
    plain = all(path.problem.loss.tail in (1.0, None) for path in paths.values())
    limits = any(path.problem.has_margins for path in paths.values())
    for key, name in (_ROWS if plain else _ROWS | _ROWS_OF_A_TAIL).items():
        if limits or key not in _ROWS_OF_LIMITS:
            rows.append((name, [_late(s[key], s["floors"].get(key)) for s in summaries]))
    for key in dict.fromkeys(key for s in summaries for key in s["largest_drift"]):
        drifts = [_number(s["largest_drift"].get(key)) for s in summaries]
        rows.append((f"largest drift of {key.replace('_', ' ')}", drifts))
    # A run of an earlier version lacks some metrics: there is nothing to show for them.
    for key in sorted({key for s in summaries for key in s["metrics"]}, key=_place):
        cells = [
            f"{_number(s['metrics_at_start'].get(key))} → {_resolved(s['metrics'].get(key), s['floors'].get(key))}"
            for s in summaries
        ]
        rows.append((f"`{key}`, start → end", cells))
    for key in sorted({key for s in summaries for key in s["stats"]}):
        rows.append((key.replace("_", " "), [str(s["stats"].get(key, "")) for s in summaries]))
    lines = ["| | " + " | ".join(map(_as_markdown, paths)) + " |", "|---" * (len(paths) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows]
    return "\n".join(lines) + "\n"


def certificate_summary(path: Trajectory) -> dict[str, Any]:
    """The certificates of a trajectory as valid JSON: the best bounds of all records, and every record.

    ``optimum`` is v* where it is known in closed form, which no certificate uses. With replicas a record is a list.
    Numbers that are not finite, such as bounds that do not exist, are None.

    Raises: ValueError if the trajectory has no certificates.
    """
    certificate = _certificate(path)
    lower, upper = _proven(certificate)
    columns = {"log_time": path.log_time, **certificate.columns(), "gap": certificate.gap}
    return {
        **path.problem.record(),
        "class_counts": list(path.problem.class_counts),
        "optimum": _plain(torch.tensor(path.problem.minimum_norm_value, dtype=torch.float64, device="cpu")),
        "lower_bound": _plain(lower),
        "upper_bound": _plain(upper),
        "gap": _plain(upper / lower - 1),
        "relaxation_tight": certificate.relaxation_tight,
        "records": {name: [_plain(row) for row in column] for name, column in columns.items()},
    }


def certificate_table(path: Trajectory) -> str:
    """A dozen records of the certificates in Markdown (with replicas, the median), and the best bounds of all records.

    Floors, and numbers that are not finite, are shown as in ``markdown_table``.

    Raises: ValueError if the trajectory has no certificates.
    """
    certificate = _certificate(path)
    columns, floors = certificate.columns() | {"gap": certificate.gap}, path.floors
    shown = _CERTIFICATE if path.problem.has_margins else _CERTIFICATE_OF_A_MINIMUM
    lines = ["| log10 t | " + " | ".join(name for name, _ in shown.values()) + " |"]
    lines.append("|---" * (len(shown) + 1) + "|")
    for i in (
        torch.linspace(0, len(path.log_time) - 1, min(12, len(path.log_time)), dtype=torch.float32, device="cpu")
        .round()
        .long()
        .tolist()
    ):
        cells = [
            _resolved(columns[key][i].tolist(), floors[key][i].tolist() if key in floors else None, digits)
            for key, (_, digits) in shown.items()
        ]
        at_start = bool((path.log_time[i] == -math.inf).any())
        time = "t = 0" if at_start else _number((path.log_time[i] / math.log(10)).tolist())
        lines.append(f"| {time} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, *(f"\n{sentence}" for sentence in _verdict(path, certificate))]) + "\n"


# Of the margin problem; and of what is minimised, where it has a minimum.
_CERTIFICATE = {
    "lower_bound": ("Σ R_yi / ‖R‖_op ≤ v*", 8),
    "nuclear_upper_bound": ("‖WH‖_* / q_min ≥ v*", 8),
    "upper_bound": ("½ρ² / q_min ≥ v*", 8),
    "gap": ("relative gap", 3),
    "stationarity": ("stationarity", 3),
    "complementarity": ("complementarity", 3),
}
_CERTIFICATE_OF_A_MINIMUM = _CERTIFICATE | {
    "lower_bound": ("lower bound ≤ Φ*", 8),
    "nuclear_upper_bound": ("L + √(λ_W λ_H) ‖WH‖_* ≥ Φ*", 8),
    "upper_bound": ("Φ ≥ Φ*", 8),
}


def _certificate(path: Trajectory) -> Certificate:
    if path.certificate is None:
        raise ValueError("the trajectory has no certificates, as nothing bounds the optimum of its problem.")
    return path.certificate


def _proven(certificate: Certificate) -> tuple[torch.Tensor, torch.Tensor]:
    """The best bounds of all records and replicas."""
    lower, upper = certificate.lower_bound, certificate.nuclear_upper_bound
    return lower[~lower.isnan()].amax(), upper[~upper.isnan()].amin()


def _verdict(path: Trajectory, certificate: Certificate) -> list[str]:
    """The best bounds of all records, rounded outwards, and the closed form if there is one."""
    lower, upper = (float(bound) for bound in _proven(certificate))
    at_least = decimal.Context(prec=9, rounding=decimal.ROUND_FLOOR).create_decimal(lower)
    at_most = decimal.Context(prec=9, rounding=decimal.ROUND_CEILING).create_decimal(upper)
    what = "v*" if path.problem.has_margins else "Φ*"
    if upper < math.inf:
        sentences = [
            f"The certificates of all {len(path.log_time)} records bound the optimum: {what} lies in "
            f"[{at_least}, {at_most}]."
        ]
    else:
        sentences = [
            f"No record separates the classes: the optimum v* is at least {at_least}, and no upper bound follows."
        ]
    if math.isfinite(path.problem.minimum_norm_value):
        sentences.append(f"The closed form, which no certificate uses, is v* = {path.problem.minimum_norm_value:.9g}.")
    if not certificate.relaxation_tight:
        few = "With d < K − 1" if path.problem.has_margins else "For so few features"
        sentences.append(f"{few} the convex relaxation is not tight: the gap stays open at every state.")
    return sentences


_ROWS = {
    "log10_time": "log10 t",
    "log10_loss": "log10 L",
    "squared_norm_over_limit": "(ρ²/log t) / 2v*  (→ 1)",
    "loss_time_over_limit": "L·t·log t / (v*/2)  (→ 1)",
    "margin_over_optimum": "margin γ/γ*  (→ 1)",
}
# What there is where margins grow for ever.
_ROWS_OF_LIMITS = ("squared_norm_over_limit", "loss_time_over_limit", "margin_over_optimum")
# Of a loss that falls like e^{−κq}.
_ROWS_OF_A_TAIL = {
    "squared_norm_over_limit": "(ρ²/log t) / (2v*/κ)  (→ 1)",
    "loss_time_over_limit": "L·t·log t / (v*/2κ)  (→ 1)",
}


def _place(key: str) -> int:
    """Where a metric stands in a table; one of a later version at the end."""
    return METRICS.index(key) if key in METRICS else len(METRICS)


def _as_markdown(name: str) -> str:
    """A name, which may be any file's, as plain text in a cell of a table."""
    # What cannot be written in UTF-8, as bytes of another encoding in a file's name, is shown as a question mark.
    plain = "".join(letter if letter.isprintable() else " " for letter in name.encode("utf-8", "replace").decode())
    return re.sub(r"([\\`*\[\]<>|~$])", r"\\\1", plain)


def _sizes(path: Trajectory) -> str:
    p = path.problem
    return f"{p.num_classes}, {p.num_samples}, {p.feature_dim}"


def _nanmax(values: torch.Tensor) -> torch.Tensor:
    greatest = torch.where(values.isnan(), -torch.inf, values).amax(0)
    return torch.where(values.isnan().all(0), torch.nan, greatest)


def _plain(value: Any) -> Any:
    """Numbers, or lists and dictionaries of them, with None for those that are not finite."""
    if isinstance(value, torch.Tensor):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_Numbers = float | Sequence[float] | None


def _resolved(value: _Numbers, floor: _Numbers, digits: int = 4) -> str:
    """A number, or that it is less than its floor."""
    least = _middle(floor)
    # What is exactly zero, as in a class of one sample, is no matter of resolution.
    if 0 < abs(_middle(value)) < least:
        return f"< {least:.2g}{_defined(value)}"
    return _number(value, digits)


def _late(value: _Numbers, floor: _Numbers) -> str:
    """The same of a number of any sign, as a logarithm is."""
    return f"< {_number(floor)}" if _middle(value) < _middle(floor) else _number(value)


def _number(value: _Numbers, digits: int = 4) -> str:
    number = _middle(value)
    return f"{number:.{digits}g}{_defined(value)}" if math.isfinite(number) else "–"


def _middle(value: _Numbers) -> float:
    """The median of the replicas that are defined; nan if none is."""
    if not isinstance(value, Sequence):
        return math.nan if value is None else value
    defined = [x for x in value if not math.isnan(x)]
    # Not torch.median, which of an even number takes the lower middle.
    return statistics.median(defined) if defined else math.nan


def _defined(value: _Numbers) -> str:
    """How many replicas are defined, if some are not."""
    if not isinstance(value, Sequence) or not any(map(math.isnan, value)):
        return ""
    return f" ({sum(not math.isnan(x) for x in value)} of {len(value)})"
