"""Train a network by the recipe of Ji et al. (2022), and write its metrics, snapshots and state."""

import contextlib
import dataclasses
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console

from real_experiments import earlier_run
from real_experiments.data import Dataset
from real_experiments.distributed import torchrun_workers
from real_experiments.recipe import Recipe
from real_experiments.run_lock import sole_writer
from real_experiments.schedule import measured_epochs, snapshot_epochs
from real_experiments.trainer import Trainer, repeatable_convolutions
from real_experiments.training_checkpoint import Checkpoint, identify, write_checkpoint
from real_experiments.training_directory import Row, TrainingDirectory
from real_experiments.training_progress import training_bar
from ulpm.support import Shard, checks, deferred_interrupt, files, versions

__all__ = ["Train"]

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(Recipe):
    """Train a network, by default with the recipe of Ji et al. (2022), and measure its neural collapse.

    To continue an interrupted run, run the same command with --resume. On the same machine the result is the same bit
    for bit. A larger --epochs prolongs a run. Under torchrun each batch is split over the processes.
    """

    out: Path
    """Directory for metrics.csv, config.json, snapshots/ and checkpoint.safetensors."""
    resume: bool = False
    """Continue the run in --out, or start it if there is none. It must have been started with the same arguments."""
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
        with (
            torchrun_workers(self.device) as shard,
            repeatable_convolutions(self.tf32),
            contextlib.ExitStack() as kept,
        ):
            run = TrainingRun.prepare(self, shard, kept)
            began = time.monotonic()
            finished = run.finish(self.progress and shard.leads, self.checkpoint_seconds)
            if shard.leads:
                self._report(run, time.monotonic() - began, finished)
        return 0 if finished else 130

    def _report(self, run: "TrainingRun", seconds: float, finished: bool) -> None:
        console = Console(soft_wrap=True, highlight=False)
        if not finished:
            instead = " instead of --overwrite" if self.overwrite else ""
            console.print(f"Interrupted; the same command with --resume{instead} continues.", markup=False)
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
    def prepare(cls, command: Train, shard: Shard, kept: contextlib.ExitStack) -> "TrainingRun":
        """Read data and, to resume, the checkpoint; then begin to write.

        While ``kept`` is open the folder is locked, and an earlier run comes back if this one fails.

        Raises: OSError or ValueError with one sentence if something does not fit; nothing has then been changed.
        """
        recipe, directory = Recipe.of(command), TrainingDirectory(command.out)
        shard.agree(vars(command))

        def by_leader(work: Callable[[], Result]) -> Result | None:
            return shard.together(lambda: work() if shard.leads else None)

        by_leader(lambda: _may_write(command, recipe, directory))
        loaded = by_leader(lambda: _data(recipe, shard.device))  # one process downloads, the others find the data there
        dataset, unseen = shard.together(lambda: loaded or _data(recipe, shard.device))
        trainer = Trainer(recipe, dataset, shard, unseen)
        run = cls(recipe, trainer, directory, identify(dataset), [])

        def lock() -> None:
            kept.enter_context(sole_writer(command.out))
            earlier_run.settle(directory)
            _may_write(command, recipe, directory)  # another process may have written since

        by_leader(lock)
        if command.resume:
            run.rows = shard.together(run._restore)
        by_leader(lambda: run._begin(command.overwrite, kept))
        return run

    def finish(self, progress: bool, checkpoint_seconds: float) -> bool:
        """Train to the end, measuring on the way.

        Returns: False if a signal to stop came first (Ctrl-C for example); a checkpoint is then there.
        """
        trainer, epochs, shard = self.trainer, self.recipe.epochs, self.trainer.shard
        last_checkpoint = time.monotonic()
        with (
            training_bar(progress, epochs * trainer.steps_per_epoch, epochs) as bar,
            deferred_interrupt() as interrupted,
        ):
            while trainer.epoch < epochs:
                trainer.step()
                if trainer.at_end_of_epoch:
                    self._end_epoch()
                # All processes stop after the same step. On a GPU not each step asks, which would wait for it.
                asked = shard.device.type == "cpu" or trainer.at_end_of_epoch
                stopping = asked and shard.any(interrupted())[0]
                if stopping or time.monotonic() - last_checkpoint > checkpoint_seconds or trainer.epoch >= epochs:
                    self._checkpoint()
                    last_checkpoint = time.monotonic()
                if bar is not None:
                    bar.update(trainer, self.rows[-1]["nc1_pinv"] if self.rows else None)
                if stopping and trainer.epoch < epochs:
                    return False
        if shard.leads:
            earlier_run.discard(self.directory)
        return True

    def _restore(self) -> list[Row]:
        """Go back to the checkpoint, if there is one. Returns: its table."""
        trainer, directory = self.trainer, self.directory
        if not directory.checkpoint.exists():
            return []
        checkpoint = Checkpoint.read(directory.checkpoint)
        checkpoint.require(self.recipe, self.dataset)
        if checkpoint.steps > self.recipe.epochs * trainer.steps_per_epoch:
            done = checkpoint.steps / trainer.steps_per_epoch
            raise ValueError(
                f"{directory.path} has been trained for {done:.4g} epochs: give at least as many --epochs."
            )
        trainer.restore(directory.checkpoint, checkpoint.tensors, checkpoint.steps)
        return list(checkpoint.rows)

    def _begin(self, overwrite: bool, kept: contextlib.ExitStack) -> None:
        """From here on files are written."""
        directory, trainer = self.directory, self.trainer
        if overwrite:
            earlier_run.set_aside(directory)
        kept.enter_context(earlier_run.returns_on_failure(directory))
        if self.rows and not directory.agrees_with(self.rows):
            Console(soft_wrap=True, highlight=False).print(
                f"{directory.metrics} was damaged or incomplete: it is made again from the checkpoint.", markup=False
            )
        directory.rewind(trainer.epoch, self.rows)
        directory.write_config(
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
                "processes": trainer.shard.count,
                "versions": versions(),
            }
        )

    def _end_epoch(self) -> None:
        """Measure and write at the end of this epoch, if the schedule says so."""
        epoch, recipe = self.trainer.epoch, self.recipe
        snapshot_due = epoch in snapshot_epochs(recipe.epochs, recipe.snapshots_per_doubling)
        if not snapshot_due and epoch not in measured_epochs(recipe.epochs, recipe.measurements_per_doubling):
            return
        row, measurement = self.trainer.measure()
        first_without_error = row["train_error"] == 0 and all(earlier["train_error"] > 0 for earlier in self.rows)
        self.rows.append({"epoch": epoch, **row})
        if not self.trainer.shard.leads:
            return
        if snapshot_due or first_without_error:
            metadata = {"first_without_error": first_without_error, "class_counts": measurement.problem.class_counts}
            self.directory.write_snapshot(epoch, measurement.tensors(), metadata)
        self.directory.write_rows(self.rows)

    def _checkpoint(self) -> None:
        if self.trainer.shard.leads:
            state = self.trainer.state()
            write_checkpoint(self.directory.checkpoint, state, self.recipe, self.dataset, self.trainer.steps, self.rows)


