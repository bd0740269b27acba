"""``ulpm flow`` and ``ulpm resume``: simulate, save, and go on with what was interrupted."""

import contextlib
import dataclasses
import math
import time
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from ulpm import _checks
from ulpm.cli.output import can_draw, in_options, say, write_json
from ulpm.distributed import Shard, torchrun_shard
from ulpm.flow import FlowRun, resume_flow
from ulpm.flow.memory import PlannedStart, check_memory
from ulpm.flow.options import FlowOptions
from ulpm.flow.run import NOT_SEPARABLE, needs_dimensions
from ulpm.losses import loss_from_record
from ulpm.problem import Problem
from ulpm.runs import Found, RunDirectory
from ulpm.starts import SAMPLE, parse_class_counts, start_from_features
from ulpm.state import State
from ulpm.summary import summarise
from ulpm.trajectory import Trajectory

__all__ = ["Flow", "Resume"]


# From here on logits differ by tens or more at the start, and a run is stiff from its beginning.
_LARGE = 10.0


@dataclasses.dataclass(frozen=True)
class Flow:
    """Simulate the gradient flow, and save and plot it.

    Start from random features (--class-counts and --feature-dim) or from given ones (--features), and say where to end
    with exactly one of --log10-time, --log-time and --log-loss.
    """

    out: Path
    """Directory for trajectory.safetensors, records.csv, results.md and figures."""
    class_counts: str | None = None
    """Samples in each class: 50x10 for 50 in each of 10 classes, or explicit counts such as 7,5,5,4."""
    feature_dim: int | None = None
    """Feature dimension d."""
    features: str | None = None
    """A .npz, .safetensors or .parquet file with features [N, d], labels [N] and perhaps classifier [K, d]; or the word
    fashion-mnist-sample for 1,000 embedded images."""
    loss: Literal["cross-entropy", "focal", "squared-error"] = "cross-entropy"
    """Loss to minimise."""
    label_smoothing: float = 0.0
    """With cross-entropy: the share of each label that is spread evenly over all classes."""
    gamma: float = 2.0
    """Exponent of the focal loss."""
    weight_decay: tuple[float, float] = (0.0, 0.0)
    """Decay of the classifier and of the features: half of each times the squared norm is added to the loss."""
    bias: bool = False
    """Give the classifier a bias, which starts at 0 and does not decay."""
    reduction: Literal["sum", "mean"] = "sum"
    """Whether the loss is the sum over samples, as in the paper, or their mean, as in the literature with decay."""
    log10_time: float | None = None
    """End at this log10 of flow time; 1000 means t = 10^1000."""
    log_time: float | None = None
    """End at this natural log of flow time."""
    log_loss: float | None = None
    """End at this natural log of what is minimised: by default, the summed cross-entropy."""
    seed: int = 0
    """Seed of the random start, or of the random classifier beside given features."""
    scale: float | None = None
    """Typical length of a feature at the start: 1 for random features; given ones are left as they are unless set."""
    replicas: int | None = None
    """Number of independent random starts, run side by side."""
    rtol: float = 1e-6
    """Relative tolerance of each step."""
    records: int = 200
    """Number of records, the start and the end included."""
    snapshots: int = 9
    """Number of whole states kept for the picture of the collapse."""
    max_steps: int = 100_000
    """Stop after this many steps. If replicas run in several cohorts, each cohort may take as many."""
    dtype: Literal["float64", "float32"] = "float64"
    """Number format."""
    device: str = "cpu"
    """Where to compute: cpu, cuda or cuda:1."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints."""
    overwrite: bool = False
    """Replace a run that is already in --out, once this one is complete."""
    figures: bool = True
    """Draw figures."""
    progress: bool = True
    """Show progress."""
    json: Path | None = None
    """Write the result here in JSON."""

    def run(self) -> int:
        with torchrun_shard(self.device) as shard:
            return self._run(shard)

    def _run(self, shard: Shard) -> int:
        began, directory = time.monotonic(), RunDirectory(self.out)
        shard.agree(vars(self))
        run = self._prepared(shard)
        with contextlib.ExitStack() as held:
            # Only now, when every argument has been accepted, may anything be written.
            shard.together(lambda: held.enter_context(directory.begun(self.overwrite)) if shard.leads else None)
            return self._finish(run, directory, shard, began)

    def _prepared(self, shard: Shard) -> FlowRun:
        _checks.real("--checkpoint-seconds", self.checkpoint_seconds, above=0)
        # Memory that is free is not the same number everywhere.
        problem, state = shard.together(lambda: self._start(shard))
        options = FlowOptions(
            log_time=self.log_time,
            log10_time=self.log10_time,
            log_loss=self.log_loss,
            rtol=self.rtol,
            records=self.records,
            snapshots=self.snapshots,
            max_steps=self.max_steps,
        )
        return FlowRun.prepare(problem, state, options, {"arguments": self._arguments()}, shard)

    def _finish(self, run: FlowRun, directory: RunDirectory, shard: Shard, began: float) -> int:
        if needs_dimensions(run.loop.system.problem):
            say(in_options(NOT_SEPARABLE))
        length = float(run.loop.system.layout.unpack(run.state.final).H.square().sum(-2).mean().sqrt())
        if self.features is not None and self.scale is None and length > _LARGE:
            say(
                f"The features have a root mean square length of {length:.3g}. From there the flow needs many more "
                "steps than from length 1, to which --scale 1 would bring them."
            )
        # First of all the start itself, in place of a checkpoint of other arguments: by it the run can be resumed.
        run.save(directory.checkpoint)
        shard.together(lambda: directory.describe(self._arguments()) if shard.leads else None)
        path = run.finish(self.progress, directory.checkpoint, self.checkpoint_seconds)
        if not shard.leads:
            return 0 if path.finished else 1
        files = directory.finish(path, self.figures and can_draw())
        return _report(directory, path, files, time.monotonic() - began, self.json)

    def _arguments(self) -> dict[str, Any]:
        """What decides the numbers, as config.json keeps it."""
        outside = {"out", "overwrite", "progress", "json", "checkpoint_seconds"}
        arguments = {name: value for name, value in vars(self).items() if name not in outside}
        if self.features not in (None, SAMPLE):
            # The run may be resumed from another folder.
            arguments["features"] = str(Path(str(self.features)).resolve())
        return arguments

    def _start(self, shard: Shard) -> tuple[Problem, State]:
        device = shard.device
        dtype = torch.float64 if self.dtype == "float64" else torch.float32
        if self.scale is not None:
            _checks.real("--scale", self.scale, above=0)
        if self.features is not None:
            if self.class_counts is not None or self.feature_dim is not None or self.replicas is not None:
                raise ValueError(
                    "--features brings its own sizes: leave out --class-counts, --feature-dim, --replicas."
                )
            problem, state = start_from_features(self.features, self.scale, self.seed, dtype, device)
            b = state.W.new_zeros(problem.num_classes) if self.bias else None
            return dataclasses.replace(problem, **self._model()), State(state.W, state.H, b)
        if self.class_counts is None or self.feature_dim is None:
            raise ValueError("a start is needed: give --class-counts and --feature-dim, or --features.")
        problem = Problem(parse_class_counts(self.class_counts), self.feature_dim, **self._model())
        scale = 1.0 if self.scale is None else self.scale
        # Before the start itself, which may already be too much, takes what is there.
        check_memory(problem, PlannedStart(self.replicas, dtype, device), self.records, self.snapshots, shard)
        return problem, problem.random_state(self.seed, scale, self.replicas, dtype, device)

    def _model(self) -> dict[str, Any]:
        """What makes a problem, besides its sizes."""
        if self.label_smoothing and self.loss != "cross-entropy":
            raise ValueError("--label-smoothing belongs to --loss cross-entropy: leave one of both out.")
        numbers = {"cross-entropy": {"label_smoothing": self.label_smoothing}, "focal": {"gamma": self.gamma}}
        loss = loss_from_record({"name": self.loss, **numbers.get(self.loss, {})})
        decay = tuple(self.weight_decay)
        return {"loss": loss, "weight_decay": decay, "bias": self.bias, "reduction": self.reduction}


