"""`QueryEncoder`: a vision transformer whose learned tokens, not its patches, become the latents.

    pixels ─ patches ─┐
       class token ───┼─ + positions ─ blocks ─ norm ─ the learned tokens' outputs
    learned tokens ───┘

So the number of latents is free of the number of patches (TiTok, arXiv 2406.07550; XQ-GAN, arXiv 2412.01762).
Legend: B samples, P branches, n learned tokens of a branch, N patches, C channels, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zellige.nn.positions import latent_side, level_table, resample_positions
from zellige.nn.vit import ViTTrunk


class QueryEncoder(nn.Module):
    """Pixels (B, 3, H, W) to latents (B, P·n, C), branch after branch.

    With shared positions the n learned tokens of a branch form a square that gets the positions of the patches,
    resampled, and a learned vector a level (patches, first branch, second branch, …) tells them apart. With own
    positions each learned token has its own, and no levels.

    Args:
        trunk: with a patch embedding.
        channels: C of the trunk.
        tokens: n; a square number with shared positions.
        branches: P, sets of tokens that are quantized apart.
        positions: one of `zellige.nn.positions.POSITIONS`.
    """

    def __init__(
        self, trunk: ViTTrunk, channels: int, *, tokens: int, branches: int = 1, positions: str = "shared"
    ) -> None:
        super().__init__()
        self.trunk, self.tokens, self.branches = trunk, tokens, branches
        self.latent_tokens = nn.Parameter(0.02 * torch.randn(1, branches * tokens, channels))
        self.side = latent_side(tokens, positions)
        if self.side is None:
            self.latent_positions = nn.Parameter(0.02 * torch.randn(1, branches * tokens, channels))
        else:
            self.levels = level_table(1 + branches, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.trunk.placed(self.trunk.patch_embed(x))  # type: ignore[misc]
        latents: Tensor = self.latent_tokens
        if self.side is None:
            latents = latents + self.latent_positions
        else:
            places = resample_positions(self.trunk.pos_embed, self.side)[:, 1:]
            latents = latents + places.repeat(1, self.branches, 1)
            levels = self.levels.weight
            x = x + levels[0]
            latents = latents + levels[1:].repeat_interleave(self.tokens, dim=0)
        x = self.trunk(torch.cat([x, latents.expand(len(x), -1, -1)], dim=1))
        return x[:, -latents.shape[1] :]
