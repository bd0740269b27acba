"""The paper's networks, trained, measured and compared with the model by one command."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from real_experiments.compare import FIGURES, Compare, write_comparison
from real_experiments.comparison.network_run import NetworkRun
from real_experiments.data import load_dataset
from real_experiments.paper_figure import plot_paper_figure
from real_experiments.train import Train
from ulpm.plotting import save_figure
from ulpm.support import checks, files

__all__ = ["Reproduce"]

Model = Literal["resnet18", "vgg13"]
Name = Literal["mnist", "kmnist", "fashion-mnist", "cifar10", "fashion-mnist-sample"]
_MODELS: tuple[Model, ...] = ("resnet18", "vgg13")
_DATASETS: tuple[Name, ...] = ("mnist", "kmnist", "fashion-mnist", "cifar10")
PAIRS: dict[str, list[tuple[Model, Name]]] = {
    "figure1": [("resnet18", "mnist"), ("resnet18", "cifar10")],
    "all": [(model, dataset) for model in _MODELS for dataset in _DATASETS],
    "sample": [(model, "fashion-mnist-sample") for model in _MODELS],
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Train the paper's networks by its recipe, compare each with the model, and draw the paper's figure.

    figure1 is ResNet18 on MNIST and CIFAR-10, all the eight pairs of the paper, sample both networks on the embedded
    images. A pair whose data cannot be had is listed as "not run: no data". Training runs are kept in --runs: the same
    command again goes on where it was interrupted, and computes nothing twice.
    """

    what: Annotated[Literal["figure1", "all", "sample"], tyro.conf.Positional]
    """What to reproduce."""
    out: Path
    """Directory for results.md, figures and a folder a pair."""
    runs: Path = Path("runs/reproduce")
    """Directory for the training runs, one a pair."""
    width: int = 64
    """Channels of the first stage; 64 is the published network."""
    subset: int | None = None
    """Train on that many images of each data set."""
    epochs: int = 200
    """Passes over the training set."""
    seed: int = 0
    """Seed of the networks and of the random start of the model."""
    control_weight_decay: float = 0.0
    """Train each network a second time with this weight decay, which the paper has not, to show what it changes."""
    data: Path | None = None
    """Folder with a folder for each data set; by default they are searched for as `train --help` says."""
    download: bool = True
    """Download data sets that are not on this machine into the cache."""
    device: str = "cpu"
    """Where to compute: cpu, cuda or cuda:1."""
    progress: bool = True
    """Show progress."""
    json: Path | None = None
    """Write what became of each pair here in JSON."""

    def run(self) -> int:
        checks.real("--control-weight-decay", self.control_weight_decay, minimum=0)
        outcome: dict[str, str] = {}
        networks: dict[str, NetworkRun] = {}
        for model, dataset in PAIRS[self.what]:
            name = f"{model}-{dataset}"
            if reason := self._lacks(dataset):
                outcome[name] = "not run: no data"
                _say(f"{name}: not run: {reason}.")
                continue
            _say(f"{name}: training")
            networks[name], outcome[name] = self._pair(name, model, dataset)
        if networks:
            save_figure(plot_paper_figure(networks), self.out / "networks.png", "png")
        files.write_text(self.out / "results.md", self._page(outcome, networks))
        if self.json is not None:
            files.write_text(self.json, json.dumps(outcome, indent=2) + "\n")
        _say(f"Results are in {self.out}: results.md" + ", networks.png" * bool(networks))
        return 0 if networks else 1

    def _lacks(self, dataset: Name) -> str:
        """Why a data set cannot be had; empty if it can."""
        try:
            load_dataset(dataset, self._folder(dataset), "cpu", self.download)
        except OSError as error:
            return str(error).removesuffix(".")
        return ""

    def _folder(self, dataset: Name) -> Path | None:
        return None if self.data is None or dataset == "fashion-mnist-sample" else self.data / dataset

    def _pair(self, name: str, model: Model, dataset: Name) -> tuple[NetworkRun, str]:
        """Train a pair and compare it. Returns: the run, and what became of it in a sentence or more."""
        directory, control = self.runs / name, None
        self._train(directory, model, dataset, 0.0)
        if self.control_weight_decay > 0:
            control = self.runs / f"{name}-decay"
            self._train(control, model, dataset, self.control_weight_decay)
        network = NetworkRun.read(directory)
        compare = Compare(
            run_directory=directory,
            out=self.out / name,
            control=control,
            flows=self.runs / f"{name}-flows",  # beside the training run, since they are large and no result
            seed=self.seed,
            device=self.device,
            progress=self.progress,
        )
        try:
            words = write_comparison(compare.compare(), compare.out, compare.command())
        except ValueError as error:
            return network, f"trained, not compared: {error}"
        files.write_text(compare.out / "metrics.csv", files.read_text(directory / "metrics.csv"))
        return network, "\n\n".join(words)

    def _train(self, out: Path, model: Model, dataset: Name, weight_decay: float) -> None:
        """Train, or go on, or find it done. Raises: OSError or ValueError if something is in the way."""
        command = Train(
            out=out,
            resume=True,
            model=model,
            dataset=dataset,
            data=self._folder(dataset),
            download=self.download,
            width=self.width,
            subset=self.subset,
            epochs=self.epochs,
            seed=self.seed,
            weight_decay=weight_decay,
            device=self.device,
            progress=self.progress,
        )
        if command.run() != 0:
            raise KeyboardInterrupt

    def _command(self) -> str:
        words = ["python", "-m", "real_experiments", "reproduce", self.what]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name not in ("what", "json", "progress", "device", "download", "data") and value != field.default:
                words += ["--" + field.name.replace("_", "-"), str(value)]
        return shlex.join(words)

    def _page(self, outcome: dict[str, str], networks: dict[str, NetworkRun]) -> str:
        """The page results.md."""
        lines = [
            "# Real networks beside the model",
            f"Made by `{self._command()}`.",
            "Recipe of Ji, Lu, Zhang, Deng, Su (2022): learning rate 0.01, momentum 0.3, batches of 128, no weight "
            f"decay. Ours, since the paper does not state them: a constant rate, {self.epochs} epochs, standardised "
            f"images, no augmentation, width {self.width}" + (f", {self.subset} images." if self.subset else "."),
        ]
        if networks:
            lines.append("![How each network's metrics fall](networks.png)")
        lines.append("\n".join(f"- {name}: {_first_words(text)}" for name, text in outcome.items()))
        for name in networks:
            lines.append(f"## {name}\n\n{outcome[name]}")
            if (self.out / name / "comparison.md").exists():
                lines.append(f"![Metrics against the training loss]({name}/{FIGURES[0]})")
                lines.append(f"[All numbers, and the same against flow time]({name}/comparison.md)")
        return "\n\n".join(lines) + "\n"


def _first_words(text: str) -> str:
    """What became of a pair, for the list: "not run: no data", or that it is below."""
    return text if text.startswith("not run") else "below"


def _say(text: str) -> None:
    Console(soft_wrap=True, highlight=False).print(text, markup=False)
