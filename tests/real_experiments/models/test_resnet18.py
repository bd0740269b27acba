"""ResNet18 has the layers and the parameters of the published one, but for its stem."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from real_experiments.models import build_model
from real_experiments.models.resnet18 import BasicBlock, ResNet18

# The published ResNet18: 1,000 classes with biases, three channels, a stem of 7×7.
PUBLISHED = 11_689_512


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_its_parameters_are_those_of_the_published_network_with_a_smaller_stem_and_classifier() -> None:
    ours = PUBLISHED - (7 * 7 - 3 * 3) * 3 * 64 - (512 * 1000 + 1000) + 512 * 10
    assert parameters(build_model("resnet18", num_classes=10, channels=3)) == ours
    assert parameters(build_model("resnet18", num_classes=10, channels=3, bias=True)) == ours + 10 == 11_173_962
    assert parameters(build_model("resnet18", num_classes=10, channels=1)) == ours - 2 * 3 * 3 * 64
    assert parameters(build_model("resnet18", num_classes=4, channels=3)) == ours - 6 * 512


def test_the_number_of_parameters_is_quadratic_in_the_width() -> None:
    # Convolutions between layers grow with w², all else with w: a parabola through 0.
    at = {w: parameters(build_model("resnet18", channels=3, width=w)) for w in (4, 8, 12)}
    assert at[12] - 3 * at[8] + 3 * at[4] == 0


def test_it_has_seventeen_convolutions_of_three_by_three_and_three_shortcuts() -> None:
    model = build_model("resnet18", width=2)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [c.kernel_size for c in convolutions].count((3, 3)) == 17
    assert [c.kernel_size for c in convolutions].count((1, 1)) == 3
    assert all(c.bias is None for c in convolutions)
    assert sum(isinstance(m, nn.Linear) for m in model.modules()) == 1


@pytest.mark.parametrize(("side", "sides"), [(32, [32, 32, 16, 16, 8, 8, 4, 4]), (28, [28, 28, 14, 14, 7, 7, 4, 4])])
def test_each_stage_but_the_first_halves_the_image_and_doubles_the_channels(side: int, sides: list[int]) -> None:
    model = build_model("resnet18", width=2)
    seen: list[tuple[int, int, int]] = []
    for block in model.modules():
        if isinstance(block, BasicBlock):
            block.register_forward_hook(lambda block, args, output: seen.append(tuple(output.shape[1:])))
    model(torch.randn(2, 1, side, side))
    assert seen == [(c, s, s) for c, s in zip([2, 2, 4, 4, 8, 8, 16, 16], sides, strict=True)]


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 8, 2)])
def test_a_block_adds_what_two_convolutions_make_to_its_input(inputs: int, outputs: int, stride: int) -> None:
    torch.manual_seed(0)
    block = BasicBlock(inputs, outputs, stride).double()
    x = torch.randn(3, inputs, 6, 6, dtype=torch.float64)

    def normalised(y: torch.Tensor) -> torch.Tensor:
        return (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()

    hidden = normalised(F.conv2d(x, block.conv1.weight, stride=stride, padding=1)).clamp(min=0)
    change = normalised(F.conv2d(hidden, block.conv2.weight, padding=1))
    kept = x
    if stride == 2:
        assert isinstance(block.shortcut, nn.Sequential)
        kept = normalised(F.conv2d(x, block.shortcut[0].weight, stride=2))
    torch.testing.assert_close(block(x), (kept + change).clamp(min=0))


def test_features_are_means_of_non_negative_numbers_and_logits_their_products_with_the_classifier() -> None:
    model = build_model("resnet18", channels=3, width=4)
    images = torch.randn(5, 3, 32, 32)
    features = model.features(images)
    assert features.shape == (5, 32)
    assert bool((features >= 0).all())
    maps = model.stages(model.stem(images))
    assert maps.shape == (5, 32, 4, 4)
    torch.testing.assert_close(features, maps.flatten(2).sum(2) / 16)
    torch.testing.assert_close(model(images), features @ model.classifier.weight.T)


def test_it_can_be_made_by_its_class_as_well() -> None:
    assert ResNet18(num_classes=3, channels=2, width=1)(torch.randn(2, 2, 9, 12)).shape == (2, 3)
