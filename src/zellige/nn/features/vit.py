"""A plain vision transformer whose inner tokens are the features.

Tensors have the names that timm and the official DINO files use (``blocks.N.attn.qkv.weight``), so these files
load as they are. Legend: B samples, N patches, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.nn.vit import EPSILON, Block, PatchEmbed

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of pixels in [0, 1]."""


class ViTFeatures(nn.Module):
    """A vision transformer (arXiv:2010.11929); by default the ViT-S/16 of DINO (arXiv:2104.14294).

    The features are the patch tokens, each plus the class token, after the embedding and after the blocks
    `readouts`: maps (B, C, N). It sees squares of `size` pixels: of a larger image a random crop or the whole,
    reduced by area; a smaller one is enlarged bicubically.

    Args:
        channels: C.
        depth: blocks.
        heads: of the attention.
        patch: pixels a side of a patch.
        size: pixels a side of the images it was trained on.
        readouts: blocks whose tokens are features.
        crop_chance: how often a crop of a larger image is taken; drawn once a call.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int = 384,
        depth: int = 12,
        heads: int = 6,
        *,
        patch: int = 16,
        size: int = 224,
        readouts: tuple[int, ...] = (2, 5, 8, 11),
        crop_chance: float = 0.5,
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + (size // patch) ** 2, channels))
        self.patch_embed = PatchEmbed(channels, patch)
        self.blocks = nn.ModuleList(Block(channels, heads, gelu="tanh") for _ in range(depth))
        self.norm = nn.LayerNorm(channels, eps=EPSILON)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.size, self.readouts, self.crop_chance = size, readouts, crop_chance
        self.channels = (channels,) * (1 + len(readouts))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] to one (B, C, N) for the embedding and each of `readouts`."""
        x = ((self._fit(x) + 1) / 2 - self.mean) / self.std
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        found = [_readout(x)]
        for index, block in enumerate(self.blocks[: max(self.readouts) + 1]):
            x = block(x)
            if index in self.readouts:
                found.append(_readout(x))
        return found

    def _fit(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if (height, width) == (self.size, self.size):
            return x
        if min(height, width) <= self.size:
            return F.interpolate(x, (self.size, self.size), mode="bicubic")
        if float(torch.rand(())) < self.crop_chance:
            top, left = (int(torch.randint(side - self.size + 1, ())) for side in (height, width))
            return x[..., top : top + self.size, left : left + self.size]
        return F.interpolate(x, (self.size, self.size), mode="area")


def _readout(x: Tensor) -> Tensor:
    return (x[:, 1:] + x[:, :1]).transpose(1, 2)
