"""EfficientNet-Lite0: a small classifier whose features stand in where larger networks are not at hand.

Legend: B samples, C channels, H W positions.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

STEM = 32
LEVELS = (
    (16, 3, 1, 1, 1),
    (24, 3, 2, 2, 6),
    (40, 5, 2, 2, 6),
    (80, 3, 2, 3, 6),
    (112, 5, 1, 3, 6),
    (192, 5, 2, 4, 6),
    (320, 3, 1, 1, 6),
)
"""Channels, kernel, stride, blocks and expansion of each level."""
STAGES = (0, 2, 4, 10, 15)
"""Blocks whose outputs are features: the last one at each of the strides 2, 4, 8, 16 and 32."""


class SameConv(nn.Conv2d):
    """Convolution whose output is ⌈size / stride⌉; what is odd of the padding goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


def _conv(channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = SameConv(channels, out_channels, kernel, stride=stride, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out_channels, eps=1e-3)]


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to the input where sizes agree (arXiv:1801.04381)."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = channels * expansion
        expand = [*_conv(channels, width, 1), nn.ReLU6()] if expansion > 1 else []
        depthwise = [*_conv(width, width, kernel, stride, groups=width), nn.ReLU6()]
        self.layers = nn.Sequential(*expand, *depthwise, *_conv(width, out_channels, 1))
        self.residual = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class EfficientNetLite0(nn.Module):
    """The network of 4.7 M parameters, trained on ImageNet at 224 pixels (arXiv:1905.11946, Lite variant).

    In evaluation mode throughout. `forward` gives the maps at strides 2, 4, 8, 16 and 32, with
    16, 24, 40, 112 and 320 channels; `pooled` what stands before the classifier.
    """

    channels = tuple(LEVELS[i][0] for i in (0, 1, 2, 4, 6))

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(3, STEM, 3, 2), nn.ReLU6())
        blocks: list[nn.Module] = []
        channels = STEM
        for width, kernel, stride, count, expansion in LEVELS:
            for i in range(count):
                blocks.append(InvertedResidual(channels, width, kernel, stride if i == 0 else 1, expansion))
                channels = width
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Sequential(*_conv(channels, 1280, 1), nn.ReLU6())
        self.classifier = nn.Linear(1280, 1000)
        self.eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of images (B, 3, H, W) in [-1, 1], finest first."""
        x, found = self.stem(x), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in STAGES:
                found.append(x)
        return found

    def pooled(self, x: Tensor) -> Tensor:
        """One vector an image, (B, 1280): the mean over positions of the last map."""
        return self.head(self(x)[-1]).mean(dim=(2, 3))

    def logits(self, x: Tensor) -> Tensor:
        """ImageNet's 1,000 classes, (B, 1000)."""
        return self.classifier(self.pooled(x))


class EfficientNetLogits(nn.Module):
    """The class logits of an `EfficientNetLite0` as its only feature, (B, 1000)."""

    channels = (1000,)

    def __init__(self, network: EfficientNetLite0) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.network.logits(x)]
