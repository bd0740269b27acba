"""The page of a run on a device: the hardware, the goals, and a table for each part."""

import dataclasses
import datetime
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence

import torch
from gpu_part import Part, Row, Stopped
from page import cpu_name, verdict
from report import Goal, Tell, goals_table, table

NAME = "gpu.md"


@dataclasses.dataclass
class Done:
    """A part with what it has measured so far; ``stopped`` says why it has no more."""

    part: Part
    rows: list[Row] = dataclasses.field(default_factory=list)
    goals: list[Goal] = dataclasses.field(default_factory=list)
    stopped: Stopped | None = None

    def add(self, result: Row | Goal | Stopped) -> None:
        """Keep a result."""
        if isinstance(result, Goal):
            self.goals.append(result)
        elif isinstance(result, Stopped):
            self.stopped = result
        else:
            self.rows.append(result)

    def section(self) -> str:
        """The part as Markdown."""
        width = len(self.part.header)
        last = [] if self.stopped is None else [(f"**{self.stopped.reason}**", *[""] * (width - 1))]
        return f"## {self.part.title}\n\n{self.part.text.strip()}\n\n{table(self.part.header, [*self.rows, *last])}"


def hardware(device: torch.device, tell: Tell) -> Iterator[Row]:
    """One row: the device, its memory and its driver in words."""
    if device.type == "cpu":
        yield (f"the CPU, {cpu_name()}, {os.cpu_count()} cores",)
        return
    if device.type != "cuda":
        raise ValueError(f"it must be cuda or cpu, not {device}")
    facts = torch.cuda.get_device_properties(device)
    words = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, {facts.multi_processor_count} multiprocessors"
    yield (f"{words}; driver {driver()}; CUDA {torch.version.cuda}, beside {cpu_name()}, {os.cpu_count()} cores",)


def driver() -> str:
    """The version of the NVIDIA driver, as nvidia-smi says."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown (there is no nvidia-smi)"
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        said = []
    return said[0] if said else "unknown"


def compose(machine: str, command: str, small: bool, done: Sequence[Done], missing: Sequence[Part]) -> str:
    """The page of what is ``done``; ``missing`` are parts of which there is nothing yet."""
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    head = HEAD.format(
        command=command, machine=machine, date=date, torch=torch.__version__, python=platform.python_version()
    )
    paragraphs = [head]
    if small:
        paragraphs.append(REHEARSAL)
    if missing:
        names = "; ".join(part.title for part in missing)
        paragraphs.append(f"**The run ended before these parts were complete: {names}.**")
    goals = [goal for each in done for goal in each.goals]
    if goals:
        paragraphs.append(f"## Goals\n\n{verdict(goals)}\n\n{goals_table(goals)}")
    return "\n\n".join([*paragraphs, *(each.section() for each in done)]) + "\n"


REHEARSAL = "This was a rehearsal: its sizes only show that the program works, and no number means anything."

HEAD = """# On a GPU

Written by `{command}`; nothing here is edited by hand.

Device: {machine}. Versions: torch {torch}, Python {python}. Date: {date}. Times are medians (least–greatest) of
repeated calls, each of which waits for the device. Every part runs in a process of its own, within a limit of time; the
last row of its table says so if it failed or was stopped."""
