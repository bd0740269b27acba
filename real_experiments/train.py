"""Train a network as Ji et al. (2022) did, and leave behind its metrics, snapshots and whole state."""

import contextlib
import dataclasses
import json
import platform
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from real_experiments.distributed import Workers, torchrun_workers
from real_experiments.recipe import Recipe
from real_experiments.schedule import measured_epochs, snapshot_epochs
from real_experiments.trainer import Trainer, repeatable_convolutions
from real_experiments.training_checkpoint import identify, read_checkpoint, write_checkpoint
from real_experiments.training_directory import Row, TrainingDirectory
from real_experiments.training_progress import training_bar
from ulpm.support import checks, deferred_interrupt, files, versions

__all__ = ["Train"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(Recipe):
    """Train ResNet18 or VGG-13, by default with the recipe of Ji et al. (2022), and measure its neural collapse.

    To go on with a run that was interrupted, give the same command again with --resume; on the same machine the result
    is the same bit for bit. A larger --epochs prolongs a run. Under torchrun each batch is split over the processes.
    """

    out: Path
    """Directory for metrics.csv, config.json, snapshots/ and checkpoint.safetensors."""
    resume: bool = False
    """Go on with the run in --out, or start it if there is none. It must have been started with the same arguments."""
    overwrite: bool = False
    """Replace a run that is already in --out."""
    device: str = "cpu"
    """Where to compute: cpu, cuda or cuda:1."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints; there is one at the end in any case."""
    progress: bool = True
    """Show progress."""
    json: Path | None = None
    """Write the last row of metrics.csv here in JSON."""

    def run(self) -> int:
        checks.real("--checkpoint-seconds", self.checkpoint_seconds, above=0)
        if self.resume and self.overwrite:
            raise ValueError("--resume and --overwrite exclude each other.")
        with torchrun_workers(self.device) as (workers, device), repeatable_convolutions(self.tf32):
            run = TrainingRun.prepare(self, device, workers)
            began = time.monotonic()
            finished = run.finish(self.progress and workers.leads, self.checkpoint_seconds)
            if workers.leads:
                self._report(run, time.monotonic() - began, finished)
        return 0 if finished else 130

    def _report(self, run: "TrainingRun", seconds: float, finished: bool) -> None:
        console = Console(soft_wrap=True, highlight=False)
        if not finished:
            console.print("Interrupted; the same command with --resume goes on.", markup=False)
            return
        last = run.rows[-1]
        console.print(
            f"Epoch {last['epoch']}: training loss {last['train_loss']:.4g}, error {last['train_error']:.3%}, "
            f"nc1 {last['nc1_pinv']:.4g} after {seconds:.1f} s.",
            markup=False,
        )
        console.print(f"Results are in {self.out}: metrics.csv, config.json, snapshots", markup=False)
        if self.json is not None:
            numbers = {name: value if abs(value) < float("inf") else None for name, value in last.items()}
            files.write_text(self.json, json.dumps({**numbers, "seconds": seconds}, indent=2) + "\n")


@dataclasses.dataclass
class TrainingRun:
    """A trainer with the files that it leaves behind; made by ``prepare``."""

    recipe: Recipe
    trainer: Trainer
    directory: TrainingDirectory
    dataset: dict[str, Any]
    rows: list[Row]

    @classmethod
    def prepare(cls, command: Train, device: torch.device, workers: Workers) -> "TrainingRun":
        """Read data and, to resume, the checkpoint; then begin to write.

        Raises: OSError or ValueError with one sentence if something does not fit; nothing has then been changed.
        """
        recipe, directory = Recipe.of(command), TrainingDirectory(command.out)
        if workers.leads:
            _may_write(command, recipe, directory)
            dataset = recipe.load_data(device)
            unseen = recipe.load_unseen(dataset, device)
        workers.wait()  # one process downloads, the others find the data there
        if not workers.leads:
            dataset = recipe.load_data(device)
            unseen = recipe.load_unseen(dataset, device)
        if 0 in [int(count) for count in dataset.class_counts]:
            absent = [int(count) for count in dataset.class_counts].index(0)
            raise ValueError(f"class {absent} has no images in the training set: neural collapse needs every class.")
        trainer = Trainer(recipe, dataset, device, workers, unseen)
        run = cls(recipe, trainer, directory, identify(dataset), [])
        if command.resume and directory.checkpoint.exists():
            tensors, steps = read_checkpoint(directory.checkpoint, recipe, run.dataset)
            if steps > recipe.epochs * trainer.steps_per_epoch:
                done = steps / trainer.steps_per_epoch
                raise ValueError(
                    f"{command.out} has been trained for {done:.4g} epochs: give at least as many --epochs."
                )
            trainer.restore(directory.checkpoint, tensors, steps)
            directory.read_rows()
        workers.wait()  # nobody writes before everybody has read
        if workers.leads:
            run._begin(command.overwrite)
        return run

    def finish(self, progress: bool, checkpoint_seconds: float) -> bool:
        """Train to the end, measuring on the way. Returns: False if Ctrl-C came first; a checkpoint is then there."""
        trainer, epochs = self.trainer, self.recipe.epochs
        last_checkpoint = time.monotonic()
        # Several processes cannot agree on a step to stop after: Ctrl-C ends them at once; the last checkpoint stays.
        alone = trainer.workers.count == 1
        ending = deferred_interrupt() if alone else contextlib.nullcontext(lambda: False)
        with (
            training_bar(progress, epochs * trainer.steps_per_epoch, epochs) as bar,
            ending as interrupted,
        ):
            while trainer.epoch < epochs:
                trainer.step()
                if trainer.at_end_of_epoch:
                    self._end_epoch()
                stopping = interrupted()
                if stopping or time.monotonic() - last_checkpoint > checkpoint_seconds or trainer.epoch >= epochs:
                    self._checkpoint()
                    last_checkpoint = time.monotonic()
                if bar is not None:
                    bar.update(trainer, self.rows[-1]["nc1_pinv"] if self.rows else None)
                if stopping and trainer.epoch < epochs:
                    return False
        return True

    def _begin(self, overwrite: bool) -> None:
        """From here on files are written."""
        if overwrite:
            self.directory.clear()
        trainer = self.trainer
        self.rows = self.directory.rewind(trainer.epoch)
        self.directory.write_config(
            {
                "arguments": self.recipe.to_json(),
                "dataset": {**self.dataset, "source": trainer.dataset.source},
                "test_source": None if trainer.unseen is None else trainer.unseen.source,
                "num_samples": len(trainer.dataset.images),
                "feature_dim": int(trainer.initial_classifier_sum.numel()),
                "num_parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
                "steps_per_epoch": trainer.steps_per_epoch,
                "flow_time_per_step": trainer.flow_time_per_step if self.recipe.optimizer == "sgd" else None,
                "device": _name(trainer.device),
                "processes": trainer.workers.count,
                "versions": versions(),
            }
        )

    def _end_epoch(self) -> None:
        """Measure and write what is due at the end of this epoch."""
        epoch, recipe = self.trainer.epoch, self.recipe
        snapshot_due = epoch in snapshot_epochs(recipe.epochs, recipe.snapshots_per_doubling)
        if not snapshot_due and epoch not in measured_epochs(recipe.epochs, recipe.measurements_per_doubling):
            return
        row, measurement = self.trainer.measure()
        first_without_error = row["train_error"] == 0 and all(earlier["train_error"] > 0 for earlier in self.rows)
        self.rows.append({"epoch": epoch, **row})
        if not self.trainer.workers.leads:
            return
        if snapshot_due or first_without_error:
            metadata = {"first_without_error": first_without_error, "class_counts": measurement.problem.class_counts}
            self.directory.write_snapshot(epoch, measurement.tensors(), metadata)
        self.directory.write_rows(self.rows)

    def _checkpoint(self) -> None:
        if self.trainer.workers.leads:
            state = self.trainer.state()
            write_checkpoint(self.directory.checkpoint, state, self.recipe, self.dataset, self.trainer.steps)


def _may_write(command: Train, recipe: Recipe, directory: TrainingDirectory) -> None:
    """Raise ValueError or OSError if another run is in the way."""
    if command.overwrite or not directory.holds_a_run():
        return
    if not command.resume:
        raise ValueError(
            f"{command.out} already holds a run: give another --out, --overwrite it, or go on with it with --resume."
        )
    try:
        started = Recipe.from_json(directory.read_config()["arguments"])
    except (TypeError, ValueError) as error:
        raise OSError(f"{directory.config} is damaged: it is not the configuration of a training run.") from error
    differences = started.differences(recipe)
    if differences:
        raise ValueError(f"{command.out} was started with {differences}: give the same arguments, or another --out.")


def _name(device: torch.device) -> str:
    """What computes, for config.json."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads"
