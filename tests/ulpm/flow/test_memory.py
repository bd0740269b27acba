"""What a run needs is said before it starts, and is about what it then takes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ulpm
from ulpm.distributed import Shard
from ulpm.flow import memory

# Not getrusage: its peak includes that of the process that started this one.
PEAK = """
import pathlib, re, torch, ulpm
from ulpm.flow.memory import predicted_bytes

def peak_bytes():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
problem = ulpm.Problem([1000] * 10, 400)
small = ulpm.Problem([2] * 10, 400)
ulpm.gradient_flow(small, small.random_state(), log_time=1.0, records=3)
before = peak_bytes()
state = problem.random_state(dtype=torch.DTYPE)
path = ulpm.gradient_flow(problem, state, log_time=LOG_TIME, rtol=1e-5, records=RECORDS, snapshots=2)
peak = peak_bytes() - before
print(peak / predicted_bytes(problem, state, RECORDS, 2), path.stats["jacobian_products"])
"""

SHARED_PEAK = """
import pathlib, re, sys, torch, ulpm
from ulpm.distributed import torchrun_shard
from ulpm.flow.memory import predicted_bytes

def peak_bytes():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
replicas = None if sys.argv[1] == "None" else int(sys.argv[1])
problem, small = ulpm.Problem(COUNTS, 400), ulpm.Problem([2] * 10, 400)
with torchrun_shard("cpu") as shard:
    ulpm.gradient_flow(small, small.random_state(), log_time=600, rtol=1e-5, records=3, shard=shard)
    before = peak_bytes()
    state = problem.random_state(replicas=replicas)
    path = ulpm.gradient_flow(problem, state, log_time=600, rtol=1e-5, records=4, snapshots=2, shard=shard)
    ratio = (peak_bytes() - before) / predicted_bytes(problem, state, 4, 2, shard)
    said = shard.texts(f"{ratio} {path.stats['jacobian_products']}")
    if shard.leads:
        print(*said, sep="\\n")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of one process is read from Linux's /proc")
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("log_time", "records"),
    [(-1.0, 4), pytest.param(600.0, 4, marks=pytest.mark.slow), pytest.param(600.0, 60, marks=pytest.mark.slow)],
)
def test_the_prediction_is_what_a_process_takes(log_time: float, records: int, dtype: str) -> None:
    script = PEAK.replace("LOG_TIME", str(log_time)).replace("RECORDS", str(records)).replace("DTYPE", dtype)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    ratio, products = map(float, done.stdout.split())
    # Never much more than was said, and not a fraction of it either: both would make the warning useless.
    assert 0.6 < ratio < 1.2
    assert (products > 0) == (log_time > 100)


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [None, 6])
def test_the_prediction_is_what_each_of_several_processes_takes(replicas: int | None, tmp_path: Path) -> None:
    script = tmp_path / "peak.py"
    script.write_text(SHARED_PEAK.replace("COUNTS", "[1000] * 10" if replicas is None else "[200] * 10"))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, str(script), str(replicas)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        ratio, products = map(float, line.split())
        assert 0.6 < ratio < 1.2
        assert products > 0
    assert len(done.stdout.splitlines()) == 2


def test_processes_on_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ulpm.Problem([50] * 4, 20)
    state = problem.random_state()
    alone, shared = (memory.predicted_bytes(problem, state, 200, 0, Shard(0, count)) for count in (1, 4))
    assert alone / 4 < shared < alone
    monkeypatch.setattr("ulpm._memory.UNASKED_BYTES", 0)
    monkeypatch.setattr(memory, "available_bytes", lambda device: 4 * shared - 1)
    memory.check_memory(problem, state, 200, 0, Shard(0, 4, neighbours=2))
    with pytest.raises(ValueError, match="the run needs about"):
        memory.check_memory(problem, state, 200, 0, Shard(0, 4, neighbours=4))


def test_a_run_that_does_not_fit_is_refused_and_the_ways_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ulpm.Problem([5] * 4, 20)
    state = problem.random_state(replicas=3)
    needed = memory.predicted_bytes(problem, state, 200, 5)
    monkeypatch.setattr("ulpm._memory.UNASKED_BYTES", 0)
    monkeypatch.setattr(memory, "available_bytes", lambda device: needed - 1)
    ways = "use float32, fewer snapshots, fewer replicas, fewer samples or dimensions or a device with more memory"
    with pytest.raises(ValueError, match=ways):
        ulpm.gradient_flow(problem, state, log_time=1.0, snapshots=5)
    monkeypatch.setattr(memory, "available_bytes", lambda device: needed)
    assert ulpm.gradient_flow(problem, state, log_time=1.0, snapshots=5).finished


def test_only_a_run_that_needs_less_than_32_mib_does_not_ask_how_much_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 0)
    small, large = ulpm.Problem([50] * 10, 64), ulpm.Problem([500] * 10, 64)
    needed = [memory.predicted_bytes(problem, problem.random_state(), 2, 0) for problem in (small, large)]
    assert needed[0] < 2**25 < needed[1]
    memory.check_memory(small, small.random_state(), 2, 0)
    with pytest.raises(ValueError, match="the run needs about"):
        memory.check_memory(large, large.random_state(), 2, 0)


def test_memory_is_known_on_this_kind_of_system_or_not_asked_for() -> None:
    free = memory.available_bytes(torch.device("cpu"))
    assert free is None or free > 2**20


TABLES = """
import pathlib, re, torch, ulpm
from ulpm.flow.memory import predicted_bytes

def peak_bytes():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
problem = ulpm.Problem([1, 1], 1)
ulpm.gradient_flow(problem, problem.random_state(replicas=2), log_time=1.0, records=3).to_csv("/dev/null")
before = peak_bytes()
state = problem.random_state(replicas=300)
path = ulpm.gradient_flow(problem, state, log_time=1.0, rtol=1e-3, records=2000)
path.save("x.safetensors")
path.to_csv("x.csv")
print((peak_bytes() - before) / predicted_bytes(problem, state, 2000, 0))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of one process is read from Linux's /proc")
def test_many_records_of_many_replicas_take_what_was_said_also_while_they_are_saved(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", TABLES], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert 0.6 < float(done.stdout) < 1.1


def test_a_start_that_is_too_large_is_refused_before_it_is_made() -> None:
    problem = ulpm.Problem([10**9] * 3, 10**6)
    planned = memory.PlannedStart(None, torch.float64, torch.device("cpu"))
    with pytest.raises(ValueError, match="the run needs about"):
        memory.check_memory(problem, planned, 200, 0)
    with pytest.raises(ValueError, match="a start of this size needs about"):
        problem.random_state()
