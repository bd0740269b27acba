"""What a monitor costs beyond its forward passes, on the embedded images: ``python tests/benchmarks/monitoring.py``.

CPU time of one thread, of ``Monitor.measure`` and of the bare forward passes over the same batches, measured in turn.
The overhead is the difference of the least times as a share of the latter.
"""

import dataclasses
import time
from collections.abc import Callable

import torch
from torch import nn

import ulpm
from real_experiments.models import build_model

__all__ = ["Cost", "cost"]

NETWORKS = {
    "VGG-13, width 8": ("vgg13", 8),
    "ResNet18, width 8": ("resnet18", 8),
    "ResNet18, width 16": ("resnet18", 16),
}
BATCH = 100


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of the forward passes alone, and of a measurement with them."""

    forward: float
    measurement: float

    @property
    def overhead(self) -> float:
        """The share by which the measurement takes longer."""
        return self.measurement / self.forward - 1


def cost(model: nn.Module, repetitions: int, **options: object) -> Cost:
    """Of a monitor with these options on the 1,000 images, in batches of 100 in a random order."""
    images, labels = ulpm.fashion_mnist_sample()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order].float().reshape(-1, 1, 28, 28), labels[order]
    batches = list(zip(images.split(BATCH), labels.split(BATCH), strict=True))
    monitor = ulpm.Monitor(model, batches, **options)  # type: ignore[arg-type]

    def forward() -> None:
        model.eval()
        with torch.no_grad():
            for inputs, _ in batches:
                model(inputs)

    works: list[Callable[[], object]] = [forward, lambda: monitor.measure(0)]
    seconds: list[list[float]] = [[], []]
    for repetition in range(repetitions + 1):
        for times, work in zip(seconds, works, strict=True):
            start = time.process_time()
            work()
            if repetition:  # the first one warms up
                times.append(time.process_time() - start)
    return Cost(*map(min, seconds))


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    print("| network | forward passes | measurement | overhead |\n|---|---|---|---|")
    for name, (kind, width) in NETWORKS.items():
        for layers in (None, nn.ReLU):
            found = cost(build_model(kind, width=width), 7, layers=layers)
            what = name + ("" if layers is None else ", every ReLU")
            print(f"| {what} | {found.forward:.3f} s | {found.measurement:.3f} s | {found.overhead:.1%} |", flush=True)


if __name__ == "__main__":
    main()
