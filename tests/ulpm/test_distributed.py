"""Several processes give the run that one gives."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import ulpm
from ulpm import _files
from ulpm.distributed import ALONE, Place, Shard, torchrun_place, torchrun_shard
from ulpm.flow.options import FlowOptions
from ulpm.flow.run import FlowRun
from ulpm.flow.sweep import own_replicas
from ulpm.flow.system import FlowSystem

ROOT = Path(__file__).parents[2]
COUNTS, DIM = [3, 2, 4], 5  # unequal classes, which 2, 3 and 4 processes share unevenly
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
NAMES = ("flow", "sweep", "flow-resumed", "sweep-resumed")
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

MEMBERS = {
    "mean": ulpm.Problem([3, 2, 4], 5, reduction="mean"),
    "bias": ulpm.Problem([3, 2, 4], 5, bias=True),
    "decay": ulpm.Problem([3, 2, 4], 5, weight_decay=(5e-3, 1e-3), bias=True, reduction="mean"),
    "smoothing": ulpm.Problem([3, 2, 4], 5, loss=ulpm.CrossEntropy(label_smoothing=0.1), weight_decay=(1e-3, 1e-3)),
    "focal": ulpm.Problem([3, 2, 4], 5, loss=ulpm.Focal(gamma=2.0)),
    "squared": ulpm.Problem([3, 2, 4], 5, loss=ulpm.SquaredError(), weight_decay=(1e-3, 5e-3), reduction="mean"),
}

WORKER = """
import json, sys, torch, ulpm
from ulpm.distributed import torchrun_shard

torch.set_num_threads(1)
problem = ulpm.Problem({counts}, {dim})
with torchrun_shard("cpu") as shard:
    assert shard.together(lambda: shard.rank) == shard.rank
    for total in (1, 3):
        # Of one row the second process has none.
        rows = torch.arange(2.0 * total).view(total, 2)
        assert torch.equal(shard.join(rows[shard.part(total)], total, axis=0), rows)
    try:
        # What only one process sees, all are told.
        shard.together(lambda: ulpm.Problem([1] * (2 - shard.leads), 1))
    except ValueError as error:
        assert "at least 2 classes" in str(error)
    else:
        sys.exit("a process was refused alone")
    for refusal in (RuntimeError("no room"), MemoryError()):
        def work():
            if shard.leads:
                raise refusal
        try:
            shard.together(work)
        except (type(refusal) if shard.leads else ValueError) as error:
            assert shard.leads or str(error) in ("no room", "MemoryError")
        else:
            sys.exit("a process went on alone")
    for name, replicas in (("flow", None), ("sweep", 5)):
        start = problem.random_state(replicas=replicas)
        path = ulpm.gradient_flow(problem, start, log10_time={log10_time}, records=5, snapshots=2, shard=shard)
        states = shard.all_gather(torch.cat([path.final_state.W.flatten(), path.final_state.H.flatten()]))
        if not all(torch.equal(states[0], state) for state in states):
            sys.exit("the processes ended in different states")
        if shard.leads:
            path.save(f"{{sys.argv[1]}}/{{name}}.safetensors")
        checkpoint = f"{{sys.argv[1]}}/{{name}}-checkpoint.safetensors"
        ends = dict(log10_time={log10_time}, records=5, snapshots=2)
        ulpm.gradient_flow(problem, start, **ends, max_steps=9, checkpoint=checkpoint, shard=shard)
        resumed = ulpm.resume_flow(checkpoint, max_steps=1000, checkpoint_seconds=1e9, shard=shard)
        if shard.leads:
            resumed.save(f"{{sys.argv[1]}}/{{name}}-resumed.safetensors")
    for name, record in json.loads(sys.argv[2]).items():
        problem = ulpm.Problem.from_record(record)
        start = problem.random_state(seed=0)
        path = ulpm.gradient_flow(problem, start, log_time=5.0, records=5, snapshots=2, shard=shard)
        if shard.leads:
            path.save(f"{{sys.argv[1]}}/{{name}}.safetensors")
        checkpoint = f"{{sys.argv[1]}}/{{name}}-checkpoint.safetensors"
        ulpm.gradient_flow(problem, start, log_time=5.0, records=5, max_steps=9, checkpoint=checkpoint, shard=shard)
