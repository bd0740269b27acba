"""``ulpm plot``, ``ulpm table`` and ``ulpm certify``: look at saved runs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ulpm import _files
from ulpm.cli.output import can_draw, say, show, write_json
from ulpm.summary import certificate_summary, certificate_table, markdown_table, summarise
from ulpm.trajectory import Trajectory

__all__ = ["Certify", "Plot", "Table"]


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw the figures of saved runs; several are drawn on top of each other: metrics, loss, margin, invariants."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories or trajectory files."""
    out: Path | None = None
    """Directory for the figures; by default that of the run, if there is only one."""
    formats: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """File formats."""
    json: Path | None = None
    """Write the list of figures here in JSON."""

    def run(self) -> int:
        from ulpm.plotting import save_figures

        paths = _load(self.runs)
        if len(paths) > 1 and self.out is None:
            raise ValueError("figures of several runs would replace those of the first: say where to draw with --out.")
        first, *others = paths.values()
        here = self.runs[0] if self.runs[0].is_dir() else self.runs[0].parent
        drawn = save_figures(
            first, self.out or here, self.formats, others=others, labels=list(paths) if others else None
        )
        for file in drawn:
            say(str(file))
        write_json(self.json, {"figures": [str(file) for file in drawn]})
        return 0


@dataclasses.dataclass(frozen=True)
class Table:
    """Print the results of saved runs side by side, with the limits of the theory."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories or trajectory files."""
    out: Path | None = None
    """Write the table here in Markdown."""
    json: Path | None = None
    """Write the numbers here in JSON."""

    def run(self) -> int:
        paths = _load(self.runs)
        table = markdown_table(paths)
        show(table)
        if self.out is not None:
            _files.write_text(self.out, table)
        write_json(self.json, {name: summarise(path) for name, path in paths.items()})
        return 0


@dataclasses.dataclass(frozen=True)
class Certify:
    """Show the certificates of a saved run: at each recorded time, bounds of the optimum.

    Writes certificate.md and certificate.png next to the run.
    """

    run_directory: Annotated[Path, tyro.conf.Positional]
    """A run directory or trajectory file."""
    json: Path | None = None
    """Write the bounds and residuals here in JSON."""

    def run(self) -> int:
        (path,) = _load([self.run_directory]).values()
        table = certificate_table(path)
        show(table)
        here = self.run_directory if self.run_directory.is_dir() else self.run_directory.parent
        _files.write_text(here / "certificate.md", table)
        drawn = _draw(path, here / "certificate.png")
        say(f"Results are in {here}: certificate.md" + (", certificate.png" if drawn else ""))
        write_json(self.json, certificate_summary(path))
        return 0


def _draw(path: Trajectory, file: Path) -> bool:
    """Draw the certificate; without matplotlib, a sentence says why not."""
    if can_draw():
        from ulpm.plotting import plot_certificate, save_figure

        save_figure(plot_certificate(path), file, "png")
        return True
    return False


def _load(runs: Sequence[Path]) -> dict[str, Trajectory]:
    if not runs:
        raise ValueError("at least one run directory must be given.")
    files = [run / "trajectory.safetensors" if run.is_dir() else run for run in runs]
    names = [run.resolve().name if run.is_dir() else run.stem for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    if len(set(names)) < len(names):
        raise ValueError("every run must be given once only.")
    return {name: Trajectory.load(file) for name, file in zip(names, files, strict=True)}
