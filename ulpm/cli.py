"""The command line: ``ulpm flow | resume | plot | table | certify | demo``."""

import dataclasses
import functools
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from rich.console import Console
from rich.markdown import Markdown

from ulpm import _checks, _files, demo
from ulpm.distributed import Shard, torchrun_shard
from ulpm.flow import FlowRun, resume_flow
from ulpm.plotting import plot_certificate, save_figures
from ulpm.plotting.files import save_figure
from ulpm.problem import Problem, State
from ulpm.runs import RunDirectory
from ulpm.starts import SAMPLE, parse_class_counts, start_from_features
from ulpm.summary import certificate_summary, certificate_table, markdown_table, summarise
from ulpm.trajectory import Trajectory

__all__ = ["main"]


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
    """A .npz or .safetensors file with features [N, d], labels [N] and perhaps classifier [K, d]; or the word
    fashion-mnist-sample for 1,000 embedded images."""
    log10_time: float | None = None
    """End at this log10 of flow time; 1000 means t = 10^1000."""
    log_time: float | None = None
    """End at this natural log of flow time."""
    log_loss: float | None = None
    """End at this natural log of the summed cross-entropy."""
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
    """Give up after this many steps; of replicas, after as many for each cohort that runs at once."""
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
        directory = RunDirectory(self.out)
        _checks.real("--checkpoint-seconds", self.checkpoint_seconds, above=0)
        problem, state = self._start(shard.device)
        began = time.monotonic()
        run = FlowRun.prepare(
            problem,
            state,
            log_time=self.log_time,
            log10_time=self.log10_time,
            log_loss=self.log_loss,
            rtol=self.rtol,
            records=self.records,
            snapshots=self.snapshots,
            max_steps=self.max_steps,
            config={"arguments": self._arguments()},
            shard=shard,
        )
        # Only now, when every argument has been accepted, may anything be written.
        if not shard.agree(functools.partial(directory.begin, self._arguments(), self.overwrite)):
            return 1
        path = run.finish(self.progress, directory.checkpoint, self.checkpoint_seconds)
        if not shard.leads:
            return 0 if path.finished else 1
        return _report(directory, path, time.monotonic() - began, self.figures, self.json)

    def _arguments(self) -> dict[str, Any]:
        """What decides the numbers, as config.json keeps it."""
        outside = {"out", "overwrite", "progress", "json", "checkpoint_seconds"}
        arguments = {name: value for name, value in vars(self).items() if name not in outside}
        if self.features not in (None, SAMPLE):
            # The run may be resumed from another folder.
            arguments["features"] = str(Path(str(self.features)).resolve())
        return arguments

    def _start(self, device: torch.device) -> tuple[Problem, State]:
        dtype = torch.float64 if self.dtype == "float64" else torch.float32
        if self.scale is not None:
            _checks.real("--scale", self.scale, above=0)
        if self.features is not None:
            if self.class_counts is not None or self.feature_dim is not None or self.replicas is not None:
                raise ValueError(
                    "--features brings its own sizes: leave out --class-counts, --feature-dim, --replicas."
                )
            return start_from_features(self.features, self.scale, self.seed, dtype, device)
        if self.class_counts is None or self.feature_dim is None:
            raise ValueError("a start is needed: give --class-counts and --feature-dim, or --features.")
        problem = Problem(parse_class_counts(self.class_counts), self.feature_dim)
        scale = 1.0 if self.scale is None else self.scale
        return problem, problem.random_state(self.seed, scale, self.replicas, dtype, device)


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on with a run that was interrupted; on the same machine the result is the same bit for bit."""

    run_directory: Annotated[Path, tyro.conf.Positional]
    """The --out of the interrupted `ulpm flow`."""
    device: str | None = None
    """Where to compute, if not where the run was."""
    max_steps: int | None = None
    """Another limit of steps, for a run that came to the end of the first."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints."""
    progress: bool = True
    """Show progress."""
    json: Path | None = None
    """Write the result here in JSON."""

    def run(self) -> int:
        arguments = RunDirectory(self.run_directory).arguments()
        with torchrun_shard(self.device or arguments.get("device", "cpu")) as shard:
            return self._run(arguments, shard)

    def _run(self, arguments: dict[str, Any], shard: Shard) -> int:
        directory = RunDirectory(self.run_directory)
        finished = directory.result()
        more = self.max_steps is not None and finished is not None and not finished.finished
        began = time.monotonic()
        if finished is not None and not (more and directory.has_checkpoint()):
            _say(f"{self.run_directory} has ended: nothing to resume.")
            path = finished
        elif directory.has_checkpoint():
            path = resume_flow(
                directory.checkpoint,
                progress=self.progress,
                checkpoint_seconds=self.checkpoint_seconds,
                device=self.device,
                max_steps=self.max_steps,
                shard=shard,
            )
        else:
            _say("There is no checkpoint yet: starting again from config.json.")
            own: dict[str, Any] = {
                "progress": self.progress,
                "checkpoint_seconds": self.checkpoint_seconds,
                "json": self.json,
            }
            own |= {"device": self.device} if self.device else {}
            own |= {"max_steps": self.max_steps} if self.max_steps else {}
            try:
                again = Flow(out=self.run_directory, overwrite=True, **(arguments | own))
            except TypeError as error:
                raise OSError(f"{directory.config} is damaged: it is not the configuration of a run.") from error
            return again._run(shard)
        if not shard.leads:
            return 0 if path.finished else 1
        return _report(directory, path, time.monotonic() - began, arguments["figures"], self.json)


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw the figures of saved runs; the metrics, loss, margin and invariants of several are laid over each other."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories or trajectory files."""
    out: Path | None = None
    """Directory for the figures; by default that of the first run."""
    formats: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """File formats."""
    json: Path | None = None
    """Write the list of figures here in JSON."""

    def run(self) -> int:
        paths = _load(self.runs)
        first, *others = paths.values()
        here = self.runs[0] if self.runs[0].is_dir() else self.runs[0].parent
        drawn = save_figures(
            first, self.out or here, self.formats, others=others, labels=list(paths) if others else None
        )
        for file in drawn:
            _say(str(file))
        _write_json(self.json, {"figures": [str(file) for file in drawn]})
        return 0


