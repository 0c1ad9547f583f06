"""`QueryDecoder`: a vision transformer that fills mask tokens, one a patch, from the latents beside them.

    mask tokens ─┐
    class token ─┼─ + positions ─ blocks ─ norm ─ the mask tokens' outputs ─ linear ─ pixels
        latents ─┘

Legend: B samples, n latents, N patches, C channels, P pixels a side of a patch, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zellige.nn.positions import latent_side, level_table
from zellige.nn.vit import ViTTrunk, unpatchify


class QueryDecoder(nn.Module):
    """Latents (B, n, C) to pixels (B, 3, H, W), or to one vector a patch (B, N, C).

    With shared positions the latents form a square with the positions of the patches, resampled, and come with the
    class token once more; a learned vector each tells the two halves of the sequence apart. With own positions
    there is neither.

    Args:
        trunk: without a patch embedding; its grid is that of the image.
        channels: C of the trunk.
        tokens: n; a square number with shared positions.
        patch: P; None gives the vectors, from which something else makes pixels.
        positions: as in `QueryEncoder`.
    """

    def __init__(
        self, trunk: ViTTrunk, channels: int, *, tokens: int, patch: int | None, positions: str = "shared"
    ) -> None:
        super().__init__()
        self.trunk, self.patch = trunk, patch
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, channels))
        self.side = latent_side(tokens, positions)
        if self.side is None:
            self.latent_positions = nn.Parameter(0.02 * torch.randn(1, tokens, channels))
        else:
            self.levels = level_table(2, channels)
        if patch is not None:
            self.to_pixels = nn.Linear(channels, 3 * patch**2)

    def forward(self, z: Tensor, beside: Tensor | None = None) -> Tensor:
        """`beside`: further vectors (B, T, C) that the patches may look at."""
        count = self.trunk.grid**2
        x = self.trunk.placed(self.mask_token.expand(len(z), count, -1))
        if self.side is None:
            z = z + self.latent_positions
        else:
            levels = self.levels.weight
            x, z = x + levels[0], self.trunk.placed(z, self.side) + levels[1]
        x = self.trunk(torch.cat([x, z] if beside is None else [x, z, beside], dim=1))[:, 1 : 1 + count]
        if self.patch is None:
            return x
        return unpatchify(self.to_pixels(x), self.trunk.grid, self.patch)
