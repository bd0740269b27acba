"""The flow to a very late time on the device, compared with the same flow on the CPU."""

from collections.abc import Iterator

import torch
from gpu_part import Part, Row
from reach import QUICK_TARGET, TARGET, follow, largest_deviation
from report import Goal, Tell, count
from timing import Timing, repeat

import ulpm

# Seconds after which a run is not repeated.
PATIENCE = {"cpu": 0.1, "cuda": 20.0}


def measure(device: torch.device, tell: Tell) -> Iterator[Row | Goal]:
    """The CPU first, which is what the device is compared with."""
    case = QUICK_TARGET if device.type == "cpu" else TARGET
    tell(f"{case.sizes} to t = {case.horizon} on the CPU")
    timing, reference = repeat(lambda: follow(case), 1)
    yield row("the CPU", timing, reference, "", "")
    tell(f"{case.sizes} to t = {case.horizon} on {device}")
    timing, path = repeat(lambda: follow(case, device=str(device)), 3, PATIENCE[device.type])
    if not (path.finished and reference.finished):
        # There are not the same records to compare.
        yield row(str(device), timing, path, "–", "–")
        raise RuntimeError(f"a run did not reach the end: {path.status} (the CPU: {reference.status})")
    last, worst_last = largest_deviation(path, reference, slice(-1, None))
    anywhere, worst = largest_deviation(path, reference)
    yield row(str(device), timing, path, f"{last:.1e} (`{worst_last}`)", f"{anywhere:.1e} (`{worst}`)")
    claim = f"{case.sizes} to t = {case.horizon}: largest deviation of a final metric (`{worst_last}`) from the CPU"
    yield Goal.at_most(claim, 0.01, last, "{:.1e}".format)


def row(where: str, timing: Timing, path: ulpm.Trajectory, last: str, anywhere: str) -> Row:
    """A line of the table."""
    stats = path.stats
    return (
        where,
        "yes" if path.finished else f"**no**: {path.status}",
        timing,
        f"{count(stats['steps'])} ({stats['rejected_steps']})",
        count(stats["field_evaluations"]),
        count(stats["jacobian_products"]),
        f"{path.invariant_drift['balancedness'][-1]:.0e}",
        last,
        anywhere,
    )


PART = Part(
    f"{TARGET.sizes} to t = {TARGET.horizon}",
    f"""`ulpm.gradient_flow` from a random start at rtol {TARGET.rtol:.0e} in float64 with its default of 200 records. A
deviation is the largest relative difference of a metric from the run on the CPU, with the metric's name.""",
    (
        "where",
        "end reached",
        "time",
        "steps (rejected)",
        "field evaluations",
        "Jacobian products",
        "balancedness drift, end",
        "deviation, end",
        "deviation, any record",
    ),
    60,
    measure,
)
