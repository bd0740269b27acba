"""The paper's networks, trained, measured and compared with the model by one command."""

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from real_experiments.compare import Compare, write_comparison, write_numbers
from real_experiments.comparison.network_run import NetworkRun
from real_experiments.datasets import find_dataset
from real_experiments.overview.page import results_page
from real_experiments.pair_result import NUMBERS, PairResult, pair_name, read_results
from real_experiments.paper_figure import plot_paper_figure
from real_experiments.recipe import Recipe
from real_experiments.refresh import refresh
from real_experiments.table import checksum, rows_to_csv
from real_experiments.train import Train
from real_experiments.trainer import Diverged
from real_experiments.training_directory import TrainingDirectory
from ulpm.plotting import save_figure
from ulpm.support import checks, files

__all__ = ["Reproduce"]

# Those of the paper: other networks and data sets are trained one by one with `train`.
_MODELS = ("resnet18", "vgg13")
_DATASETS = ("mnist", "kmnist", "fashion-mnist", "cifar10")
PAIRS: dict[str, list[tuple[str, str]]] = {
    "figure1": [("resnet18", "mnist"), ("resnet18", "cifar10")],
    "all": [(model, dataset) for model in _MODELS for dataset in _DATASETS],
    "mnist-cifar10": [(model, dataset) for model in _MODELS for dataset in ("mnist", "cifar10")],
    "sample": [(model, "fashion-mnist-sample") for model in _MODELS],
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Train the paper's networks by its recipe, compare each with the model, and draw the paper's figures.

    figure1 is ResNet18 on MNIST and CIFAR-10. all is the eight pairs of the paper. mnist-cifar10 is both networks on
    these two data sets. sample is both networks on the embedded images. Results of several commands with the same --out
    go onto one page. A network that has results is not trained again. If you interrupt the command, run it again: it
    continues where it was. A pair without data is listed as "not run: no data", a network that diverges is listed as
    diverged, and the command continues with the others. It computes slopes again from the tables in --out. If the
    training split of KMNIST is not available, it uses the test split.
    """

    what: Annotated[Literal["figure1", "all", "mnist-cifar10", "sample"], tyro.conf.Positional]
    """What to reproduce."""
    out: Path
    """Directory for results.md, figures and a folder for each network."""
    runs: Path = Path("runs/reproduce")
    """Directory for the training runs, one for each network."""
    width: int = 64
    """Channels of the first stage; 64 is the published network."""
    subset: int | None = None
    """Train on that many images of each data set."""
    test_images: int = 0
    """Measure also on that many images that are not trained on (columns test_...)."""
    epochs: int = 200
    """Passes over the training set."""
    epochs_after: int = 0
    """Train past --epochs, if needed, until this many epochs follow the first one with zero training error."""
    seed: int = 0
    """First seed, of the networks and of the random start of the model."""
    seeds: int = 1
    """Number of seeds: each pair is trained once with each."""
    bf16: bool = False
    """Train in bfloat16 autocast, except for the last layer and the loss."""
    reestimate: bool = True
    """Measure a second time with the batch-norm statistics of the training set."""
    measurements_per_doubling: int = 8
    """After the first 20 epochs: measurements while the epoch doubles."""
    control_weight_decay: float = 0.0
    """Train each network a second time with this weight decay, to show its effect. The paper uses none."""
    data: Path | None = None
    """Folder with a folder for each data set; by default those that `train --help` names."""
    download: bool = True
    """Download data sets that are not on this machine into the cache."""
    device: str = "cpu"
    """Where to compute: cpu, cuda or cuda:1."""
    progress: bool = True
    """Show progress."""
    json: Path | None = None
    """Write the outcome of each pair here in JSON."""

    def run(self) -> int:
        checks.real("--control-weight-decay", self.control_weight_decay, minimum=0)
        checks.integer("--seeds", self.seeds, 1)
        checks.integer("--epochs-after", self.epochs_after, 0)
        outcome: dict[str, str] = {}
        for seed in range(self.seed, self.seed + self.seeds):
            for model, dataset in PAIRS[self.what]:
                name = pair_name(model, dataset, self.width, seed)
                outcome[name] = self._network(name, model, dataset, seed)
        refresh(self.out)
        found = read_results(self.out)
        results = [each for each in found if each.diverged is None]
        if results:
            self._draw(results)
        files.write_text(
            self.out / "results.md", results_page(results, _commands(found), self._missing(found, outcome))
        )
        if self.json is not None:
            files.write_text(self.json, json.dumps(outcome, indent=2) + "\n")
        _say(f"Results are in {self.out}: results.md" + " and figures" * bool(results))
        return 0 if any(not text.startswith("not run") for text in outcome.values()) else 1

    def _network(self, name: str, model: str, dataset: str, seed: int) -> str:
        """Train and compare one network, unless it has results. Returns: its outcome."""
        done = self._done(self.out / name, model, dataset, seed)
        if done is not None:
            _say(f"{name}: it has results already")
            return f"diverged: {done.diverged}" if done.diverged else done.why_not_compared or "compared"
        recipe = self._with_data(self._recipe(model, dataset, seed))
        if isinstance(recipe, str):
            _say(f"{name}: not run: {recipe}.")
            return "not run: no data"
        _say(f"{name}: training")
        try:
            run = self._trained(self.runs / name, recipe)
            control = None
            if self.control_weight_decay > 0:
                decayed = dataclasses.replace(recipe, weight_decay=self.control_weight_decay, epochs=run.recipe.epochs)
                control = self._trained(self.runs / f"{name}-decay", decayed).directory.path
        except Diverged as error:
            return self._leave_diverged(name, recipe, str(error))
        return self._compare(name, run, control)

    def _leave_diverged(self, name: str, recipe: Recipe, reason: str) -> str:
        """Write into the results why there are none. Returns: the outcome of the network."""
        out, rows = self.out / name, TrainingDirectory(self.runs / name).read_rows()
        _say(f"{name}: {reason}")
        files.write_text(out / "metrics.csv", rows_to_csv(rows))
        numbers = {
            "command": self._command(),
            "metrics_checksum": checksum(rows),
            "recipe": _portable(recipe),
            "control_weight_decay": self.control_weight_decay,
            "diverged": reason,
        }
        files.write_text(out / NUMBERS, json.dumps(numbers, indent=2) + "\n")
        return f"diverged: {reason}"

    def _compare(self, name: str, run: NetworkRun, control: Path | None) -> str:
        """Write the results of a trained network. Returns: its outcome."""
        out = self.out / name
        compare = Compare(
            run_directory=run.directory.path,
            out=out,
            control=control,
            flows=self.runs / f"{name}-flows",  # next to the training run, since they are large and not results
            seed=run.recipe.seed,
            device=self.device,
            progress=self.progress,
        )
        try:
            comparison = compare.compare()
        except ValueError as error:
            files.write_text(out / "metrics.csv", rows_to_csv(run.rows))
            numbers = {
                "command": self._command(),
                "metrics_checksum": checksum(run.rows),
                "recipe": _portable(run.recipe),
                "not_compared": str(error),
            }
            files.write_text(out / NUMBERS, json.dumps(numbers, indent=2) + "\n")
            return str(error)
        files.write_text(out / "metrics.csv", rows_to_csv(run.rows))
        # One seed shows the curves. For the others the numbers are enough.
        if run.recipe.seed == self.seed:
            write_comparison(comparison, out, self._command(), clocks=("train_loss",))
        else:
            write_numbers(comparison, out, self._command())
        return "compared"

    def _recipe(self, model: str, dataset: str, seed: int) -> Recipe:
        return Recipe(
            model=model,
            dataset=dataset,
            data=self.data / dataset if self.data is not None and find_dataset(dataset).has_files else None,
            download=self.download,
            width=self.width,
            subset=self.subset,
            test_images=self.test_images,
            epochs=self.epochs,
            seed=seed,
            bf16=self.bf16,
            reestimate=self.reestimate,
            measurements_per_doubling=self.measurements_per_doubling,
        )

    def _with_data(self, recipe: Recipe) -> Recipe | str:
        """The recipe with a split whose images can be had, or why there is none."""
        reason = _lacks(recipe)
        if reason and recipe.dataset == "kmnist":
            other = dataclasses.replace(recipe, split="test")
            return reason if _lacks(other) else other
        return reason or recipe

    def _done(self, folder: Path, model: str, dataset: str, seed: int) -> PairResult | None:
        """The results in a folder, if they are those of this command."""
        if not (folder / NUMBERS).exists():
            return None
        found, asked = PairResult.read(folder), self._recipe(model, dataset, seed)
        asked = dataclasses.replace(asked, split=found.recipe.split)
        differences = found.recipe.differences(asked)
        if differences:
            raise ValueError(f"{folder} holds results with {differences}: give the same arguments, or another --out.")
        if found.diverged is not None:
            return found
        last = found.rows[-1]["epoch"]
        whole = found.recipe.epochs == last  # or the table was prolonged, and the comparison interrupted
        long_enough = found.first_without_error is None or found.epochs_after >= self.epochs_after
        if found.why_not_compared is None and found.numbers["control_weight_decay"] != self.control_weight_decay:
            return None
        return found if whole and last >= self.epochs and long_enough else None

    def _trained(self, out: Path, recipe: Recipe) -> NetworkRun:
        """Train the network, or continue, or read it if it is done. Raises: OSError or ValueError if that fails."""
        if (out / "checkpoint.safetensors").exists() and (out / "metrics.csv").exists():
            trained = NetworkRun.read(out).recipe.epochs
            recipe = dataclasses.replace(recipe, epochs=max(recipe.epochs, trained))
        for _ in range(2):
            values = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(Recipe)}
            if Train(**values, out=out, resume=True, device=self.device, progress=self.progress).run() != 0:
                raise KeyboardInterrupt
            run = NetworkRun.read(out)
            first = run.epoch_without_error()
            if first is None or first + self.epochs_after <= recipe.epochs:
                break
            recipe = dataclasses.replace(recipe, epochs=first + self.epochs_after)
        return run

    def _draw(self, results: list[PairResult]) -> None:
        """A figure for each network and width, and the paper's Figure 1 where its pairs are there."""
        for model, width in sorted({(each.recipe.model, each.recipe.width) for each in results}):
            these = [each for each in results if (each.recipe.model, each.recipe.width) == (model, width)]
            save_figure(plot_paper_figure(these), self.out / f"networks-{model}-w{width}.png", "png")
            first = [each for each in these if (model, each.recipe.dataset) in PAIRS["figure1"]]
            if len({each.recipe.dataset for each in first}) == len(PAIRS["figure1"]):
                save_figure(plot_paper_figure(first), self.out / f"figure1-w{width}.png", "png")

    def _missing(self, found: Sequence[PairResult], outcome: dict[str, str]) -> list[str]:
        """Why networks are not on the page, a line each."""
        diverged = {each.name: each.diverged for each in found if each.diverged is not None}
        lacking = {name: text for name, text in outcome.items() if text.startswith("not run")}
        return [f"{name}: {why}" for name, why in (diverged | lacking).items()]

    def _command(self) -> str:
        words = ["python", "-m", "real_experiments", "reproduce", self.what]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("what", "json", "progress", "device", "download", "data") or value == field.default:
                continue
            flag = "--" + field.name.replace("_", "-")
            if isinstance(value, bool):
                words.append(flag if value else f"--no-{flag[2:]}")
            else:
                words += [flag, str(value)]
        return shlex.join(words)


def _lacks(recipe: Recipe) -> str:
    """Why the images of a recipe cannot be had; empty if they can. Raises: ValueError if they never could."""
    device = checks.device("cpu")
    try:
        recipe.load_unseen(recipe.load_data(device), device)
    except OSError as error:
        return str(error).removesuffix(".")
    return ""


def _portable(recipe: Recipe) -> dict[str, object]:
    """Without the path of the data, which means nothing elsewhere."""
    return recipe.to_json() | {"data": None}


def _commands(results: list[PairResult]) -> list[str]:
    return list(dict.fromkeys(str(each.numbers["command"]) for each in results))


def _say(text: str) -> None:
    Console(soft_wrap=True, highlight=False).print(text, markup=False)