@dataclasses.dataclass(frozen=True)
class Resume:
    """Continue an interrupted run; on the same machine the result is the same bit for bit."""

    run_directory: Annotated[Path, tyro.conf.Positional]
    """The --out of the interrupted `ulpm flow`."""
    device: str | None = None
    """Where to compute, if not where the run was."""
    max_steps: int | None = None
    """New limit of steps, for a run that stopped at the old one."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints."""
    progress: bool = True
    """Show progress."""
    json: Path | None = None
    """Write the result here in JSON."""

    def run(self) -> int:
        found = RunDirectory(self.run_directory).found()
        with torchrun_shard(self.device or str(found.arguments.get("device", "cpu"))) as shard:
            return self._run(shard)

    def _run(self, shard: Shard) -> int:
        began, directory = time.monotonic(), RunDirectory(self.run_directory)
        shard.agree(vars(self))
        _checks.real("--checkpoint-seconds", self.checkpoint_seconds, above=0)
        with contextlib.ExitStack() as held:
            shard.together(lambda: held.enter_context(directory.locked()) if shard.leads else None)
            # Not before: another process may have ended the run in the meantime.
            found = shard.together(directory.found)
            if found.complaint:
                say(found.complaint)
            figures = bool(found.arguments.get("figures", True))
            more = self.max_steps is not None and found.result is not None and not found.result.finished
            if found.result is not None and not (more and found.has_checkpoint):
                say(f"{self.run_directory} has ended: nothing to resume.")
                if not shard.leads:
                    return 0 if found.result.finished else 1
                files = directory.present(found.result, figures and can_draw())
                return _report(directory, found.result, files, time.monotonic() - began, self.json)
            if not found.has_checkpoint:
                say("There is no checkpoint yet: starting again from config.json.")
                again = self._again(directory, found)
                return again._finish(again._prepared(shard), directory, shard, began)
            path = resume_flow(
                directory.checkpoint,
                progress=self.progress,
                checkpoint_seconds=self.checkpoint_seconds,
                device=self.device,
                max_steps=self.max_steps,
                shard=shard,
            )
            if not shard.leads:
                return 0 if path.finished else 1
            files = directory.finish(path, figures and can_draw())
            return _report(directory, path, files, time.monotonic() - began, self.json)

    def _again(self, directory: RunDirectory, found: Found) -> Flow:
        """The command that was given, with the options that were given to this one."""
        own: dict[str, Any] = {
            "progress": self.progress,
            "checkpoint_seconds": self.checkpoint_seconds,
            "json": self.json,
        }
        own |= {"device": self.device} if self.device else {}
        own |= {"max_steps": self.max_steps} if self.max_steps else {}
        if not _of_flow(found.arguments):
            raise OSError(f"{directory.config} is damaged: it is not the configuration of a run.")
        return Flow(out=self.run_directory, **(dict(found.arguments) | own))


