"""``ulpm measure`` and ``ulpm forecast``: files of features, of any network."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from ulpm.cli.output import say, show, write_json
from ulpm.features import Features, load_features, verdict
from ulpm.features.verdict import class_table, metric_table
from ulpm.forecasting import COMPARED, Forecast, forecast
from ulpm.plotting import plot_features, plot_forecast, save_figure
from ulpm.state import Factors

__all__ = ["ForecastFeatures", "Measure"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Arrays:
    """Which arrays are which: names in the file, or other files."""

    features: str | None = None
    """Name of the features [N, d], if not features, H, X or embeddings."""
    labels: str | None = None
    """Name of the labels [N], any integers or text, if not labels, y or targets; or another file that holds them."""
    classifier: str | None = None
    """Name of W [K, d], if not weight, W or classifier; or another file that holds it."""
    bias: str | None = None
    """Name of the bias [K], if not bias or b; or another file that holds it."""

    def load(self, file: Path, **more: str | None) -> Features:
        """The features of a file."""
        given = {"features": self.features, "labels": self.labels, "classifier": self.classifier, "bias": self.bias}
        return load_features(file, **given, **more)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure(_Arrays):
    """Measure the neural collapse of features in a file, and say in words which of NC1 to NC4 hold.

    A .npz, .npy, .safetensors or .parquet file of any size, with labels and perhaps the classifier beside the features.
    """

    file: Annotated[Path, tyro.conf.Positional]
    """The file of features."""
    predictions: str | None = None
    """Name of predicted labels [N] or logits [N, K], if not predictions or logits; or another file that holds them."""
    classes: str | None = None
    """Name of the classes [K] in the order of the classifier's rows, if not classes or class_names; or another file."""
    out: Path | None = None
    """Write a figure here: a .png, .svg or .pdf file."""
    json: Path | None = None
    """Write the numbers and the verdict here in JSON."""

    def run(self) -> int:
        ending = _figure_ending(self.out)
        report = self.load(self.file, predictions=self.predictions, classes=self.classes).measure()
        sentences = verdict(report)
        sizes = f"{report.num_samples} samples of {len(report.class_names)} classes in {report.feature_dim} dimensions"
        show(f"{self.file.name}: {sizes}.\n\n{metric_table(report)}\n{class_table(report)}")
        for sentence in sentences:
            say(sentence)
        write_json(self.json, {"file": str(self.file), **report.to_json(), "verdict": sentences})
        if self.out is not None:
            save_figure(plot_features(report, f"{self.file.name}: {sizes}"), self.out, ending)
            say(f"The figure is in {self.out}.")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForecastFeatures(_Arrays):
    """Forecast the metrics of a network at later epochs from two snapshots, by the flow of the unconstrained model.

    Each file has features, labels and the classifier at one epoch, of the same samples. The flow goes on from the
    second: as the model has it, and with features that move c times faster, as the norms of the network show.
    """

    first: Annotated[Path, tyro.conf.Positional]
    """The file of the earlier snapshot."""
    second: Annotated[Path, tyro.conf.Positional]
    """The file of the later snapshot."""
    epochs: tuple[float, float]
    """The epochs of the two snapshots."""
    at: tuple[float, ...]
    """The later epochs to forecast."""
    time_per_epoch: float | None = None
    """Flow time of an epoch: rate · steps / ((1 − momentum) · samples). By default it is taken from the two losses."""
    rtol: float = 1e-6
    """Relative tolerance of each step of the flow."""
    out: Path | None = None
    """Write a figure here: a .png, .svg or .pdf file."""
    json: Path | None = None
    """Write the forecasts here in JSON."""
    progress: bool = True
    """Show progress."""

    def run(self) -> int:
        ending = _figure_ending(self.out)
        second = self.load(self.second)
        found = forecast(
            self.load(self.first),
            second,
            self.epochs,
            self.at,
            time_per_epoch=self.time_per_epoch,
            rtol=self.rtol,
            progress=self.progress,
        )
        show(_table(found))
        for sentence in [*_sentences(found), *_warning(second, found.epochs[1])]:
            say(sentence)
        write_json(self.json, found.to_json())
        if self.out is not None:
            save_figure(plot_forecast(found), self.out, ending)
            say(f"The figure is in {self.out}.")
        return 0


def _table(found: Forecast) -> str:
    heads = [f"epoch {found.epochs[0]:g}", f"epoch {found.epochs[1]:g}"]
    heads += [f"epoch {epoch:g}, {name}" for epoch in found.at for name in found.flows]
    lines = [f"| metric | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for key in COMPARED:
        later = [flow.metrics[key][i] for i in range(len(found.at)) for flow in found.flows.values()]
        numbers = [found.first[key], found.second[key], *later]
        lines.append(f"| {key} | {' | '.join(f'{number:.4g}' for number in numbers)} |")
    return "\n".join(lines) + "\n"


def _sentences(found: Forecast) -> list[str]:
    mobile = found.flows["mobile"].mobility
    said = [f"In the column mobile, features move {mobile:.3g} times faster: ‖H‖²/‖W‖² at epoch {found.epochs[1]:g}."]
    if found.gained is not None and found.gained < 0:
        said.append(f"From epoch {found.epochs[0]:g} on, ‖W‖² grew but ‖H‖² fell: in either flow both change alike.")
    elif found.gained is not None:
        said.append(f"From epoch {found.epochs[0]:g} on, ‖H‖² gained {found.gained:.3g} times as much as ‖W‖².")
    errors = found.check()
    if errors:
        factors = ", ".join(f"{name} by a factor of {factor:.3g}" for name, factor in errors.items())
        said.append(
            f"Epoch {found.epochs[1]:g} as forecast from epoch {found.epochs[0]:g}, given the loss, is off: {factors} "
            "(geometric mean over the metrics)."
        )
    return said


def _warning(second: Features, epoch: float) -> list[str]:
    """Forecasts are compared with networks from zero training error on."""
    problem, state = second.state()
    wrong = float((Factors(state.W, state.H, state.b).logits.argmax(0) != problem.labels).double().mean())
    if not wrong:
        return []
    return [
        f"{100 * wrong:.2g}% of the samples are misclassified at epoch {epoch:g}, but forecasts were only tested from "
        "zero training error on: take later snapshots."
    ]


def _figure_ending(file: Path | None) -> str:
    """Raises: ValueError, before anything is computed, if no figure can be written under that name."""
    ending = "" if file is None else file.suffix.removeprefix(".").lower()
    if file is not None and ending not in ("png", "svg", "pdf"):
        raise ValueError(f"--out must end in .png, .svg or .pdf, but {file} was given.")
    return ending
