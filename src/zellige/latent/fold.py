"""Several tokens in one position of a transformer, and back (Token-Shuffle, Ma et al., arXiv 2504.17789).

The embeddings of codes have few dimensions of content in a wide space. So those of a window are each cut down to a
share of the channels and laid side by side; behind the transformer the channels are dealt out again.
Legend: … positions, W tokens of a window, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zellige.core.errors import UsageError, nearest
from zellige.nn.mlp import MLP
from zellige.nn.norm import RMSNorm

FUSIONS = ("concat", "mean")


class ResidualMLP(nn.Module):
    """``x + mlp(norm(x))`` on C channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = RMSNorm(dim)
        self.mlp = MLP(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm(x))


class Shuffle(nn.Module):
    """The tokens of a window to one vector: each compressed to C / W channels, side by side, then mixed.

    Args:
        dim: C, a multiple of W.
        window: W.
        blocks: residual networks that mix them.
        fusion: ``concat``; or ``mean``, which averages whole embeddings instead, to compare with.
    """

    def __init__(self, dim: int, window: int, blocks: int, fusion: str = "concat") -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise nearest(fusion, list(FUSIONS), "fusion")
        concat = fusion == "concat"
        self.compress = nn.Linear(dim, _share(dim, window) if concat else dim)
        self.concat = concat
        self.blocks = nn.ModuleList(ResidualMLP(dim) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """(…, W, C) to (…, C)."""
        x = self.compress(x)
        x = x.flatten(-2) if self.concat else x.mean(-2)
        for block in self.blocks:
            x = block(x)
        return x


class Unshuffle(nn.Module):
    """One vector to those of the tokens of a window: mixed, dealt out, each expanded from C / W channels.

    Args:
        dim: C, a multiple of W.
        window: W.
        blocks: residual networks before they part.
    """

    def __init__(self, dim: int, window: int, blocks: int) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(ResidualMLP(dim) for _ in range(blocks))
        self.expand = nn.Linear(_share(dim, window), dim)

    def forward(self, x: Tensor) -> Tensor:
        """(…, C) to (…, W, C)."""
        for block in self.blocks:
            x = block(x)
        return self.expand(torch.stack(x.chunk(self.window, dim=-1), dim=-2))


def start_fold(module: nn.Module) -> None:
    """Weights of linear layers from N(0, 1/C) of their inputs, biases zero: what they pass on varies as much.

    With a deviation of 0.02 narrow windows fade before and after the transformer, and are learned far more slowly.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=part.in_features**-0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def _share(dim: int, window: int) -> int:
    if dim % window:
        raise UsageError(f"{dim} channels are no equal shares for the {window} tokens of a window; set dim")
    return dim // window
