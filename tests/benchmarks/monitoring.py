"""What a monitor costs beyond its forward passes, on the embedded images: ``python tests/benchmarks/monitoring.py``.

CPU time of one thread. The bare forward passes are those of the network. What comes on top is measured with a stand-in
that has the same features and the same classifier but no body, as the difference of a measurement and its bare forward
passes: a difference of two times of the network itself would be lost in the noise of a busy machine.
"""

import dataclasses
import time
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

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
    """Seconds of the forward passes alone, and of what a measurement adds to them."""

    forward: float
    added: float

    @property
    def overhead(self) -> float:
        """The share by which a measurement takes longer."""
        return self.added / self.forward


class StandIn(nn.Module):
    """The classifier of a network on features that are known."""

    def __init__(self, features: Float[Tensor, "N d"], head: nn.Module) -> None:
        super().__init__()
        self.features, self.head = features, head

    def forward(self, rows: Int[Tensor, " B"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.head(self.features[rows])
        return logits


def cost(model: nn.Module, repetitions: int) -> Cost:
    """Of a monitor of the 1,000 images, in batches of 100 in a random order."""
    images, labels = ulpm.fashion_mnist_sample()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order].float().reshape(-1, 1, 28, 28), labels[order]
    with ulpm.probe(model.eval()) as seen, torch.no_grad():
        features = []
        for part in images.split(BATCH):
            model(part)
            features.append(seen.features)
    head = dict(model.named_modules())[seen.name]
    stand_in = StandIn(torch.cat(features), head).eval()
    rows = torch.arange(len(labels)).split(BATCH)
    monitor = ulpm.Monitor(stand_in, list(zip(rows, labels.split(BATCH), strict=True)))
    measurement = _least(lambda: monitor.measure(0), 10 * repetitions)
    return Cost(
        _least(lambda: _pass(model, images.split(BATCH)), repetitions),
        measurement - _least(lambda: _pass(stand_in, rows), 10 * repetitions),
    )


@torch.no_grad()
def _pass(model: nn.Module, batches: tuple[Tensor, ...]) -> None:
    for inputs in batches:
        model(inputs)


def _least(work: Callable[[], object], repetitions: int) -> float:
    """Seconds of CPU time of the repetition that was disturbed least."""
    work()
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    print("| network | forward passes | added | share |\n|---|---|---|---|")
    for name, (kind, width) in NETWORKS.items():
        found = cost(build_model(kind, width=width), 7)
        print(f"| {name} | {found.forward:.3f} s | {found.added:.4f} s | {found.overhead:.1%} |", flush=True)


if __name__ == "__main__":
    main()
