"""A flow that is killed, or told to end, at random moments goes on to the same bits and loses nothing."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ulpm.cli import main

pytestmark = pytest.mark.usefixtures("unchecked_module")

KILLS = [2, pytest.param(100, marks=pytest.mark.slow)]
SIGNALS = [3, pytest.param(50, marks=pytest.mark.slow)]
NAMES = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
FILES = ("trajectory.safetensors", "records.csv")
FLOW = "flow --class-counts 6,5,4 --feature-dim 6 --log-time 3000 --rtol 1e-9 --records 40 --no-figures --no-progress"
RESUME = [sys.executable, "-m", "ulpm", "resume"]


def command(out: Path, seconds: str) -> list[str]:
    return [sys.executable, "-m", "ulpm", *flow(out, seconds)]


def flow(out: Path, seconds: str) -> list[str]:
    return [*FLOW.split(), "--checkpoint-seconds", seconds, "--out", str(out)]


def ends_as(reference: dict[str, bytes], out: Path) -> None:
    """Assert that the run, when it goes on undisturbed in this process, ends with the files of the reference."""
    assert main(["resume", str(out), "--no-progress"]) == 0
    assert {name: (out / name).read_bytes() for name in FILES} == reference


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("reference") / "run"
    assert main(flow(out, "1000")) == 0
    return {name: (out / name).read_bytes() for name in FILES}


def begun(process: "subprocess.Popen[str]", out: Path, before: int) -> None:
    """Wait until the process has written a checkpoint, or has ended."""
    checkpoint, deadline = out / "checkpoint.safetensors", time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
            return
        time.sleep(0.01)


def listening(process: "subprocess.Popen[str]") -> None:
    """Wait until the process handles SIGTERM itself, or has ended."""
    status, deadline = Path(f"/proc/{process.pid}/status"), time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        caught = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt:")]
        if caught and int(caught[0], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.01)


def age(out: Path) -> int:
    checkpoint = out / "checkpoint.safetensors"
    return checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0


@pytest.mark.parametrize("number", KILLS)
def test_a_flow_killed_at_random_moments_ends_with_the_same_bits(
    number: int, reference: dict[str, bytes], tmp_path: Path
) -> None:
    moments, out = random.Random(number), tmp_path / "0"
    killed = rounds = 0
    while killed < number:
        rounds += 1
        assert rounds < 3 * number + 10, "runs end before they can be killed: make them longer"
        resume = any((out / name).exists() for name in ("checkpoint.safetensors", "trajectory.safetensors"))
        words = [*RESUME, str(out), "--no-progress", "--checkpoint-seconds", "0.05"] if resume else command(out, "0.05")
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        begun(process, out, age(out))
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        output, _ = process.communicate()
        if process.returncode == -signal.SIGKILL:
            killed += 1
        else:
            assert process.returncode == 0, output
            assert {name: (out / name).read_bytes() for name in FILES} == reference
            out = tmp_path / str(rounds)
    ends_as(reference, out)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what a process handles is read from Linux's /proc")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_flow_that_is_told_to_end_leaves_a_checkpoint_and_one_sentence(
    number: int, reference: dict[str, bytes], tmp_path: Path
) -> None:
    moments, out = random.Random(number), tmp_path / "0"
    stopped = rounds = 0
    while stopped < number:
        rounds += 1
        assert rounds < 3 * number + 10, "runs end before they can be stopped: make them longer"
        resume = any((out / name).exists() for name in ("checkpoint.safetensors", "trajectory.safetensors"))
        # No checkpoint but the first and the one that the signal asks for.
        words = [*RESUME, str(out), "--no-progress", "--checkpoint-seconds", "1000"] if resume else command(out, "1000")
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun(process, out, 0)
        listening(process)
        time.sleep(moments.uniform(0.05, 0.3))
        number_of_signal = NAMES[stopped % len(NAMES)]
        before = age(out)
        process.send_signal(number_of_signal)
        _, errors = process.communicate(timeout=300)
        if process.returncode == 128 + number_of_signal:
            stopped += 1
            assert errors.splitlines() == [
                "ulpm: interrupted; `ulpm resume` continues a flow from its last checkpoint."
            ]
            assert age(out) >= before
        elif process.returncode == 0:
            assert {name: (out / name).read_bytes() for name in FILES} == reference
            out = tmp_path / str(rounds)
        else:
            # Too early: the command had not begun.
            assert process.returncode in (-number_of_signal, 1, -signal.SIGINT), errors
            ended = (out / "trajectory.safetensors").exists()  # and then the signal came at the very end
            assert resume or ended or not out.exists() or age(out) > 0
    ends_as(reference, out)
