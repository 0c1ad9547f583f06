"""Blocks of vision transformers (arXiv 2010.11929), with the options of DINOv2 (arXiv 2304.07193).

Tensors have the names that timm and the official DINO files use (``blocks.N.attn.qkv.weight``).
Legend: B samples, T tokens, N patches, C channels, P pixels a side of a patch, H W pixels, h w patches.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.errors import UsageError
from zellige.nn.positions import resample_positions

EPSILON = 1e-6
"""Of layer norms, as in timm's vision transformers."""


class Attention(nn.Module):
    """Self-attention of all tokens, (B, T, C) to the same."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise UsageError(f"{channels} channels do not split into {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with GELU, exact or in its tanh form, four times as wide between them."""

    def __init__(self, channels: int, gelu: str = "none") -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate=self.gelu))


class LayerScale(nn.Module):
    """One learned factor a channel (arXiv 2103.17239), which starts at `start`."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class DropPath(nn.Module):
    """Leaves a branch out for a share `rate` of the samples, in training (stochastic depth, arXiv 1603.09382)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise UsageError(f"the share of dropped paths is in [0, 1); got {rate:g}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep.to(x.dtype) / (1 - self.rate)


class Block(nn.Module):
    """Attention and MLP, each of normalised tokens and added to its input.

    Args:
        channels: C.
        heads: of the attention.
        gelu: "none" (exact) or "tanh".
        layer_scale: where the factors of both branches start; None has none.
        drop_path: share of the samples for which a branch is left out in training.
        epsilon: of the layer norms.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        gelu: str = "none",
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        epsilon: float = EPSILON,
    ) -> None:
        super().__init__()

        def scale() -> nn.Module:
            return nn.Identity() if layer_scale is None else LayerScale(channels, layer_scale)

        self.norm1 = nn.LayerNorm(channels, eps=epsilon)
        self.attn = Attention(channels, heads)
        self.ls1 = scale()
        self.norm2 = nn.LayerNorm(channels, eps=epsilon)
        self.mlp = MLP(channels, gelu)
        self.ls2 = scale()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class PatchEmbed(nn.Module):
    """Patches of P × P pixels to vectors, (B, 3, H, W) to (B, N, C) row by row."""

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class ViTTrunk(nn.Module):
    """What encoders and decoders made of vision transformers share: class token, positions, blocks, final norm.

    Args:
        channels: C.
        depth: blocks.
        heads: of the attention.
        grid: patches a side that the table of positions is for.
        patch: pixels a side of a patch, for a trunk that sees images; None for one that sees tokens alone.
        layer_scale: where the factors of the blocks' branches start; None has none.
        drop_path: share of left-out branches in the last block; it grows linearly from 0 in the first.
        norm_first: a norm before the first block, as in CLIP (arXiv 2103.00020).
        epsilon: of the layer norms.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        heads: int,
        *,
        grid: int,
        patch: int | None,
        layer_scale: float | None,
        drop_path: float = 0.0,
        norm_first: bool = False,
        epsilon: float = EPSILON,
    ) -> None:
        super().__init__()
        self.grid, self.heads = grid, heads
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, channels))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + grid**2, channels))
        self.patch_embed = None if patch is None else PatchEmbed(channels, patch)
        rates = [drop_path * index / max(depth - 1, 1) for index in range(depth)]
        self.norm_first = nn.LayerNorm(channels, eps=epsilon) if norm_first else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(channels, heads, layer_scale=layer_scale, drop_path=rate, epsilon=epsilon) for rate in rates
        )
        self.norm = nn.LayerNorm(channels, eps=epsilon)

    def placed(self, x: Tensor, grid: int | None = None) -> Tensor:
        """The class token and tokens (B, grid², C), each with its position: (B, 1 + grid², C).

        The table is resampled for a `grid` other than its own.
        """
        table = self.pos_embed if grid is None else resample_positions(self.pos_embed, grid)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + table

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, T, C) through all blocks and the final norm."""
        x = self.norm_first(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


@torch.no_grad()
def start_even(trunk: ViTTrunk) -> None:
    """Draw the weights of attention, patches and places anew: inputs vary by 1, and attention tells places apart.

    Places of 0.02 are small beside patches and tokens, which so look much alike to attention; small networks then
    learn far more slowly (docs/studies.md, images as short sequences). Pixels are taken to be in [0, 1].
    """
    for table in (trunk.cls_token, trunk.pos_embed):
        nn.init.normal_(table)
    if trunk.patch_embed is not None:
        kernel, bias = trunk.patch_embed.proj.parameters()
        nn.init.normal_(kernel, std=2 / math.sqrt(kernel[0].numel()))
        bias.copy_(-kernel.sum((1, 2, 3)) / 2)  # grey is 0
    for attention in (part for part in trunk.modules() if isinstance(part, Attention)):
        channels = attention.proj.in_features
        for layer in (attention.qkv, attention.proj):
            nn.init.normal_(layer.weight, std=channels**-0.5)
        attention.qkv.weight[: 2 * channels] *= math.sqrt(3)  # scores vary by 3
    for name, weights in trunk.blocks.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(weights)


def resample_patches(kernel: Tensor, patch: int) -> Tensor:
    """A patch kernel (C, 3, p, p) for patches of another size, by pseudo-inverse (FlexiViT, arXiv 2212.08013).

    With R the bicubic, antialiased enlargement of patches, ⟨R x, w'⟩ = ⟨x, w⟩ for every patch x; where R shrinks,
    w' comes as near to that as it can.
    """
    old = kernel.shape[-1]
    if old == patch:
        return kernel
    basis = torch.eye(old**2).view(old**2, 1, old, old)
    resize = F.interpolate(basis, (patch, patch), mode="bicubic", antialias=True).flatten(1)  # (p², P²), rows R x
    return (kernel.float().flatten(2) @ torch.linalg.pinv(resize).T).unflatten(2, (patch, patch)).to(kernel.dtype)


def unpatchify(x: Tensor, grid: int, patch: int) -> Tensor:
    """(B, grid², P·P·3), pixels of a patch as (row, column, channel), to (B, 3, H, W)."""
    x = x.view(len(x), grid, grid, patch, patch, 3).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(len(x), 3, grid * patch, grid * patch)
