"""One flow on several processes: what an evaluation costs, what it exchanges, and what that means for many GPUs."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from report import Section, Tell, count, table
from timing import seconds_text

import ulpm
from ulpm.distributed import torchrun_shard
from ulpm.flow.system import FlowSystem


@dataclasses.dataclass(frozen=True)
class Setting:
    """Balanced problems (K, N, d) for strong scaling and, N being that of one process, for weak scaling."""

    strong: tuple[tuple[int, int, int], ...]
    weak: tuple[tuple[int, int, int], ...]
    seconds: float


FULL = Setting(((10, 1_000, 64), (10, 60_000, 64), (10, 60_000, 512)), ((10, 30_000, 64), (10, 30_000, 512)), 1.0)
QUICK = Setting(((3, 30, 4),), ((3, 30, 4),), 0.02)
LAYOUTS = ((1, 1), (1, 2), (2, 1))  # processes, threads of each


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """What the extrapolation assumes of a GPU and of the links between them; none of it was measured here."""

    flops: float = 60e12  # float64, dense matrix products
    memory: float = 3e12  # bytes/s
    links: tuple[tuple[int, float, float], ...] = ((1, 0.0, 1e12), (8, 15e-6, 400e9), (64, 40e-6, 50e9))
    # processes, seconds a message takes however short it is, bytes/s into one GPU
    launches: float = 60e-6  # of the kernels of an evaluation, however small


def measure(K: int, N: int, d: int, seconds: float) -> dict[str, object]:
    """Medians of a field evaluation and a Jacobian product, and their messages and bytes, in this process."""
    problem = ulpm.Problem([N // K] * K, d)
    with torchrun_shard("cpu") as shard, torch.inference_mode():
        system = FlowSystem(problem, shard.device, shard)
        y = system.layout.pack(problem.random_state(seed=0))
        out, linear = torch.empty_like(y), system.linearise(y)
        log_loss = system.loss(y).log_loss
        rate = system.rate_near(log_loss, torch.zeros_like(log_loss))
        result: dict[str, object] = {}
        # As often on every process: what they exchange has to match.
        often = max(5, min(100, int(seconds * 5e8 / (K * N * d))))
        works: dict[str, Callable[[], object]] = {
            "evaluation": lambda: rate(y, out),
            "product": lambda: linear.product(y, out),
            "dot": lambda: system.layout.dot(y, y),
        }
        for name, work in works.items():
            with counted_messages() as sent:
                work()
            result[name] = {"seconds": median(work, often), "sizes": sent}
        return result if shard.leads else {}


def median(work: Callable[[], object], often: int) -> float:
    """The median time of so many calls."""
    seconds = []
    for _ in range(often + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[often // 2]


@contextlib.contextmanager
def counted_messages() -> Iterator[list[int]]:
    """Within it, the list that it yields gets the number of bytes that a process gives to each message."""
    sizes: list[int] = []
    reduce, gather = dist.all_reduce, dist.all_gather

    def counted_reduce(x: torch.Tensor) -> None:
        sizes.append(x.nbytes)
        reduce(x)

    def counted_gather(parts: list[torch.Tensor], x: torch.Tensor) -> None:
        sizes.append(x.nbytes)
        gather(parts, x)

    dist.all_reduce, dist.all_gather = counted_reduce, counted_gather
    try:
        yield sizes
    finally:
        dist.all_reduce, dist.all_gather = reduce, gather


def on(processes: int, threads: int, K: int, N: int, d: int, seconds: float) -> dict[str, dict]:
    """``measure`` on so many processes, started as a user would."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] * (processes > 1)
    threading = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    root = str(Path(__file__).parents[2])
    child = subprocess.run(
        [sys.executable, *launch, __file__, json.dumps([K, N, d, seconds])],
        env={**os.environ, **threading, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(next(line for line in child.stdout.splitlines() if line.startswith('{"evaluation')))


def run(quick: bool, tell: Tell) -> Section:
    """Measure on one and two processes, and extrapolate."""
    setting = QUICK if quick else FULL
    strong, weak, messages = [], [], []
    for K, N, d in setting.strong:
        found = {}
        for processes, threads in LAYOUTS:
            tell(f"K={K} N={N} d={d} on {processes} × {threads}")
            found[processes, threads] = on(processes, threads, K, N, d, setting.seconds)
        for name in ("evaluation", "product"):
            one, two_threads, two = (found[layout][name]["seconds"] for layout in LAYOUTS)
            times = (seconds_text(one), seconds_text(two_threads), seconds_text(two))
            strong.append((K, count(N), d, name, *times, f"{one / two:.2f}", f"{two / two_threads:.2f}"))
        sizes = {name: found[2, 1][name]["sizes"] for name in ("evaluation", "product", "dot")}
        messages.append((K, count(N), d, *("; ".join(count(size) for size in sizes[name]) for name in sizes)))
    for K, N, d in setting.weak:
        tell(f"weak: K={K} N={N} d={d}")
        one, two = on(1, 1, K, N, d, setting.seconds), on(2, 1, K, 2 * N, d, setting.seconds)
        for name in ("evaluation", "product"):
            a, b = one[name]["seconds"], two[name]["seconds"]
            weak.append((K, count(N), d, name, seconds_text(a), seconds_text(b), f"{a / b:.2f}"))
    header = (
        "K",
        "N",
        "d",
        "of",
        "1 process",
        "1 process, 2 threads",
        "2 processes",
        "speed-up",
        "2 processes ÷ 2 threads",
    )
    text = TEXT.format(
        strong=table(header, strong),
        weak=table(("K", "N of a process", "d", "of", "1 process", "2 processes", "efficiency"), weak),
        messages=table(("K", "N", "d", "field evaluation", "Jacobian product", "inner product"), messages),
        extrapolation=extrapolation(Accelerator()),
        assumed=Accelerator(),
    )
    return Section("Several processes", text, page="scaling.md")


def extrapolation(a: Accelerator) -> str:
    """Seconds of an evaluation by the cost model, on 1, 8 and 64 GPUs."""
    rows = []
    for K, N, d in ((10, 60_000, 512), (100, 1_000_000, 512), (1000, 1_280_000, 2048)):
        times = []
        for processes, latency, bandwidth in a.links:
            work = max(6 * K * d * N / a.flops, 8 * (3 * d + 10 * K) * N / a.memory) / processes
            exchange = latency + 2 * 8 * K * d * (processes - 1) / processes / bandwidth  # a ring's share
            times.append(a.launches + work + exchange)
        shown = [seconds_text(seconds) for seconds in times]
        efficiency = [f"{times[0] / (seconds * n[0]):.2f}" for seconds, n in zip(times, a.links, strict=True)]
        rows.append((K, count(N), d, *shown, *efficiency[1:]))
    names = [f"{n} GPU{'s' * (n > 1)}" for n, *_ in a.links]
    return table(("K", "N", "d", *names, *(f"efficiency on {name}" for name in names[1:])), rows)


TEXT = """`torchrun --nproc-per-node 2 -m ulpm flow …` distributes one flow over processes. Each process holds its own
columns of H, and all processes hold W. With `--replicas`, each process runs a share of the replicas. Every second the
processes tell each other whether all continue. They combine their results for a checkpoint and at the end. `torchrun …
-m theory_experiments` distributes the random starts of an experiment, and then its negative controls. Each process
draws the whole start and has the whole result at the end.

**Cost model.** The table gives the costs on P processes, per process and replica, in numbers of 8 bytes:

| | operations | memory traffic, at least | messages |
|---|---|---|---|
| field evaluation | 6·K·d·N/P | (3·d·N + 10·K·N)/P | one sum of K·d + 1 |
| loss at the middle of a step, or in search of a record | 2·K·d·N/P | (d·N + 8·K·N)/P | one gather of 2 |
| Jacobian product | 12·K·d·N/P | (5·d·N + 10·K·N)/P | one sum of K·d + 1 |
| also, per iteration of conjugate gradients | 10·d·N/P | 11·d·N/P | two of 1 |
| also, per step | | | gather of 3, sum of 4; explicit: gather of 2; stiff: gather of 2, sums of K·d and 2 |
| also, per solve of a stage, at most | 23·d·N/P | 32·d·N/P | two gathers of 1, sum of 5 |
| record | | | sums and gathers of K·d, K·K and d·d |

No message depends on N. Each process scales its share of the gradient by the loss at the start of the step, which all
know. If log L changes by more than 40 within a step, as late in a run, an evaluation takes two messages: one gather of
2 (log L, margin), then one sum of K·d. Every process computes the same sums in the same order, and so takes the same
decisions.

Products and solves are those with whole vectors. One process alone solves with fewer numbers where d is large, as
[numerics.md](numerics.md) explains. Several processes that share samples do not.

**Messages.** The table gives the bytes that a process contributes to each message, counted on two processes:

{messages}

**Strong scaling.** The table gives medians of repeated calls in float64.

{strong}

**Weak scaling.** N grows with the number of processes. The efficiency is the ratio of the times.

{weak}

**Extrapolation.** This table is not a measurement. It uses the cost model for one evaluation. We assume
{assumed.flops:.0e} operations/s and {assumed.memory:.0e} bytes/s of memory for each GPU, and {assumed.launches:.0e} s
to start the kernels of an evaluation. A message takes 15 µs at 400 GB/s within 8 GPUs, and 40 µs at 50 GB/s among 64.

{extrapolation}
"""

if __name__ == "__main__":
    found = measure(*json.loads(sys.argv[1]))
    if found:
        sys.stdout.write(json.dumps(found) + "\n")
