"""What a run comes to in a few numbers, beside what theory says they should be."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ulpm.trajectory import Trajectory

__all__ = ["markdown_table", "summarise"]


def summarise(path: Trajectory) -> dict[str, Any]:
    """The end of a trajectory: status, time, loss, the constants of late time over their limits, drifts and metrics.

    With replicas every number is a list. Numbers that are not finite are None, so that the result is valid JSON.
    Limits, if the flow ends at the optimum v*: ρ²/log t → 2v*, L·t·log t → v*/2, γ → 1/(2v*).
    """
    v = path.problem.minimum_norm_value
    last = last_rows(path)
    log_t, log_loss = last["log_time"], last["log_loss"]
    status = [path.status] if isinstance(path.status, str) else path.status
    return {
        "class_counts": list(path.problem.class_counts),
        "feature_dim": path.problem.feature_dim,
        "method": path.config.get("method"),
        "status": [str(entry) for entry in status],
        "finished": path.finished,
        "log10_time": _plain(log_t / math.log(10)),
        "log10_loss": _plain(log_loss / math.log(10)),
        "squared_norm_over_limit": _plain(last["squared_norm"] / log_t / (2 * v)),
        "loss_time_over_limit": _plain(torch.exp(log_loss + log_t) * log_t / (v / 2)),
        "margin_over_optimum": _plain(2 * v * last["margin"] / last["squared_norm"]),
        "largest_drift": {name: _plain(_nanmax(drift)) for name, drift in path.invariant_drift.items()},
        "metrics_at_start": {name: _plain(values[0]) for name, values in path.metrics.items()},
        "metrics": {name: _plain(last[name]) for name in path.metrics},
        "stats": dict(path.stats),
    }


def last_rows(path: Trajectory) -> dict[str, torch.Tensor]:
    """Every column at the last record that each replica reached."""
    row = (~path.log_time.isnan()).sum(0, keepdim=True) - 1
    return {name: column.gather(0, row)[0] for name, column in path.columns().items()}


def markdown_table(paths: Mapping[str, Trajectory]) -> str:
    """A table in Markdown with a column a run; with replicas the median over them."""
    summaries = [summarise(path) for path in paths.values()]
    first = summaries[0]
    rows: list[tuple[str, list[str]]] = [
        ("classes K, samples N, dimension d", [_sizes(path) for path in paths.values()]),
        ("method", [str(s["method"]) for s in summaries]),
        ("status", ["; ".join(sorted(set(s["status"]))) for s in summaries]),
    ]
    for key, name in _ROWS.items():
        rows.append((name, [_number(s[key]) for s in summaries]))
    for key in first["largest_drift"]:
        rows.append(
            (f"largest drift of {key.replace('_', ' ')}", [_number(s["largest_drift"][key]) for s in summaries])
        )
    for key in first["metrics"]:
        cells = [f"{_number(s['metrics_at_start'][key])} → {_number(s['metrics'][key])}" for s in summaries]
        rows.append((f"`{key}`, start → end", cells))
    for key in sorted({key for s in summaries for key in s["stats"]}):
        rows.append((key.replace("_", " "), [str(s["stats"].get(key, "")) for s in summaries]))
    lines = ["| | " + " | ".join(paths) + " |", "|---" * (len(paths) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows]
    return "\n".join(lines) + "\n"


_ROWS = {
    "log10_time": "log10 t",
    "log10_loss": "log10 L",
    "squared_norm_over_limit": "(ρ²/log t) / 2v*  (→ 1)",
    "loss_time_over_limit": "L·t·log t / (v*/2)  (→ 1)",
    "margin_over_optimum": "margin γ/γ*  (→ 1)",
}


def _sizes(path: Trajectory) -> str:
    p = path.problem
    return f"{p.num_classes}, {p.num_samples}, {p.feature_dim}"


def _nanmax(values: torch.Tensor) -> torch.Tensor:
    return torch.where(values.isnan(), -torch.inf, values).amax(0)


def _plain(values: torch.Tensor) -> Any:
    """A float, or a list of floats, None where not finite."""
    numbers = values.tolist()
    if isinstance(numbers, list):
        return [x if math.isfinite(x) else None for x in numbers]
    return numbers if math.isfinite(numbers) else None


def _number(value: float | Sequence[float | None] | None) -> str:
    if isinstance(value, Sequence):
        finite = [x for x in value if x is not None]
        value = float(torch.tensor(finite, dtype=torch.float64).median()) if finite else None
    return "–" if value is None else f"{value:.4g}"
