"""A problem of the size of ImageNet: times and memory of an evaluation, and of steps where a flow fits."""

import dataclasses
import gc
import math
from collections.abc import Iterator

import torch
from evaluation import Size, drawn_state
from gpu_part import Part, Row
from large import peak_gib
from report import Tell, count
from stepping import hand_over, started
from timing import repeat, repeat_for, when_done

from ulpm.flow.memory import PlannedStart, available_bytes, predicted_bytes
from ulpm.flow.system import FlowSystem

FULL = Size(1000, 1_280_000, 2048)
SMALL = Size(10, 640, 16)
PRECISIONS = (torch.float32, torch.float64)
RTOL = 1e-4
EVALUATIONS = 5
EXPLICIT_STEPS = 3


def measure(device: torch.device, tell: Tell) -> Iterator[Row]:
    """Evaluations at the full size, and steps at the largest size that fits, in both precisions."""
    full = SMALL if device.type == "cpu" else FULL
    for dtype in PRECISIONS:
        for work in (evaluations, steps):
            free_memory(device)
            try:
                yield from work(full, device, dtype, tell)
            except torch.cuda.OutOfMemoryError:
                yield work.__name__, name_of(dtype), count(full.N), "**out of memory**", "", peak_text(device)


def evaluations(full: Size, device: torch.device, dtype: torch.dtype, tell: Tell) -> Iterator[Row]:
    """A field evaluation and a Jacobian product alone, which need less than a flow."""
    tell(f"evaluations, N = {count(full.N)} in {name_of(dtype)}")
    problem = full.problem
    with torch.inference_mode():
        system = FlowSystem(problem, device)
        y = system.layout.pack(drawn_state(problem, device, dtype))
        image = torch.empty_like(y)
        timing = repeat_for(when_done(lambda: system.rate(y, image), device), 0.0, EVALUATIONS)
        yield "field evaluation", name_of(dtype), count(full.N), timing, "", peak_text(device)
        linear = system.linearise(y)
        timing = repeat_for(when_done(lambda: linear.product(y, image), device), 0.0, EVALUATIONS)
        yield "Jacobian product", name_of(dtype), count(full.N), timing, "", peak_text(device)


def steps(full: Size, device: torch.device, dtype: torch.dtype, tell: Tell) -> Iterator[Row]:
    """Explicit steps and a stiff one of the largest flow whose predicted memory is free."""
    size = full
    while needed(size, device, dtype) > (free := bytes_free(device)):
        words = f"not run: {free / 2**30:.3g} GiB are free"
        yield "steps", name_of(dtype), count(size.N), words, f"{needed(size, device, dtype) / 2**30:.3g} GiB", ""
        if size.N // 2 < size.K:
            return
        size = dataclasses.replace(size, N=size.N // 2)
    predicted = f"{needed(size, device, dtype) / 2**30:.3g} GiB"
    tell(f"steps, N = {count(size.N)} in {name_of(dtype)}")
    problem = size.problem
    run = started(problem, drawn_state(problem, device, dtype), RTOL)
    with torch.inference_mode():
        step = when_done(run.step, device)
        step()
        timing, _ = repeat(step, EXPLICIT_STEPS, math.inf)
        yield "explicit step", name_of(dtype), count(size.N), timing, predicted, peak_text(device)
        hand_over(run)
        before = run.state.counts["jacobian_products"]
        timing, _ = repeat(step, 1)
        products = run.state.counts["jacobian_products"] - before
        what = f"stiff step with {count(products)} Jacobian products"
        yield what, name_of(dtype), count(size.N), timing, predicted, peak_text(device)


def needed(size: Size, device: torch.device, dtype: torch.dtype) -> int:
    """Bytes of a flow, with its start, which is there before the flow looks at what is free."""
    planned = PlannedStart(None, dtype, device)
    start = (size.K + size.N) * size.d * dtype.itemsize
    return predicted_bytes(size.problem, planned, 2, 0) + start


def bytes_free(device: torch.device) -> float:
    """Memory that is free; without end where the system does not say."""
    free = available_bytes(device)
    return math.inf if free is None else free


def free_memory(device: torch.device) -> None:
    """Give back what earlier measurements have left, and count the peak again."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # or, at the beginning, make the device known to the allocator
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_text(device: torch.device) -> str:
    """The peak: on a GPU of tensors since ``free_memory``, on the CPU of this process since its start."""
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else peak_gib()
    return f"{peak:.3g} GiB"


def name_of(dtype: torch.dtype) -> str:
    """float32 or float64."""
    return str(dtype).removeprefix("torch.")


PART = Part(
    f"A large problem: K={FULL.K} d={FULL.d}",
    f"""Up to N={FULL.N:,} samples from a random start. Evaluations run at the full size. Steps of a flow (rtol
{RTOL:.0e}) need some 20 vectors of the size of the state: where their predicted memory is not free, N is halved until
it is. The explicit step is the median of {EXPLICIT_STEPS} after one that does not count, the stiff step a single one
that follows. The peak is that of all tensors on the device, of the rows above in the same precision too.""",
    ("what", "precision", "N", "time", "predicted peak of a flow", "peak"),
    90,
    measure,
)
