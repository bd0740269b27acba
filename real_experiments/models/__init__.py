"""The two networks of the experiments, initialised from a seed."""

import math

import torch
from torch import nn

from real_experiments.models.resnet18 import ResNet18
from real_experiments.models.vgg13 import VGG13

__all__ = ["MODELS", "VGG13", "ResNet18", "build_model"]

MODELS = ("resnet18", "vgg13")
_CLASSES: dict[str, type[ResNet18] | type[VGG13]] = {"resnet18": ResNet18, "vgg13": VGG13}


def build_model(
    name: str, num_classes: int = 10, channels: int = 1, width: int = 64, bias: bool = False, seed: int = 0
) -> ResNet18 | VGG13:
    """A network on the CPU: ``model(images)`` [B, K], ``model.features(images)`` [B, d], ``model.classifier``.

    ``classifier`` is the last linear layer, d = classifier.in_features = 8 ``width``; it has a bias only if ``bias``,
    so that its weight is the W of the layer-peeled model. ``width`` is the number of channels of the first layer, 64 in
    the published networks; ``channels`` that of the images.

    The initial weights depend on ``seed`` alone, and the global random numbers are left as they were: convolutions and
    classifier U(−1/√m, 1/√m) with m the number of inputs of a neuron, batch norm 1 and 0, the classifier's bias 0.
    Torch's defaults, but for that bias. Before batch norm the size of a weight has no effect but on its learning rate,
    which counts relative to ‖w‖²: with the larger He weights the same rate trains several times more slowly.

    Raises: ValueError for an unknown name or a size out of range; TypeError for sizes that are no integers.
    """
    if name not in MODELS:
        raise ValueError(f"there is no model {name!r}: choose one of {', '.join(MODELS)}.")
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
    # Layers draw from the global generator when they are made; what they drew is replaced below.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        model = _CLASSES[name](num_classes, channels, width, bias)
    _initialise(model, torch.Generator().manual_seed(seed))
    return model


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
