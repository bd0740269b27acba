"""How many kernels a step launches, and how often it waits for the device, as the profiler counts them."""

import dataclasses
from collections.abc import Callable, Iterator

import torch
from evaluation import CPU
from gpu_part import Part, Row
from report import Goal, Tell
from stepping import go_to_stiff, started
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

import ulpm
from ulpm.flow.run import FlowRun

# Operations of torch that compute nothing: they make a tensor, or look at one in another way.
_MAKING = ("empty", "empty_like", "empty_strided", "resize_")
_LOOKING = (
    *("alias", "as_strided", "detach", "detach_", "expand", "lift_fresh", "narrow", "permute", "reshape", "select"),
    *("slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view"),
    *("_reshape_alias", "_unsafe_view", "resolve_conj", "resolve_neg", "result_type"),
    *("item", "is_nonzero", "_local_scalar_dense"),
)
_NO_KERNELS = frozenset(f"aten::{name}" for name in (*_MAKING, *_LOOKING))
_LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel")
_WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize")
_TO_HOST = "Memcpy DtoH"
_MOST_EXPLICIT_STEPS = 2000
_WARM_UP = 5
CALLS = 3


@dataclasses.dataclass(frozen=True)
class Counts:
    """Of one call, on average: kernels, waits of the host, and copies to it; the CPU has kernels alone."""

    kernels: float
    waits: float
    copies: float


def counted(work: Callable[[], object], calls: int, device: torch.device) -> Counts:
    """Count over so many calls. On the CPU, operations of torch that compute stand for kernels."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiler:
        for _ in range(calls):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    events = profiler.events()
    names = [event.name for event in events]
    if device.type == "cuda":
        kernels = sum(name.startswith(_LAUNCHES) for name in names)
    else:
        kernels = sum(computes(event) for event in events)
    if not kernels:
        raise RuntimeError("the profiler saw no kernel")
    waits = sum(name in _WAITS for name in names)
    copies = sum(event.name.startswith(_TO_HOST) for event in events if event.device_type is DeviceType.CUDA)
    return Counts(kernels / calls, waits / calls, copies / calls)


def computes(event: torch.autograd.profiler_util.FunctionEvent) -> bool:
    """Whether an operation of torch computes itself, rather than by others that it calls."""
    inner = any(child.name.startswith("aten::") and child.name not in _NO_KERNELS for child in event.cpu_children)
    return event.name.startswith("aten::") and event.name not in _NO_KERNELS and not inner


def measure(device: torch.device, tell: Tell) -> Iterator[Row | Goal]:
    """Explicit steps, stiff steps and a record of one flow, then batches of a training."""
    small = device.type == "cpu"
    K, n, d = (3, 4, 5) if small else (10, 50, 64)
    calls = 1 if small else CALLS
    problem = ulpm.Problem([n] * K, d)
    run = started(problem, problem.random_state(seed=0, device=str(device)), 1e-6)
    where = f"K={K} n={n} d={d}"
    with torch.inference_mode():
        for _ in range(_WARM_UP):
            run.step()
        tell("explicit steps")
        explicit = counted(run.step, calls, device)
        yield row("explicit step", where, explicit, device)
        if device.type == "cuda":
            claim = f"waits of an explicit step without records, {where}"
            yield Goal.at_most(claim, 1, explicit.waits, "{:.3g}".format)
        go_to_stiff(run, _MOST_EXPLICIT_STEPS)
        run.step()
        tell("stiff steps")
        before = run.state.counts["jacobian_products"]
        stiff = counted(run.step, calls, device)
        products = (run.state.counts["jacobian_products"] - before) / calls
        yield row(f"stiff step with {products:.0f} Jacobian products", where, stiff, device)
        tell("records")
        record(run)
        yield row("record", where, counted(lambda: record(run), calls, device), device)
    tell("training batches")
    yield from training(small, calls, device)


def record(run: FlowRun) -> None:
    """Measure the state that the run is in, as a record."""
    loop, state = run.loop, run.state
    known = {name: torch.zeros(1, dtype=torch.float64, device=CPU) for name in ("log_time", "log_loss", "margin")}
    row = torch.zeros(1, dtype=torch.int64, device=CPU)
    loop.recorder.record(state.records, row, row, loop.system.layout.unpack(state.cohort.y), known)


def training(small: bool, calls: int, device: torch.device) -> Iterator[Row]:
    """Batches of 128 images by the paper's recipe."""
    from real_experiments.recipe import Recipe
    from real_experiments.trainer import Trainer, repeatable_convolutions
    from ulpm.support import Shard

    size = {"width": 4, "subset": 40, "batch_size": 10} if small else {"width": 64}
    recipe = Recipe(model="resnet18", dataset="fashion-mnist-sample", **size)
    trainer = Trainer(recipe, recipe.load_data(device), Shard(device=device))
    with repeatable_convolutions(recipe.tf32):
        trainer.step()
        # Within an epoch: its beginning draws an order.
        yield row("training batch", f"ResNet18, width {recipe.width}", counted(trainer.step, calls, device), device)


def row(what: str, where: str, counts: Counts, device: torch.device) -> Row:
    """A line of the table; the CPU waits for nobody."""
    others = ("–", "–") if device.type == "cpu" else (f"{counts.waits:.3g}", f"{counts.copies:.3g}")
    return what, where, f"{counts.kernels:.4g}", *others


PART = Part(
    "Launches and waits",
    f"""Means over {CALLS} calls, from `torch.profiler`: kernels that are launched, waits of the host for the device
(`cudaStreamSynchronize` and `cudaEventSynchronize`), and copies from the device to the host. A copy that is not
asynchronous waits, in either direction. A rehearsal on the CPU counts the operations of torch that compute, those that
a GPU would leave to the host among them.""",
    ("of one", "size", "kernels", "waits", "copies to the host"),
    45,
    measure,
)