@dataclasses.dataclass(frozen=True)
class Table:
    """Print the results of saved runs side by side, beside the limits that theory gives."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories or trajectory files."""
    out: Path | None = None
    """Write the table here in Markdown."""
    json: Path | None = None
    """Write the numbers here in JSON."""

    def run(self) -> int:
        paths = _load(self.runs)
        table = markdown_table(paths)
        _show(table)
        if self.out is not None:
            _files.write_text(self.out, table)
        _write_json(self.json, {name: summarise(path) for name, path in paths.items()})
        return 0


@dataclasses.dataclass(frozen=True)
class Certify:
    """Show what the states of a saved run prove about the optimum: bounds that close as the run goes on.

    Writes certificate.md and certificate.png beside the run.
    """

    run_directory: Annotated[Path, tyro.conf.Positional]
    """A run directory or trajectory file."""
    device: str = "cpu"
    """Where to certify the snapshots of a file of an earlier version, which has no certificates."""
    json: Path | None = None
    """Write the bounds and residuals here in JSON."""

    def run(self) -> int:
        _checks.device(self.device)
        ((name, saved),) = _load([self.run_directory]).items()
        path = saved.certified(self.device)
        if path is not saved:
            _say(f"{name} was saved without certificates: these are of its {len(path.log_time)} snapshots.")
        table = certificate_table(path)
        _show(table)
        here = self.run_directory if self.run_directory.is_dir() else self.run_directory.parent
        _files.write_text(here / "certificate.md", table)
        save_figure(plot_certificate(path), here / "certificate.png", "png")
        _say(f"Results are in {here}: certificate.md, certificate.png")
        _write_json(self.json, certificate_summary(path))
        return 0


