"""VGG-13 with batch norm for small images: the ten convolutions of the published network and one linear layer."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from real_experiments.models.network import Network

SIDE = 32  # five poolings halve it to a single pixel
_STAGES = (1, 2, 4, 8, 8)  # channels in units of the width; two convolutions a stage, then a max-pooling


class VGG13(nn.Module):
    """Five stages of two 3×3 convolutions with batch norm and ReLU and a 2×2 max-pooling each, classifier.

    Shapes: images [B, C, H, W], H, W ≤ 32, zero-padded around to 32×32 (28×28 would leave nothing for the fifth
    pooling; in standardised images 0 is the mean); features [B, d], d = 8w, all ≥ 0; logits [B, K].
    Source: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015,
    configuration B, without its hidden linear layers and dropout.
    """

    def __init__(self, num_classes: int = 10, channels: int = 1, width: int = 64, bias: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for stage in _STAGES:
            for _ in range(2):
                # Batch norm subtracts the mean, so that a bias before it would do nothing.
                layers += [nn.Conv2d(inputs, stage * width, 3, padding=1, bias=False)]
                layers += [nn.BatchNorm2d(stage * width), nn.ReLU()]
                inputs = stage * width
            layers.append(nn.MaxPool2d(2))
        self.stages = nn.Sequential(*layers)
        self.classifier = nn.Linear(8 * width, num_classes, bias=bias)

    def features(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B d"]:
        """What the classifier sees. Raises: ValueError for images larger than 32×32."""
        height, width = images.shape[-2:]
        if max(height, width) > SIDE:
            raise ValueError(f"VGG-13 takes images of at most {SIDE}×{SIDE} pixels, but these are {height}×{width}.")
        down, across = SIDE - height, SIDE - width
        padded = F.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
        maps: Tensor = self.stages(padded)
        return maps.flatten(1)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.classifier(self.features(images))
        return logits


NETWORK = Network("vgg13", "VGG-13", VGG13)