"""


def run_on(processes, folder, log10_time, members):
    script = folder / "worker.py"
    script.write_text(WORKER.format(counts=COUNTS, dim=DIM, log10_time=log10_time))
    records = json.dumps({name: problem.record() for name, problem in members.items()})
    done = subprocess.run(
        [*TORCHRUN, str(processes), str(script), str(folder), records], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """What two processes save: one start of both, as each process takes seconds to import torch."""
    return run_on(2, tmp_path_factory.mktemp("two"), 8.0, MEMBERS)


def assert_the_same(path, alone):
    assert path.status == alone.status
    steps = ("steps", "rejected_steps", "field_evaluations", "jacobian_products")
    assert {name: path.stats[name] for name in steps} == {name: alone.stats[name] for name in steps}
    for name, values in alone.columns().items():
        # Drifts are round-off, or a difference that ends in it: of them no digit need agree.
        floor = 1e-13 if name.endswith("drift") else 1e-15
        # Batches of another size round differently, and its weights e^−q magnify that by the margins q, 230 at the end.
        rtol = 1e-9 if name == "complementarity" and isinstance(alone.status, tuple) else 1e-10
        torch.testing.assert_close(path.columns()[name], values, rtol=rtol, atol=floor, equal_nan=True, msg=name)
    for a, b in ((path.final_state, alone.final_state), (path.snapshots, alone.snapshots)):
        torch.testing.assert_close(a.W, b.W, rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(a.H, b.H, rtol=1e-10, atol=1e-11)


def test_parts_are_as_even_as_possible_and_cover_everything():
    for count in (1, 2, 3, 4, 7, 12):
        shards = [Shard(rank, count) for rank in range(count)]
        parts = [list(range(10))[shard.part(10)] for shard in shards]
        assert [thing for part in parts for thing in part] == list(range(10))
        assert [len(part) for part in parts] == shards[0].sizes(10)
        assert parts == [part.tolist() for part in torch.arange(10).tensor_split(count)]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_one_process_alone_exchanges_nothing():
    x = torch.arange(3.0)
    assert ALONE.all_reduce(x) is x
    assert ALONE.join(x, 3) is x
    assert ALONE.all_gather(x).data_ptr() == x.data_ptr()
    assert ALONE.any(True, False) == [True, False]


def assert_those_of_one(folder, log10_time):
    together = {name: ulpm.Trajectory.load(folder / f"{name}.safetensors") for name in NAMES}
    problem = ulpm.Problem(COUNTS, DIM)
    for name, replicas in (("flow", None), ("sweep", 5)):
        start = problem.random_state(replicas=replicas)
        alone = ulpm.gradient_flow(problem, start, log10_time=log10_time, records=5, snapshots=2)
        assert_the_same(together[name], alone)
        assert_the_same(together[f"{name}-resumed"], alone)
        # And one process goes on with what several have begun.
        checkpoint = folder / f"{name}-checkpoint.safetensors"
        assert_the_same(ulpm.resume_flow(checkpoint, max_steps=1000), alone)


@pytest.mark.usefixtures("unchecked")
def test_two_processes_take_the_same_steps_and_make_the_same_records_as_one(by_two):
    assert_those_of_one(by_two, 8.0)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_any_number_of_processes_does_so_until_late_times(processes, tmp_path):
    assert_those_of_one(run_on(processes, tmp_path, 100.0, {}), 100.0)


@pytest.mark.usefixtures("unchecked")
def test_two_processes_make_the_records_of_one_for_each_member(by_two):
    for name, problem in MEMBERS.items():
        together = ulpm.Trajectory.load(by_two / f"{name}.safetensors")
        alone = ulpm.gradient_flow(problem, problem.random_state(seed=0), log_time=5.0, records=5, snapshots=2)
        begun = ulpm.resume_flow(by_two / f"{name}-checkpoint.safetensors", max_steps=1000)
        for path in (together, begun):
            assert path.problem == problem
            assert path.stats["steps"] == alone.stats["steps"]
            for key, values in alone.columns().items():
                floor = 1e-12 if key.endswith("drift") else 1e-13
                torch.testing.assert_close(path.columns()[key], values, rtol=1e-9, atol=floor, msg=f"{name}: {key}")
            end = path.final_state.vector()
            torch.testing.assert_close(end, alone.final_state.vector(), rtol=1e-10, atol=1e-11)


class OfTwo(Shard):
    """Process 0 of two, the other of which was started with seed 2."""

    def texts(self, text):
        return [text, json.dumps(json.loads(text) | {"seed": "2"})]


def test_processes_started_with_different_arguments_are_told_which():
    OfTwo(0, 2).agree({"seed": 2, "rtol": 1e-6})
    with pytest.raises(ValueError, match="same arguments, but --seed is 1 for process 0 and 2 for process 1"):
        OfTwo(0, 2).agree({"seed": 1, "rtol": 1e-6})
    ALONE.agree({"seed": 1})


@pytest.fixture
def of_two(monkeypatch):
    """The environment of process 0 of two, and no handlers of signals afterwards but those of before."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        for name, value in (where | {"MASTER_PORT": str(taken.getsockname()[1])}).items():
            monkeypatch.setenv(name, value)
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        yield
        for number, handler in before.items():
            signal.signal(number, handler)