@dataclasses.dataclass(frozen=True)
class Demo:
    """Make a self-contained page that plays neural collapse, for a lecture: opened in any browser, it works offline.

    Without --class-counts it has a handful of scenarios; with them, and --feature-dim, the reader's own setting.
    """

    out: Path
    """The HTML file to write."""
    class_counts: str | None = None
    """Samples in each class of an own setting: 50x10 for 50 in each of 10 classes, or explicit ones such as 7,5,5,4."""
    feature_dim: int | None = None
    """Feature dimension d of an own setting."""
    log10_time: float = demo.LOG10_TIME
    """End an own setting at this log10 of flow time."""
    seed: int = 0
    """Seed of the random start of an own setting."""
    json: Path | None = None
    """Write the names of the scenarios and the size of the page here in JSON."""

    def run(self) -> int:
        made = []
        began = time.monotonic()
        for scenario in self._scenarios():
            _say(f"{scenario.title}: {time.monotonic() - began:.1f} s")
            made.append(scenario)
        demo.write_page(self.out, made, self._again())
        size = self.out.stat().st_size
        _say(f"{self.out} ({size / 1e6:.1f} MB) works offline: open it in a browser.")
        _write_json(self.json, {"page": str(self.out), "bytes": size, "scenarios": [each.key for each in made]})
        return 0

    def _scenarios(self) -> Iterable[demo.Scenario]:
        if self.class_counts is None and self.feature_dim is None:
            return demo.lecture()
        if self.class_counts is None or self.feature_dim is None:
            raise ValueError("an own setting needs both --class-counts and --feature-dim.")
        counts = parse_class_counts(self.class_counts)
        return [demo.own_setting(counts, self.feature_dim, self.seed, self.log10_time)]

    def _again(self) -> str:
        """The command that makes this page."""
        command = f"ulpm demo --out {self.out.name}"
        if self.class_counts is None:
            return command
        sizes = f"--class-counts {self.class_counts} --feature-dim {self.feature_dim}"
        return f"{command} {sizes} --log10-time {self.log10_time:g} --seed {self.seed}"


Command = (
    Annotated[Flow, tyro.conf.subcommand("flow")]
    | Annotated[Resume, tyro.conf.subcommand("resume")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
    | Annotated[Table, tyro.conf.subcommand("table")]
    | Annotated[Certify, tyro.conf.subcommand("certify")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns: the exit status, 0 if all went well, 1 with one sentence on standard error otherwise."""
    command = tyro.cli(
        Command,
        prog="ulpm",
        description="Neural collapse in the unconstrained layer-peeled model, followed to astronomically late time.",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
    try:
        return int(command.run())
    except ConnectionError as error:
        print(f"ulpm: {error} `ulpm resume` goes on with a flow from its last checkpoint.", file=sys.stderr)
        return 1
    except (ValueError, TypeError, OSError) as error:
        # What is wrong with the arguments, every process sees.
        if _leads():
            print(f"ulpm: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        # torch has no class of its own for what does not fit.
        if not isinstance(error, MemoryError) and "alloc" not in str(error):
            raise
        print("ulpm: there is not enough memory for a run of this size.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ulpm: interrupted; `ulpm resume` goes on with a flow from its last checkpoint.", file=sys.stderr)
        return 130


def _report(directory: RunDirectory, path: Trajectory, seconds: float, figures: bool, json_file: Path | None) -> int:
    """Save and print what came out. Exit status 1 if the requested end was not reached."""
    files = directory.finish(path, figures)
    result = summarise(path)
    _write_json(json_file, result | {"seconds": seconds, "files": [str(file) for file in files]})
    for status in dict.fromkeys(result["status"]):
        _say(status)
    end = float(path.log_time[-1].max()) / math.log(10)
    _say(f"log10 t = {end:.6g} after {path.stats['steps']} steps in {seconds:.1f} s.")
    _say(f"Results are in {directory.path}: " + ", ".join(file.name for file in files))
    return 0 if path.finished else 1


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


def _write_json(path: Path | None, result: Any) -> None:
    if path is not None:
        _files.write_text(path, json.dumps(result, indent=2, allow_nan=False) + "\n")


def _show(table: str) -> None:
    console = Console()
    # Piped on, the Markdown itself is of more use than a picture of it.
    console.print(Markdown(table)) if console.is_terminal else _say(table)


def _leads() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _say(text: str) -> None:
    if _leads():
        Console(soft_wrap=True, highlight=False).print(text, markup=False)
