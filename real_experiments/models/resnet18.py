"""ResNet18 for small images: a 3×3 stem of stride 1 and no max-pooling before the residual blocks."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from real_experiments.models.network import Network


class BasicBlock(nn.Module):
    """relu(x' + BN(conv(relu(BN(conv(x)))))), x' = x, or BN(1×1 conv(x)) where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C_out H_out W_out"]:
        hidden = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.shortcut(x) + self.bn2(self.conv2(hidden)))


class ResNet18(nn.Module):
    """Stem, four stages of two blocks with w, 2w, 4w, 8w channels, global average pooling, classifier.

    Shapes: images [B, C, H, W] of any size; features [B, d], d = 8w, all ≥ 0, since they are means of what a ReLU gave;
    logits [B, K].
    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015; the stem is that of their §4.2,
    for images of 32×32.
    """

    def __init__(self, num_classes: int = 10, channels: int = 1, width: int = 64, bias: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stages = nn.Sequential(
            *(BasicBlock(width, width, 1) for _ in range(2)),
            *(
                BasicBlock(inputs, 2 * width * 2**stage, stride)
                for stage in range(3)
                for inputs, stride in ((width * 2**stage, 2), (2 * width * 2**stage, 1))
            ),
        )
        self.classifier = nn.Linear(8 * width, num_classes, bias=bias)

    def features(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B d"]:
        """What the classifier sees."""
        maps: Tensor = self.stages(self.stem(images))
        return maps.mean((2, 3))

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.classifier(self.features(images))
        return logits


NETWORK = Network("resnet18", "ResNet18", ResNet18)
