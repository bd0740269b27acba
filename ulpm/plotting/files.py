"""All figures of a run as files."""

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure

from ulpm import _files
from ulpm.plotting.certificate import plot_certificate
from ulpm.plotting.collapse import plot_collapse
from ulpm.plotting.curves import plot_invariants, plot_loss, plot_margin
from ulpm.plotting.house import house_style
from ulpm.plotting.metrics import plot_metrics
from ulpm.trajectory import Trajectory

# Without these entries a file would hold the date, and so differ from run to run.
_UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}


def save_figures(
    path: Trajectory,
    directory: str | os.PathLike[str],
    formats: Sequence[str] = ("png",),
    others: Sequence[Trajectory] = (),
    labels: Sequence[str] | None = None,
) -> list[Path]:
    """Write metrics, loss, margin, invariants, certificate and collapse into ``directory``.

    The last two are left out where a run has no certificates, or ``path`` no snapshots. Each file is replaced only by a
    complete new one, and the same run gives the same files.

    Args:
        path: The run.
        directory: Where the files go.
        formats: Endings that matplotlib can write, such as "png", "pdf" and "svg".
        others: Runs whose curves are laid over those of ``path``.
        labels: A name for each run, in the legend.

    Returns:
        The files written.

    Raises:
        ValueError: For an unknown format.
        OSError: If a file cannot be written.
    """
    known = FigureCanvasBase.get_supported_filetypes()
    unknown = [ending for ending in formats if ending not in known]
    if unknown or isinstance(formats, str):
        raise ValueError(f"formats must be a list of {', '.join(sorted(known))}, but {formats!r} was given.")
    plots = [("metrics", plot_metrics), ("loss", plot_loss), ("margin", plot_margin), ("invariants", plot_invariants)]
    if all(run.certificate is not None for run in (path, *others)):
        plots.append(("certificate", plot_certificate))
    figures = {name: plot(path, *others, labels=labels) for name, plot in plots}
    if path.snapshots is not None:
        figures["collapse"] = plot_collapse(path)
    written = []
    for name, figure in figures.items():
        for ending in formats:
            file = Path(directory) / f"{name}.{ending}"
            save_figure(figure, file, ending)
            written.append(file)
    return written


def save_figure(figure: Figure, file: Path, ending: str) -> None:
    """Write a figure, the same bytes each time.

    Args:
        figure: What to write.
        file: Where.
        ending: The format, such as "png".

    Raises:
        OSError: If the file cannot be written.
    """
    with house_style():
        metadata = _UNDATED.get(ending)
        _files.replace_file(file, lambda temporary: figure.savefig(temporary, format=ending, metadata=metadata))
