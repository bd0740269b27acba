"""``ulpm demo``: the page to play in a lecture."""

import dataclasses
import shlex
import time
from collections.abc import Iterable
from pathlib import Path

from ulpm import demo
from ulpm._extras import needs
from ulpm.cli.output import say, write_json
from ulpm.starts import parse_class_counts

__all__ = ["Demo"]


@dataclasses.dataclass(frozen=True)
class Demo:
    """Make a self-contained page that plays neural collapse, for a lecture: opened in any browser, it works offline.

    Without --class-counts it has a handful of scenarios; with --class-counts and --feature-dim, your own setting.
    """

    out: Path
    """The HTML file to write."""
    class_counts: str | None = None
    """Samples in each class of your own setting: 50x10 for 50 in each of 10 classes, or explicit ones like 7,5,5,4."""
    feature_dim: int | None = None
    """Feature dimension d of your own setting."""
    log10_time: float = demo.LOG10_TIME
    """End your own setting at this log10 of flow time."""
    seed: int = 0
    """Seed of the random start of your own setting."""
    json: Path | None = None
    """Write the names of the scenarios and the size of the page here in JSON."""

    def run(self) -> int:
        with needs("ulpm demo"):
            import plotly  # noqa: F401  # before the runs, not after them
        made = []
        began = time.monotonic()
        for scenario in self._scenarios():
            say(f"{scenario.title}: {time.monotonic() - began:.1f} s")
            made.append(scenario)
        demo.write_page(self.out, made, self._again())
        size = self.out.stat().st_size
        say(f"{self.out} ({size / 1e6:.1f} MB) works offline: open it in a browser.")
        write_json(self.json, {"page": str(self.out), "bytes": size, "scenarios": [each.key for each in made]})
        return 0

    def _scenarios(self) -> Iterable[demo.Scenario]:
        if self.class_counts is None and self.feature_dim is None:
            if (self.log10_time, self.seed) != (demo.LOG10_TIME, 0):
                raise ValueError("--log10-time and --seed need your own setting: --class-counts and --feature-dim.")
            return demo.lecture()
        if self.class_counts is None or self.feature_dim is None:
            raise ValueError("your own setting needs both --class-counts and --feature-dim.")
        counts = parse_class_counts(self.class_counts)
        return [demo.own_setting(counts, self.feature_dim, self.seed, self.log10_time)]

    def _again(self) -> str:
        """The command that makes this page."""
        words = ["ulpm", "demo", "--out", self.out.name.encode("utf-8", "replace").decode()]
        if self.class_counts is not None:
            words += ["--class-counts", self.class_counts, "--feature-dim", str(self.feature_dim)]
            words += ["--log10-time", str(self.log10_time), "--seed", str(self.seed)]
        return shlex.join(words)
