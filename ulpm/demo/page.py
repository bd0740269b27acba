"""One HTML file out of the scenarios: style, scripts, plotly and numbers inside, nothing fetched from anywhere."""

import base64
import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ulpm import _files
from ulpm._extras import needs
from ulpm._versions import versions
from ulpm.demo.curves import plain
from ulpm.demo.scenario import Scenario

__all__ = ["LABORATORY", "write_page"]

LABORATORY = (
    "linear",
    "start",
    "losses",
    "objective",
    "jacobian",
    "explicit",
    "implicit",
    "flow",
    "descent",
    "metrics",
    "view",
    "words",
    "run",
    "link",
    "picture",
    "lab",
)
_SCRIPTS = (
    "scene.js",
    "curves.js",
    *(f"lab/{name}.js" for name in LABORATORY),
    "tools.js",
    "chapters.js",
    "story.js",
    "player.js",
)


def write_page(file: Path, scenarios: Sequence[Scenario], command: str) -> None:
    """Write the page; ``command`` is what makes it again, as the page says.

    Raises: ValueError if there is no scenario, OSError if the file cannot be written.
    """
    if not scenarios:
        raise ValueError("a page needs at least one scenario.")
    with needs("ulpm.demo"):
        from plotly.offline import get_plotlyjs

    data = {"scenarios": [_plain(scenario) for scenario in scenarios], "command": command, "versions": versions()}
    parts = {
        "STYLE": _asset("page.css"),
        "PLOTLY": get_plotlyjs(),
        # No "<" in the data can end the script element that holds it.
        "DATA": json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "SCRIPT": "\n".join(_asset(name) for name in _SCRIPTS),
    }
    before, *rest = _asset("page.html").split("{{")
    page = before
    for piece in rest:
        name, _, text = piece.partition("}}")
        page += parts[name] + text
    _files.write_text(file, page)


def _plain(scenario: Scenario) -> dict[str, Any]:
    """The scenario as JSON; the marks of all frames as base64 of 16-bit integers, a scale for all."""
    scene, clock = scenario.scene, scenario.clock
    marks = {"rows": scene.rows, "means": scene.means, "features": scene.features}
    largest = max(float(values.abs().max()) for values in marks.values()) or 1.0
    target = None
    if scene.target_rows is not None and scene.target_means is not None:
        target = {"rows": _rounded(scene.target_rows), "means": _rounded(scene.target_means), "edges": scene.edges}
    return {
        "key": scenario.key,
        "title": scenario.title,
        "caption": scenario.caption,
        "facts": scenario.facts,
        "classNames": scenario.class_names,
        "scale": largest / _MOST,
        "axes": scene.rows.shape[-1],
        **{name: _base64(values / largest) for name, values in marks.items()},
        "featureClasses": scene.feature_classes.tolist(),
        "target": target,
        "targetName": scenario.target_name,
        "clock": {
            "title": clock.title,
            "positions": [round(x, 5) for x in clock.positions],
            "words": clock.words,
            "ticks": clock.ticks,
        },
        "panels": [plain(panel) for panel in scenario.panels],
        "pictures": None
        if scenario.pictures is None
        else base64.b64encode(scenario.pictures.numpy().tobytes()).decode(),
        "pictured": scenario.pictured,
    }


_MOST = 32767


def _base64(values: Tensor) -> str:
    integers = (values * _MOST).round().to(torch.int16).contiguous().numpy().astype("<i2")
    return base64.b64encode(integers.tobytes()).decode()


def _rounded(values: Tensor) -> list[list[float]]:
    return [[round(x, 5) for x in row] for row in values.tolist()]


def _asset(name: str) -> str:
    return importlib.resources.files("ulpm.demo").joinpath("assets", *name.split("/")).read_text(encoding="utf-8")
