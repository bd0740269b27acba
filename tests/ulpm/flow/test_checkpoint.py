"""A run that is interrupted anywhere and resumed is the run that was never interrupted, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import ulpm
from ulpm import _files
from ulpm.cli import main
from ulpm.flow.checkpoint import read_checkpoint, write_checkpoint
from ulpm.flow.options import FlowOptions
from ulpm.flow.run import FlowRun

# The run-time checks of signatures make the flow several times slower, and have nothing to say about files.
pytestmark = pytest.mark.usefixtures("unchecked")


def same_bits(a: ulpm.Trajectory, b: ulpm.Trajectory) -> None:
    """Assert that two trajectories are equal in every tensor, count and status."""
    assert a.status == b.status
    assert a.stats == b.stats
    assert list(a.columns()) == list(b.columns())
    for name, column in a.columns().items():
        assert torch.equal(column.nan_to_num(nan=-7.0), b.columns()[name].nan_to_num(nan=-7.0)), name
    assert torch.equal(a.final_state.W, b.final_state.W)
    assert torch.equal(a.final_state.H, b.final_state.H)
    assert (a.snapshots is None) == (b.snapshots is None)
    if a.snapshots is not None and b.snapshots is not None:
        assert torch.equal(a.snapshots.W.nan_to_num(nan=-7.0), b.snapshots.W.nan_to_num(nan=-7.0))
        assert torch.equal(a.snapshots.H.nan_to_num(nan=-7.0), b.snapshots.H.nan_to_num(nan=-7.0))


def prepared(replicas: int | None, dtype: torch.dtype = torch.float64, **end: float) -> FlowRun:
    problem = ulpm.Problem([4, 3, 3], 7)
    state = problem.random_state(seed=2, replicas=replicas, dtype=dtype)
    options = FlowOptions(**end, rtol=1e-5, records=12, snapshots=3, max_steps=10_000)
    return FlowRun.prepare(problem, state, options, {"note": "ρ²"})


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("end", [{"log_time": 40.0}, {"log_loss": -30.0}, {"log_time": 1500.0}])
def test_a_run_cut_after_any_step_ends_with_the_same_bits(
    tmp_path: Path, replicas: int | None, end: dict[str, float]
) -> None:
    whole = prepared(replicas, **end).finish(False, None, 1e9)
    cut, made = prepared(replicas, **end), 0
    for attempts in (0, 1, 17, 60, 200):
        with torch.no_grad():
            for _ in range(attempts - made):
                if cut.state.running:
                    cut.step()
        made = attempts
        write_checkpoint(tmp_path / "c.safetensors", cut.loop, cut.state, cut.config)
        same_bits(whole, ulpm.resume_flow(tmp_path / "c.safetensors"))


@pytest.mark.parametrize("attempts", [0, 10, 30])
def test_replicas_that_wait_are_in_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempts: int
) -> None:
    monkeypatch.setattr("ulpm.flow.cohort._NUMBERS_UNDER_WAY", 2 * 7 * (3 + 10))
    whole = prepared(5, log_time=40.0).finish(False, None, 1e9)
    assert whole.finished
    cut = prepared(5, log_time=40.0)
    with torch.no_grad():
        for _ in range(attempts):
            cut.step()
    assert len(cut.state.cohort.replicas) <= 2
    assert len(cut.state.waiting.replicas) > 0
    write_checkpoint(tmp_path / "c.safetensors", cut.loop, cut.state, cut.config)
    same_bits(whole, ulpm.resume_flow(tmp_path / "c.safetensors"))


def test_a_run_out_of_steps_ends_those_that_wait_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ulpm.flow.cohort._NUMBERS_UNDER_WAY", 1)
    problem = ulpm.Problem([4, 3, 3], 7)
    start = problem.random_state(seed=2, replicas=3)
    path = ulpm.gradient_flow(problem, start, log_time=40.0, records=4, max_steps=5)
    assert path.status == (ulpm.Status.STEP_LIMIT,) * 3
    assert torch.equal(path.final_state.W[2], start.W[2])
    assert not torch.equal(path.final_state.W[0], start.W[0])


def test_resuming_twice_on_the_way_changes_nothing_either(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    whole = prepared(3, torch.float32, log_time=30.0).finish(False, None, 1e9)
    run = prepared(3, torch.float32, log_time=30.0)
    for _ in range(2):
        with torch.no_grad():
            for _ in range(8):
                run.step()
        write_checkpoint(file, run.loop, run.state, run.config)
        run = FlowRun(*read_checkpoint(file))
    same_bits(whole, run.finish(False, None, 1e9))


def test_checkpoints_on_the_way_do_not_change_the_run(tmp_path: Path) -> None:
    whole = prepared(2, log_time=20.0).finish(False, None, 1e9)
    same_bits(whole, prepared(2, log_time=20.0).finish(False, tmp_path / "c.safetensors", 1e-9))
    assert (tmp_path / "c.safetensors").exists()


def test_a_checkpoint_of_another_kind_or_cut_short_is_refused_with_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    prepared(None, log_time=2.0).finish(False, None, 1e9).save(file)
    with pytest.raises(OSError, match="holds a trajectory, not a checkpoint"):
        ulpm.resume_flow(file)
    run = prepared(None, log_time=2.0)
    write_checkpoint(file, run.loop, run.state, run.config)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(OSError, match="damaged or truncated"):
        ulpm.resume_flow(file)


def flow_command(out: Path, rtol: str = "1e-9", seconds: str = "0.001") -> list[str]:
    """A run of some seconds, or more at a lower ``rtol``, that writes a checkpoint after every step."""
    arguments = f"flow --class-counts 6,5,4 --feature-dim 6 --log-time 3000 --rtol {rtol} --records 60"
    options = f"--checkpoint-seconds {seconds} --no-progress --no-figures --snapshots 4"
    return [sys.executable, "-m", "ulpm", *arguments.split(), *options.split(), "--out", str(out)]


@pytest.mark.slow  # tests/attack/test_kills.py kills a flow in make test
@pytest.mark.parametrize("kills", [1, 6])
def test_a_process_killed_at_random_moments_resumes_to_the_same_bits(tmp_path: Path, kills: int) -> None:
    reference, victim, rtol = tmp_path / "reference", tmp_path / "victim", "1e-9" if kills == 1 else "1e-12"
    subprocess.run(flow_command(reference, rtol, "1000"), check=True, capture_output=True)
    moments = random.Random(kills)
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(flow_command(victim, rtol), stdout=log, stderr=log)
    resume = [sys.executable, "-m", "ulpm", "resume", str(victim), "--no-progress", "--checkpoint-seconds"]
    for left in reversed(range(kills)):
        checkpoint = victim / "checkpoint.safetensors"
        age = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns > age:
                break
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.3))
        assert process.poll() is None, "the run ended before it could be killed: make it longer"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (victim / "trajectory.safetensors").exists()
        # What nobody kills any more need not write a checkpoint a step.
        process = subprocess.Popen([*resume, "0.001" if left else "1000"], stdout=log, stderr=log)
    process.wait(timeout=120)
    log.close()
    assert process.returncode == 0, (tmp_path / "log").read_text()
    same_files(reference, victim)


def same_files(reference: Path, resumed: Path) -> None:
    """Assert that two run directories hold the same files, byte for byte but for the names in results.md."""
    assert {file.name for file in reference.iterdir()} == {file.name for file in resumed.iterdir()}
    for name in ("trajectory.safetensors", "records.csv", "config.json"):
        assert (reference / name).read_bytes() == (resumed / name).read_bytes(), name
    text = (reference / "results.md").read_text().replace(reference.name, resumed.name)
    assert (resumed / "results.md").read_text() == text


@pytest.mark.slow  # tests/attack/test_kills.py tells flows to end by three signals
def test_a_process_interrupted_from_the_keyboard_resumes_to_the_same_bits(tmp_path: Path) -> None:
    reference, victim = tmp_path / "reference", tmp_path / "victim"
    command = flow_command(victim, seconds="1000")  # no checkpoint but the last
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not (victim / "config.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130, (tmp_path / "log").read_text()
    assert (victim / "checkpoint.safetensors").exists()
    assert not (victim / "trajectory.safetensors").exists()
    # What nobody interrupts needs no process of its own.
    assert main(["resume", str(victim), "--no-progress", "--checkpoint-seconds", "1000"]) == 0
    assert main(flow_command(reference, seconds="1000")[3:]) == 0
    same_files(reference, victim)


def test_a_run_out_of_steps_can_be_given_more(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    whole = prepared(2, log_time=40.0).finish(False, None, 1e9)
    short = prepared(2, log_time=40.0)
    short.config = {**short.config, "max_steps": 10}
    assert short.finish(False, file, 1e9).status == (ulpm.Status.STEP_LIMIT,) * 2
    same_bits(whole, ulpm.resume_flow(file, max_steps=10_000))


def test_a_checkpoint_with_other_contents_is_refused_with_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    run = prepared(None, log_time=2.0)
    write_checkpoint(file, run.loop, run.state, run.config)
    tensors, metadata = _files.read_tensors(file)
    _files.write_tensors(file, {**tensors, "cohort.news": torch.ones(1)}, metadata)
    with pytest.raises(OSError, match="a checkpoint of another version"):
        ulpm.resume_flow(file)
    _files.write_tensors(file, tensors, {**metadata, "status": ["UNHEARD"]})
    with pytest.raises(OSError, match="a checkpoint of another version"):
        ulpm.resume_flow(file)


def test_a_run_killed_before_its_first_checkpoint_starts_again_from_its_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    sizes = ("--class-counts", "3,2", "--feature-dim", "3", "--log-time", "5", "--records", "5")
    small = ("flow", *sizes, "--no-progress", "--no-figures")
    assert main([*small, "--out", str(tmp_path / "reference")]) == 0
    out.mkdir()
    (out / "config.json").write_text((tmp_path / "reference" / "config.json").read_text())
    assert main(["resume", str(out), "--no-progress"]) == 0
    assert "starting again from config.json" in capsys.readouterr().out
    same_bits(*(ulpm.Trajectory.load(run / "trajectory.safetensors") for run in (tmp_path / "reference", out)))
    assert main(["resume", str(out)]) == 0
    assert "nothing to resume" in capsys.readouterr().out
