"""LPIPS: the learned perceptual distance of two images (arXiv:1801.03924, version 0.1).

Legend: B samples, L stages, C channels, H W positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zellige.nn.features.classic import Pyramid
from zellige.nn.precision import at_least_float32


class LPIPS(nn.Module):
    """Weighted squared distance between unit-normalised features: mean over positions, sum over stages.

    Training losses use VGG-16, reported figures AlexNet or VGG-16: say which.

    Args:
        backbone: `vgg16` or `alexnet`; its weights and ``heads`` come from a file.
    """

    def __init__(self, backbone: Pyramid) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ParameterList(torch.ones(channels) for channels in backbone.channels)

    def stages(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance at each stage, (B, L), of images (B, 3, H, W) in [-1, 1]."""
        pairs = zip(self.backbone(x), self.backbone(y), self.heads, strict=True)
        return torch.stack([self._distance(a, b, head) for a, b, head in pairs], dim=1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The distance of each pair, (B,), zero for equal images."""
        return self.stages(x, y).sum(dim=1)

    @staticmethod
    def _distance(a: Tensor, b: Tensor, head: Tensor) -> Tensor:
        difference = (unit_channels(a) - unit_channels(b)).square()
        return torch.einsum("bchw,c->bhw", difference, head).mean(dim=(1, 2))


def unit_channels(x: Tensor, eps: float = 1e-10) -> Tensor:
    """Feature maps (B, C, …) with the vector at each position scaled to length 1, at least in float32."""
    x = at_least_float32(x)
    # What stands under the root keeps the gradient of a zero vector at zero, where it would be NaN.
    return x / ((x.square().sum(dim=1, keepdim=True) + eps**2).sqrt() + eps)