def _data(recipe: Recipe, device: torch.device) -> tuple[Dataset, Dataset | None]:
    """The images to train on, and the unseen images to measure."""
    dataset = recipe.load_data(device)
    unseen = recipe.load_unseen(dataset, device)
    counts = [int(count) for count in dataset.class_counts]
    if 0 in counts:
        raise ValueError(
            f"class {counts.index(0)} has no images in the training set: neural collapse needs every class."
        )
    return dataset, unseen


def _may_write(command: Train, recipe: Recipe, directory: TrainingDirectory) -> None:
    """Raise ValueError or OSError if another run is in the way."""
    if command.overwrite or not (directory.holds_a_run() or earlier_run.is_set_aside(directory)):
        return
    if not command.resume:
        raise ValueError(
            f"{command.out} already holds a run: give another --out, --overwrite it, or continue it with --resume."
        )
    if directory.checkpoint.exists() and not Checkpoint.read(directory.checkpoint).recipe.differences(recipe):
        return  # config.json is written again
    if not directory.config.exists() and not directory.checkpoint.exists():
        return  # nothing to go on with: it starts
    differences = directory.read_recipe().differences(recipe)
    if differences:
        raise ValueError(f"{command.out} was started with {differences}: give the same arguments, or another --out.")


def _name(device: torch.device) -> str:
    """The devices and threads, for config.json."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {torch.get_num_threads()} threads"
