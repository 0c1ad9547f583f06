"""Product quantization: the dimensions in groups, each with a quantizer of its own.

Legend: B samples, N positions, D dimensions, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zellige.core.errors import UsageError
from zellige.core.tokens import Layout
from zellige.quantize.base import Quantized, Quantizer
from zellige.quantize.multiscale import MultiScaleResidualQuantizer
from zellige.quantize.stats import mean_stats


class ProductQuantizer(Quantizer):
    """Quantizes consecutive slices of the dimensions independently (Jégou et al., 2011).

    Ids are (B, N, G); losses and statistics are means over the groups.

    Example:
        >>> quantizer = ProductQuantizer([VectorQuantizer(4, 256), VectorQuantizer(4, 256)])
        >>> quantizer.encode(torch.randn(2, 16, 8)).shape
        torch.Size([2, 16, 2])
    """

    def __init__(self, groups: Sequence[Quantizer]) -> None:
        """`groups`: one quantizer a slice, each with one discrete codebook; their dimensions add up to D."""
        super().__init__()
        if not groups or any(len(group.codebook) != 1 for group in groups):
            raise UsageError("a product quantizer is made of one or more quantizers with one discrete codebook each")
        self.groups = nn.ModuleList(groups)
        self.dims = [group.dim for group in groups]
        self.dim = sum(self.dims)
        self.codebook = tuple(group.codebook[0] for group in groups)

    def forward(self, z: Tensor) -> Quantized:
        parts = self._quantize(z)
        losses = {name: torch.stack([part.losses[name] for part in parts]).mean() for name in parts[0].losses}
        ids = torch.stack([part.ids for part in parts if part.ids is not None], dim=-1)
        return Quantized(
            torch.cat([part.z_q for part in parts], dim=-1), ids, losses, mean_stats([part.stats for part in parts])
        )

    def layout(self, grid: tuple[int, ...]) -> Layout:
        """That of the groups; `UsageError` if they differ."""
        layouts = {group.layout(grid) for group in self.groups}  # type: ignore[operator]
        if len(layouts) != 1:
            raise UsageError(f"the groups of a product quantizer give ids of different layouts: {sorted(layouts)}")
        return layouts.pop()

    def encode(self, z: Tensor) -> Tensor:
        return torch.stack([group.encode(part) for group, part in self._split(z)], dim=-1)

    def lookup(self, ids: Tensor) -> Tensor:
        return torch.cat([group.lookup(part) for group, part in self._split(ids)], dim=-1)

    def neighbours(self, query: Tensor, k: int) -> Tensor:
        return torch.stack([group.neighbours(part, k) for group, part in self._split(query)], dim=-2)

    def ranked(self, query: Tensor, ids: Tensor, rank: Tensor) -> Tensor:
        parts = zip(self._split(query), ids.unbind(-1), rank.unbind(-1), strict=True)
        return torch.stack([group.ranked(part, own, wanted) for (group, part), own, wanted in parts], dim=-1)

    def _quantize(self, z: Tensor) -> list[Quantized]:
        """Each slice by its group; a sample that keeps only some of its scales keeps them in all groups."""
        multiscale = [group for group in self.groups if isinstance(group, MultiScaleResidualQuantizer)]
        if len(multiscale) < len(self.groups):
            return [group(part) for group, part in self._split(z)]
        depths = multiscale[0].draw_depths(z)
        return [group(part, depths) for group, part in self._split(z)]

    def _split(self, x: Tensor) -> list[tuple[Quantizer, Tensor]]:
        """Each group with its slice of latents (B, N, D) or its ids of (B, N, G)."""
        if x.is_floating_point():
            if x.shape[-1] != self.dim:
                raise UsageError(f"this product quantizer takes latents of {self.dim} dimensions, not {x.shape[-1]}")
            parts = x.split(self.dims, dim=-1)
        else:
            parts = x.unbind(-1)
        return list(zip(self.groups, parts, strict=True))  # type: ignore[arg-type]
