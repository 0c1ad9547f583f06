"""Token-Shuffle (Ma et al., arXiv 2504.17789): a next-token model with a window of tokens in each position.

    condition ─ prefix ┐
    windows 1 … S-1 ─ embed ─ shuffle ─┴─ causal transformer ─ unshuffle ─ head ─ windows 1 … S

The tokens of a window are drawn at once, independently given those before, so that s × s tokens cost one position and
one step. With s = 1 there is nothing to shuffle, and the model is a plain next-token one, that of LlamaGen with
rotary positions along one axis, prefix included, as language models have them.
Legend: B samples, L tokens, W = s² tokens of a window, S = L / W positions, K codes, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.condition import TextFeatures
from zellige.core.errors import UsageError
from zellige.core.noise import Noise
from zellige.core.tokens import Tokens, layout_size
from zellige.latent.fold import Shuffle, Unshuffle, start_fold
from zellige.losses.z_loss import z_loss
from zellige.nn.rope import rotary_table
from zellige.nn.scan import cell_order, inverse
from zellige.systems.llamagen import LlamaGen, LlamaGenConfig


@dataclass(frozen=True)
class TokenShuffleConfig(LlamaGenConfig):
    """A small one on the codes of a 256×256 image, conditioned on a class.

    Attributes:
        side: s, tokens a side of a window; 1 for none. It divides the sides of the grid.
        shuffle_blocks: residual networks that mix a window, before the transformer and after it.
        fusion: see `Shuffle`.
        z_loss: weight of the z-loss; the paper has 1e-5 for its largest grid.
        embedding_rank: channels that the embeddings of codes pass through, which is how the paper finds that they
            need few; 0 for embeddings of C channels as they are.
    """

    guidance: float = 7.5
    schedule: str = "half-linear"
    side: int = 2
    shuffle_blocks: int = 2
    fusion: str = "concat"
    z_loss: float = 0.0
    embedding_rank: int = 0


class TokenShuffle(LlamaGen):
    """Next-window prediction, windows in raster order: L / s² steps."""

    config_class: ClassVar[type] = TokenShuffleConfig
    system = "token-shuffle"
    config: TokenShuffleConfig
    order: Tensor

    def __init__(self, config: TokenShuffleConfig) -> None:
        super().__init__(config)
        window = self._window
        self.shuffle: Shuffle | None = None
        self.unshuffle: Unshuffle | None = None
        if window > 1:
            self.shuffle = Shuffle(config.dim, window, config.shuffle_blocks, config.fusion)
            self.unshuffle = Unshuffle(config.dim, window, config.shuffle_blocks)
            start_fold(self.shuffle)
            start_fold(self.unshuffle)
        rank = config.embedding_rank
        self.factors = _bottleneck(config.dim, rank) if rank else None
        block = config.layout[0]
        self.register_buffer("order", cell_order(block, [config.side] * len(block)), persistent=False)

    def logits(self, ids: Tensor, condition: Tensor | TextFeatures | None) -> Tensor:
        """Logits (B, L, K) of ids (B, L) in raster order, each given the windows before its own and the condition."""
        windows = ids[:, self.order].unflatten(1, (-1, self._window))
        return super().logits(windows, condition).flatten(1, 2)[:, inverse(self.order)]

    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        logits = self.logits(tokens.data, condition)
        losses = {"cross_entropy": F.cross_entropy(logits.flatten(0, 1).float(), tokens.data.flatten())}
        return {**losses, "z": self.config.z_loss * z_loss(logits)} if self.config.z_loss else losses

    def _sample(self, condition: Tensor | TextFeatures | None, noise: Noise, settings: LlamaGenConfig) -> Tensor:
        return super()._sample(condition, noise, settings).flatten(1)[:, inverse(self.order)]

    @property
    def _window(self) -> int:
        """W; for sequences, which have one axis, s."""
        return self.config.side ** len(self.config.layout[0])

    def _count(self) -> int:
        block, side = self.config.layout[0], self.config.side
        if side < 1 or any(length % side for length in block):
            shape = "×".join(map(str, block))
            raise UsageError(f"{shape} tokens do not divide into windows of {side} a side; set side=1, or a divisor")
        return layout_size(self.config.layout) // self._window

    def _embed(self, ids: Tensor) -> Tensor:
        """Ids (…, W) to (…, C)."""
        embedded = super()._embed(ids)
        if self.factors is not None:
            embedded = self.factors(embedded)
        return embedded.squeeze(-2) if self.shuffle is None else self.shuffle(embedded)

    def _unembed(self, x: Tensor) -> Tensor:
        """(…, C) to logits (…, W, K)."""
        return super()._unembed(x[..., None, :] if self.unshuffle is None else self.unshuffle(x))

    def _rotary(self) -> Tensor:
        return rotary_table(torch.arange(self.prefix + self.length), self.config.dim // self.config.heads)


def _bottleneck(dim: int, rank: int) -> nn.Sequential:
    """A linear map of C channels through fewer; at its start the variance stays as it was."""
    factors = nn.Linear(dim, rank, bias=False), nn.Linear(rank, dim, bias=False)
    made = nn.Sequential(*factors)
    start_fold(made)
    return made