def test_processes_that_do_not_find_each_other_get_one_sentence(of_two):
    with pytest.raises(ConnectionError, match=r"process 0 did not find the other processes of this run at 127.0.0.1:"):
        torchrun_shard("cpu").__enter__()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that another process could send")
def test_a_termination_while_a_file_is_written_or_read_is_no_error_of_the_file(of_two, monkeypatch, tmp_path):
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(torch.distributed, name, lambda *_: None)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    file = tmp_path / "file"
    file.write_text("before")

    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    def read():
        with _files.reading(file):
            stop()

    for work in (lambda: _files.replace_file(file, stop), read):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with pytest.raises(ConnectionError) as caught, torchrun_shard("cpu") as shard:
            shard.together(work) if work is read else work()
        assert str(caught.value) == "another process of this run has ended, or torchrun was stopped."
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN  # until the sentence is printed
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "before"
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with torchrun_shard("cpu"):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that another process could send")
def test_a_process_that_waits_for_others_to_start_can_be_ended(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ENVIRONMENT | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "ulpm", *flow_command(tmp_path / "run", 1)]
    with subprocess.Popen(command, env=where | {"RANK": "0", "LOCAL_RANK": "0"}, stderr=subprocess.PIPE) as waiting:
        for _ in range(600):  # process 0 listens for the others
            time.sleep(0.1)
            with socket.socket() as other:
                if other.connect_ex(("127.0.0.1", port)) == 0:
                    break
        time.sleep(1)
        waiting.terminate()
        try:
            assert waiting.wait(timeout=20) == -signal.SIGTERM
        finally:
            waiting.kill()


