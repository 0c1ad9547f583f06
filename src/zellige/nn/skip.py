"""A transformer with long skips, as a U-Net has (U-ViT, Bao et al., arXiv 2209.12152).

Legend: B samples, N tokens, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zellige.core.errors import UsageError
from zellige.nn.transformer import Block, TransformerConfig


class SkipTransformer(nn.Module):
    """Half of the blocks, one in the middle, and the other half, which see what the first half has put out as well.

    Args:
        config: ``depth`` is even and does not count the block in the middle.

    Attributes:
        checkpointing: as in `Transformer`.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        half, rest = divmod(config.depth, 2)
        if rest:
            raise UsageError(f"a transformer with long skips has an even number of blocks; got {config.depth}")
        self.checkpointing = False
        self.down = nn.ModuleList(Block(config) for _ in range(half))
        self.middle = Block(config)
        self.up = nn.ModuleList(Block(config) for _ in range(half))
        self.skips = nn.ModuleList(nn.Linear(2 * config.dim, config.dim) for _ in range(half))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to the same."""
        kept = []
        for block in self.down:
            x = self._run(block, x)
            kept.append(x)
        x = self._run(self.middle, x)
        for block, skip in zip(self.up, self.skips, strict=True):
            x = self._run(block, skip(torch.cat([x, kept.pop()], dim=-1)))
        return x

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(block, x, use_reentrant=False)
        return block(x)
