"""VGG-13 has the convolutions of the published one and a single linear layer."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from real_experiments.models import build_model

# The published VGG-13 with batch norm: 1,000 classes, images of 224×224, so that the first linear layer sees 7×7×512.
PUBLISHED = 133_053_736
HIDDEN_AND_LAST = (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
CHANNELS = [64, 64, 128, 128, 256, 256, 512, 512, 512, 512]


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_its_parameters_are_those_of_the_published_network_without_hidden_layers_and_biases() -> None:
    ours = PUBLISHED - HIDDEN_AND_LAST - sum(CHANNELS) + 512 * 10
    assert parameters(build_model("vgg13", num_classes=10, channels=3)) == ours
    by_layer = sum(9 * a * b + 2 * b for a, b in zip([3, *CHANNELS], CHANNELS, strict=False))
    assert ours == by_layer + 512 * 10 == 9_413_056
    assert parameters(build_model("vgg13", num_classes=10, channels=3, bias=True)) == ours + 10
    assert parameters(build_model("vgg13", num_classes=10, channels=1)) == ours - 2 * 9 * 64


def test_it_is_ten_convolutions_each_followed_by_batch_norm_and_a_pooling_after_every_second() -> None:
    model = build_model("vgg13", width=64)
    layers = [type(m) for m in model.modules() if not list(m.children())]
    convolution = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert layers == (convolution * 2 + [nn.MaxPool2d]) * 5 + [nn.Linear]
    assert [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)] == CHANNELS
    assert all(m.bias is None for m in model.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 28), (31, 20)])
def test_it_computes_what_its_layers_say_on_images_padded_with_zeros_around(height: int, width: int) -> None:
    model = build_model("vgg13", width=2).double()
    images = torch.randn(4, 1, height, width, dtype=torch.float64)
    top, left = (32 - height) // 2, (32 - width) // 2
    maps = torch.zeros(4, 1, 32, 32, dtype=torch.float64)
    maps[:, :, top : top + height, left : left + width] = images
    kernels = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    for layer, kernel in enumerate(kernels):
        maps = F.conv2d(maps, kernel, padding=1)
        maps = maps - maps.mean((0, 2, 3), keepdim=True)
        maps = (maps / (maps.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()).clamp(min=0)
        if layer % 2:
            maps = maps.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).amax((3, 5))
    assert maps.shape == (4, 16, 1, 1)
    torch.testing.assert_close(model.features(images), maps[:, :, 0, 0], rtol=1e-9, atol=1e-9)


def test_features_are_not_negative_and_logits_are_their_products_with_the_classifier() -> None:
    model = build_model("vgg13", channels=3, width=4)
    images = torch.randn(5, 3, 32, 32)
    features = model.features(images)
    assert features.shape == (5, 32)
    assert bool((features >= 0).all())
    torch.testing.assert_close(model(images), features @ model.classifier.weight.T)


@pytest.mark.usefixtures("unchecked")
def test_images_that_five_poolings_would_not_shrink_to_a_pixel_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 32×32 pixels, but these are 32×64"):
        build_model("vgg13", width=1)(torch.randn(2, 1, 32, 64))