def test_handlers_are_those_of_before_once_all_processes_are_there(of_two, monkeypatch):
    numbers, seen = [signal.SIGINT, signal.SIGTERM], []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_: seen.extend(map(signal.getsignal, numbers)))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    for number in numbers:  # SIGINT is ignored where a shell has started the tests in the background
        signal.signal(number, signal.default_int_handler)
    with torchrun_shard("cpu"):
        pass
    assert seen == [signal.SIG_DFL] * 2
    assert [signal.getsignal(number) for number in numbers] == [signal.default_int_handler] * 2
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with torchrun_shard("cpu"):
        pass
    assert seen[-1] == signal.SIG_IGN


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--seed", "--replicas"])
def test_a_flow_whose_processes_got_different_arguments_is_not_begun(option, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ENVIRONMENT | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "ulpm", *flow_command(tmp_path / "run", 1), option]
    started = [
        subprocess.Popen(
            [*command, str(rank + 2)],
            env=where | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [each.communicate(timeout=300)[1] for each in started]
    assert [each.returncode for each in started] == [1, 1]
    sentence = f"the processes of one run need the same arguments, but {option} is 2 for process 0 and 3 for process 1."
    assert "".join(errors).splitlines() == [f"ulpm: {sentence}"]
    assert not (tmp_path / "run").exists()


class Counted(Shard):
    """One of two processes whose other has nothing; what it sends is counted, in numbers."""

    sent: ClassVar[list[int]] = []

    def all_reduce(self, part):
        self.sent.append(part.numel())
        return part.clone()

    def all_gather(self, part):
        self.sent.append(part.numel())
        nothing = torch.full_like(part, -torch.inf)
        return torch.stack([part, nothing])


@pytest.mark.parametrize("samples", [10, 1000])
def test_an_evaluation_and_a_product_are_one_message_whatever_the_number_of_samples(samples):
    problem = ulpm.Problem([samples] * 4, 6)
    shard = Counted(0, 2)
    system = FlowSystem(problem, torch.device("cpu"), shard)
    y = system.layout.pack(problem.random_state())
    out = torch.empty_like(y)
    linear, log_loss = system.linearise(y), system.loss(y).log_loss

    def messages(work):
        shard.sent.clear()
        work()
        return list(shard.sent)

    near, far = (system.rate_near(log_loss, torch.full_like(log_loss, change)) for change in (1.0, 41.0))
    assert messages(lambda: near(y, out)) == [4 * 6 + 1]
    assert messages(lambda: far(y, out)) == [2, 4 * 6]
    assert messages(lambda: linear.product(y, out)) == [4 * 6 + 1]
    assert messages(lambda: system.layout.dot(y, y)) == [1]
    assert messages(lambda: system.layout.dots((y, y), (y, out))) == [2]


def test_replicas_that_wait_in_the_share_of_another_process_are_let_in():
    problem = ulpm.Problem([500] * 10, 64)  # so large that a cohort on a CPU is one replica
    start = problem.random_state(replicas=3)
    run = FlowRun.prepare(problem, start, FlowOptions(log_time=0.5, rtol=1e-3, records=3, max_steps=1000))
    assert len(run.state.waiting.replicas) == 2
    with torch.inference_mode():
        shares = [own_replicas(run.loop, run.state, Shard(rank, 2)) for rank in range(2)]
        for i, share in enumerate(shares):
            while share.running:
                share = run.loop.step(share)
            shares[i] = share
    assert [status for share in shares for status in share.status] == [ulpm.Status.LOG_TIME_REACHED] * 3
    alone = ulpm.gradient_flow(problem, start, log_time=0.5, rtol=1e-3, records=3)
    together = torch.cat([share.records.table["log_loss"] for share in shares], 1)
    torch.testing.assert_close(together, alone.log_loss, rtol=1e-12, atol=1e-12)


def flow_command(out, replicas):
    sizes = ["--class-counts", "3,2,4", "--feature-dim", str(DIM), "--log10-time", "1000", "--rtol", "1e-9"]
    sizes += ["--replicas", str(replicas)] * (replicas > 1)
    return ["flow", *sizes, "--checkpoint-seconds", "0.5", "--no-figures", "--no-progress", "--out", str(out)]


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 24])
def test_killing_one_process_ends_the_others_with_a_sentence_and_the_run_resumes(replicas, tmp_path):
    out = tmp_path / "run"
    run = subprocess.Popen(
        [*TORCHRUN, "2", "-m", "ulpm", *flow_command(out, replicas)], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    checkpoint = out / "checkpoint.safetensors"
    deadline = time.monotonic() + 300
    while not checkpoint.exists():
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.05)
    workers = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    killed = time.monotonic()
    _, errors = run.communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert run.returncode != 0
    assert "ulpm: another process of this run has ended" in errors
    resumed = subprocess.run(
        [*TORCHRUN, "3", "-m", "ulpm", "resume", str(out), "--no-progress"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert resumed.returncode == 0, resumed.stderr
    # Not in this process, whose run-time checks take longer than the run.
    subprocess.run(
        [sys.executable, "-m", "ulpm", *flow_command(tmp_path / "alone", replicas)], env=ENVIRONMENT, check=True
    )
    path, alone = (ulpm.Trajectory.load(folder / "trajectory.safetensors") for folder in (out, tmp_path / "alone"))
    torch.testing.assert_close(path.log_loss, alone.log_loss, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(path.final_state.H, alone.final_state.H, rtol=1e-8, atol=1e-9)


def test_where_a_run_is_already_all_processes_end_and_one_says_why(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    command = ["flow", "--class-counts", "3,2,4", "--feature-dim", "5", "--log-time", "1", "--out", str(tmp_path)]
    done = subprocess.run([*TORCHRUN, "2", "-m", "ulpm", *command], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("ulpm:")]
    assert len(said) == 1
    assert "already holds a run" in said[0]


def test_a_rank_without_a_world_is_one_process_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert torchrun_place() == Place()
    monkeypatch.setenv("RANK", "1")
    assert torchrun_place().leads
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert torchrun_place() == Place()
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert torchrun_place() == Place(1, 4, 1, 1)
    assert not torchrun_place().leads


@pytest.mark.parametrize(("rank", "count"), [("x", "2"), ("2", "2"), ("0", "x"), ("-1", "2"), ("", "2"), ("0", "0")])
def test_an_environment_that_torchrun_does_not_make_is_refused(rank, count, monkeypatch):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", count)
    with pytest.raises(ValueError, match="unset both, or start with torchrun"):
        torchrun_place()
