"""A data set as large as MNIST: whether the flow fits into memory, and how long it takes; in its own process."""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from report import Goal, Section, Tell, count, table
from timing import seconds_text

import ulpm


@dataclasses.dataclass(frozen=True)
class Setting:
    """A balanced problem, where to stop, the tolerance and the threads."""

    K: int
    N: int
    d: int
    log_time: float
    rtol: float
    threads: int
    records: int = 5


FULL = Setting(10, 60_000, 512, 50.0, 1e-4, os.cpu_count() or 1)
QUICK = Setting(10, 600, 16, 5.0, 1e-4, 1)
MOST_GIB = 16.0


def peak_gib() -> float:
    """The largest resident size of this process so far.

    Not getrusage where there is a choice: on Linux its figure is inherited from the program that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(fields["VmHWM"].split()[0]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def follow(setting: Setting) -> dict[str, object]:
    """The run, in this process."""
    torch.set_num_threads(setting.threads)
    problem = ulpm.Problem([setting.N // setting.K] * setting.K, setting.d)
    start = problem.random_state(seed=0)
    before = peak_gib()
    begin = time.perf_counter()
    path = ulpm.gradient_flow(problem, start, log_time=setting.log_time, rtol=setting.rtol, records=setting.records)
    seconds = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "before": before,
        "peak": peak_gib(),
        "finished": path.finished,
        "stats": dict(path.stats),
        "balancedness": float(path.invariant_drift["balancedness"].max()),
        "log_loss": float(path.log_loss[-1]),
    }


def run(quick: bool, tell: Tell) -> Section:
    """Start the process and report what it found."""
    setting = QUICK if quick else FULL
    tell(f"N = {count(setting.N)}, d = {setting.d}, K = {setting.K} to log t = {setting.log_time:g}")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(setting.threads))
    child = subprocess.run(
        [sys.executable, __file__, json.dumps(dataclasses.asdict(setting))],
        env={**os.environ, **threads},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result = json.loads(child.stdout)
    stats = result["stats"]
    state_gib = 8 * setting.d * (setting.N + setting.K) / 2**30
    rows = [
        ("status", "the end was reached" if result["finished"] else "the end was **not** reached"),
        ("time, one run", seconds_text(result["seconds"])),
        ("threads", setting.threads),
        ("steps (rejected)", f"{count(stats['steps'])} ({stats['rejected_steps']})"),
        (
            "field evaluations + Jacobian products",
            f"{count(stats['field_evaluations'])} + {count(stats['jacobian_products'])}",
        ),
        ("peak resident memory", f"{result['peak']:.3g} GiB"),
        ("of it before the run", f"{result['before']:.3g} GiB"),
        ("one state (W, H)", f"{state_gib:.3g} GiB"),
        ("(peak − before) ÷ state", f"{(result['peak'] - result['before']) / state_gib:.1f}"),
        ("largest balancedness drift", f"{result['balancedness']:.0e}"),
        ("log L at the end", f"{result['log_loss']:.4f}"),
    ]
    text = TEXT.format(**dataclasses.asdict(setting)) + table(("quantity", "value"), rows)
    what = f"K={setting.K} N={count(setting.N)} d={setting.d} to log t = {setting.log_time:g}: peak memory"
    peak = result["peak"] if result["finished"] else float("nan")
    goals = [Goal.at_most(what, MOST_GIB, peak, "{:.3g} GiB".format)]
    return Section("A large problem", text, goals)


TEXT = """This section runs K={K} N={N:,} d={d} once, from a random start to log t = {log_time:g} at rtol {rtol:.0e}
with {records} records. It runs in its own process, with the number of threads in the table. Memory is the largest
resident size of the process (`VmHWM`), with the interpreter and its libraries.

"""

if __name__ == "__main__":
    json.dump(follow(Setting(**json.loads(sys.argv[1]))), sys.stdout)
