"""The networks of the experiments, each in a file of its own, initialised from a seed."""

import math
from importlib import import_module

import torch
from torch import nn

from real_experiments.choices import by_name, chosen
from real_experiments.models.network import Network

__all__ = ["NETWORKS", "build_model", "find_network"]

# A line a network: the file of this folder that has its NETWORK.
_FILES = (
    "resnet18",
    "vgg13",
)
NETWORKS: dict[str, Network] = by_name(import_module(f"{__name__}.{file}").NETWORK for file in _FILES)


def find_network(name: str) -> Network:
    """The network called ``name``. Raises: ValueError if there is none."""
    return chosen(NETWORKS, "model", name)


def build_model(
    name: str, num_classes: int = 10, channels: int = 1, width: int = 64, bias: bool = False, seed: int = 0
) -> nn.Module:
    """A network on the CPU: ``model(images)`` [B, K], and ``model.classifier``, its last linear layer.

    The classifier has a bias only if ``bias``, so that its weight is the W of the layer-peeled model. ``width`` is the
    number of channels of the first layer, 64 in the published networks; ``channels`` that of the images. ResNet18 and
    VGG-13 have d = classifier.in_features = 8 ``width``, and ``model.features(images)`` [B, d].

    The initial weights depend on ``seed`` alone, and the global random numbers are left as they were: convolutions and
    classifier U(−1/√m, 1/√m) with m the number of inputs of a neuron, batch norm 1 and 0, biases 0.
    Torch's defaults, but for the biases. Before batch norm the size of a weight has no effect but on its learning rate,
    which counts relative to ‖w‖²: with the larger He weights the same rate trains several times more slowly. Layers of
    other kinds start as they start themselves.

    Raises: ValueError for an unknown name or a size out of range; TypeError for sizes that are no integers, or a
    network without such a classifier.
    """
    network = find_network(name)
    for what, value, minimum in (
        ("num_classes", num_classes, 2),
        ("channels", channels, 1),
        ("width", width, 1),
        ("seed", seed, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{what} must be an integer, but {value!r} was given.")
        if not minimum <= value < 2**63:
            raise ValueError(f"{what} must be at least {minimum} and below 2^63, but {value} was given.")
    # Layers draw from the global generator when they are made. It is seeded for those that keep what they drew.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        model = network.build(num_classes, channels, width, bias)
    _require_classifier(model, name, num_classes, bias)
    _initialise(model, torch.Generator().manual_seed(seed))
    return model


def _require_classifier(model: nn.Module, name: str, num_classes: int, bias: bool) -> None:
    """Raise TypeError if W and b could not be found in ``model``, or have another shape."""
    last = next((module for module in reversed([*model.modules()]) if isinstance(module, nn.Linear)), None)
    fits = last is not None and last.out_features == num_classes and (last.bias is not None) == bias
    if not fits or getattr(model, "classifier", None) is not last:
        raise TypeError(
            f"the last torch.nn.Linear of {name} must be its attribute classifier, with {num_classes} outputs and "
            f"{'a' if bias else 'no'} bias."
        )


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
