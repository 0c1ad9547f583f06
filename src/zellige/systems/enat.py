"""ENAT (Ni et al., arXiv 2411.06959): masked generation that computes most for the tokens that have just been revealed.

    revealed before ─ project ────────────┬─► context ─┐
    revealed now ── encoder, 22 blocks ───┘            ├─ decoder, 2 blocks ─ masked ─ head ─ x
    masked ────────────────────────────────────────────┘

Tokens that are seen are encoded without the masked ones; these then read them in a few blocks. From step to step
features are reused: the encoder runs for new tokens alone, with the projected features of older ones as context.
Legend: B samples, L tokens, K codes, C channels; all samples of a batch have as many masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from zellige.core.condition import TextFeatures
from zellige.core.tokens import Tokens
from zellige.generate.masked import (
    Conditioned,
    MaskedConfig,
    MaskedGenerator,
    Unmasking,
    masked_cross_entropy,
    random_masks,
)
from zellige.nn.context import ContextBlock, put, split_by, take
from zellige.nn.mlp import MLP
from zellige.nn.modulation import ClassEmbedding, init_normal, width_std


@dataclass(frozen=True)
class ENATConfig(MaskedConfig):
    """ENAT-L on the codes of a 256×256 image.

    Attributes:
        dim: C.
        encoder_depth: blocks for tokens that are seen; ``decoder_depth`` for masked ones.
        heads: of attention.
        dropout: of the embedded tokens.
        ratios: a, b of the Beta distribution that training draws the share of masks from.
        reuse: share of the training steps with features of a pass that saw less.
    """

    class_dropout: float = 0.235
    guidance: float = 3.5
    schedule: str = "linear"
    temperature: float = 6.0
    choice_temperature: float = 1.5
    dim: int = 1024
    encoder_depth: int = 22
    decoder_depth: int = 2
    heads: int = 16
    dropout: float = 0.1
    ratios: tuple[float, float] = (12.0, 3.0)
    reuse: float = 0.5

    def unmasking(self) -> Unmasking:
        return Unmasking(self.steps, self.masking, self.choice_temperature, annealed=True, coldest=1e-3, progress=False)


class Features(NamedTuple):
    """What one pass hands to the next.

    Attributes:
        x: (B, L, C).
        masked: bool (B, L), where that pass has seen no token.
    """

    x: Tensor
    masked: Tensor


class ENAT(MaskedGenerator):
    """Masked tokens from the encoded features of those that are seen.

    Attributes:
        checkpointing: see `Transformer`.
    """

    config_class: ClassVar[type] = ENATConfig
    system = "enat"
    config: ENATConfig

    def __init__(self, config: ENATConfig) -> None:
        super().__init__(config)
        dim, self.checkpointing = config.dim, False
        self.embedding = nn.Embedding(self.codes + 1, dim)  # codes, then the mask
        self.positions = nn.Parameter(torch.zeros(self.length, dim))
        self.norm_in = nn.LayerNorm(dim, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)
        self.condition = ClassEmbedding(config.classes, dim, config.class_dropout)
        self.reuse_norm = nn.LayerNorm(dim, eps=1e-6)
        self.reuse_mlp = MLP(dim, 4 * dim, activation="gelu-tanh")
        self.encoder, self.decoder = (
            nn.ModuleList(ContextBlock(dim, config.heads, 4 * dim) for _ in range(depth))
            for depth in (config.encoder_depth, config.decoder_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-5)
        self.head = nn.Linear(dim, dim)
        self.head_norm = nn.LayerNorm(dim, eps=1e-5)
        self.bias = nn.Parameter(torch.zeros(self.codes + 1))
        std = width_std(dim, 1024)
        init_normal(self, std, truncated=True)
        nn.init.trunc_normal_(self.positions, std=std)

    def features(self, ids: Tensor, masked: Tensor, labels: Tensor, before: Features | None = None) -> Features:
        """One pass.

        Args:
            ids: (B, L); those under a mask mean nothing.
            masked: bool (B, L), as many in each sample, and in each sample no position that `before` has seen.
            labels: (B,), ``classes`` for no condition.
            before: of a pass that saw less; None encodes all that is seen.
        """
        rows = self.embedding(ids.masked_fill(masked, self.codes)) + self.positions
        x, condition = self.dropout(self.norm_in(rows)), self.condition(labels)
        known = torch.zeros_like(masked) if before is None else ~before.masked
        old, hidden = int(known[0].sum()), int(masked[0].sum())
        groups = torch.where(masked, 2, torch.where(known, 0, 1))
        positions = split_by(groups, (old, self.length - old - hidden, hidden))
        kept, new, under = (take(x, p) for p in positions)
        if before is not None:
            kept = take(before.x, positions[0]).detach()
            kept = kept + self.reuse_mlp(self.reuse_norm(kept))
        new = self._run(self.encoder, new, condition, kept if old else None)
        seen = torch.cat([kept, new], dim=1)
        under = self._run(self.decoder, under, condition, seen if seen.shape[1] else None)
        return Features(put((seen, under), (torch.cat(positions[:2], dim=1), positions[2])), masked)

    def logits(self, features: Features) -> Tensor:
        """Logits (B, L, K) of all positions."""
        x = self.head_norm(F.gelu(self.head(self.norm(features.x))))
        return F.linear(x, self.embedding.weight.detach(), self.bias)[..., : self.codes]

    def masks(self, count: int) -> Tensor:
        """The masks of a training step, bool (B, L): one share for all samples, positions drawn for each."""
        share = torch.distributions.Beta(*self.config.ratios).sample()
        number = min(max(1, round(float(share) * self.length)), max(1, self.length - 1))
        return random_masks(torch.full((count,), number, device=self.device), self.length)

    def hidden_more(self, masked: Tensor) -> Tensor:
        """Masks with a random share of the positions that are seen added, as many in each sample."""
        more = round(float(torch.rand(())) * int((~masked[0]).sum()))
        order = torch.rand(masked.shape, device=masked.device).masked_fill(masked, torch.inf).argsort(1).argsort(1)
        return masked | (order < more)

    def masked_loss(self, ids: Tensor, labels: Tensor, masked: Tensor, before: Tensor | None = None) -> Tensor:
        """Cross-entropy at the masks (B, L), with features of a pass that saw less, under the masks `before`."""
        features = None if before is None else self._look(ids, before, labels)
        logits = self.logits(self.features(ids, masked, labels, features))
        return masked_cross_entropy(logits, ids, masked, smoothing=self.config.label_smoothing)

    def _loss(self, tokens: Tokens, condition: Tensor | TextFeatures | None) -> dict[str, Tensor]:
        assert isinstance(condition, Tensor)
        masked = self.masks(len(tokens))
        before = self.hidden_more(masked) if float(torch.rand(())) < self.config.reuse else None
        return {"cross_entropy": self.masked_loss(tokens.data, condition, masked, before)}

    def predictor(self) -> Conditioned:
        features: Features | None = None

        def predict(ids: Tensor, masked: Tensor, labels: Tensor) -> Tensor:
            nonlocal features
            features = self.features(ids, masked, labels, features)
            return self.logits(features)

        return predict

    @torch.no_grad()
    def _look(self, ids: Tensor, masked: Tensor, labels: Tensor) -> Features:
        """A pass without gradient and without dropout."""
        training = self.training
        self.eval()
        try:
            return self.features(ids, masked, labels)
        finally:
            self.train(training)

    def _run(self, blocks: nn.ModuleList, x: Tensor, condition: Tensor, context: Tensor | None) -> Tensor:
        if not x.shape[1]:
            return x
        for block in blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, condition, context, use_reentrant=False)
            else:
                x = block(x, condition, context)
        return x
