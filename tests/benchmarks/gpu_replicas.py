"""Many replicas of a small problem at once."""

import time
from collections.abc import Iterator, Sequence

import torch
from gpu_part import Part, Row
from report import Goal, Tell, count
from timing import seconds_text, when_done

import ulpm

K, n, d = 4, 5, 20
Runs = Sequence[tuple[int, float]]
"""Replicas, and log10 t of the end."""
FULL: Runs = ((1000, 1000.0), (100_000, 10.0), (100_000, 1000.0))
SMALL: Runs = ((3, 2.0), (20, 10.0))
RECORDS = 2


def measure(device: torch.device, tell: Tell) -> Iterator[Row | Goal]:
    """Run after run, from the shortest to the longest."""
    problem = ulpm.Problem([n] * K, d)
    for replicas, log10_time in SMALL if device.type == "cpu" else FULL:
        tell(f"{count(replicas)} replicas to t = 10^{log10_time:g}")
        start = problem.random_state(seed=0, replicas=replicas, device=str(device))

        def work(start: ulpm.State = start, log10_time: float = log10_time) -> ulpm.Trajectory:
            return ulpm.gradient_flow(problem, start, log10_time=log10_time, records=RECORDS)

        begin = time.perf_counter()
        path = when_done(work, device)()
        seconds = time.perf_counter() - begin
        reached = sum(status is ulpm.Status.LOG_TIME_REACHED for status in path.status)
        stats = path.stats
        yield (
            count(replicas),
            f"10^{log10_time:g}",
            count(reached),
            seconds_text(seconds),
            f"{replicas / seconds:,.0f}",
            count(stats["steps"] / replicas),
            count((stats["field_evaluations"] + stats["jacobian_products"]) / replicas),
        )
        claim = f"{count(replicas)} replicas to t = 10^{log10_time:g}: share that reaches the end"
        yield Goal.at_least(claim, 1.0, reached / replicas, "{:.4f}".format)


PART = Part(
    "Replicas",
    f"""K={K} n={n} d={d} from random starts at rtol 1e-6 in float64 with {RECORDS} records, one run each.""",
    ("replicas", "t", "reached the end", "time", "replicas a second", "steps a replica", "evaluations a replica"),
    100,
    measure,
)