def _of_flow(arguments: Mapping[str, Any]) -> bool:
    """Whether these are options of ``ulpm flow``, with values of their types."""
    hints = typing.get_type_hints(Flow) | {"dtype": str, "loss": str, "reduction": str, "weight_decay": list}
    decay = arguments.get("weight_decay", [])
    return all(isinstance(part, int | float) for part in (decay if isinstance(decay, list) else ["none"])) and all(
        name in hints
        and (isinstance(value, hints[name]) or (isinstance(value, int) and isinstance(0.0, hints[name])))
        and (not isinstance(value, bool) or hints[name] is bool)
        for name, value in arguments.items()
    )


def _report(
    directory: RunDirectory, path: Trajectory, files: list[Path], seconds: float, json_file: Path | None
) -> int:
    """Print what came out. Exit status 1 if the requested end was not reached."""
    result = summarise(path)
    result["status"] = [in_options(status) for status in result["status"]]
    write_json(json_file, result | {"seconds": seconds, "files": [str(file) for file in files]})
    for status in dict.fromkeys(result["status"]):
        say(status)
    end = float(path.log_time[-1].max()) / math.log(10)
    say(f"log10 t = {end:.6g} after {path.stats['steps']} steps, in {seconds:.1f} s with the figures.")
    say(f"Results are in {directory.path}: " + ", ".join(file.name for file in files))
    return 0 if path.finished else 1
