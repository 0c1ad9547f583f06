"""The contract of all quantizers.

Legend: B samples, N positions, D dimensions of a latent, G sub-codebooks, K codes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from zellige.core.tokens import Layout

_LISTED = 2**20
"""Neighbours that are listed at once where one of each list is wanted."""


@dataclass
class Quantized:
    """A quantized batch.

    Attributes:
        z_q: (B, N, D) quantized latents, with the gradient path of the quantizer.
        ids: int64 (B, N) or (B, N, G).
        losses: weighted terms to add to the training loss.
        stats: detached scalars: ``usage``, ``perplexity``, ``entropy`` (bits) of this batch.
    """

    z_q: Tensor
    ids: Tensor | None
    losses: dict[str, Tensor] = field(default_factory=dict)
    stats: dict[str, Tensor] = field(default_factory=dict)


class Quantizer(nn.Module):
    """Latents (B, N, D) to ids and back.

    Distances and index arithmetic run in float32 or integers whatever autocast is active, so ids
    do not depend on it.

    Attributes:
        dim: D, channels of the latents it takes.
        codebook: size of each sub-codebook; empty for continuous ones.
    """

    dim: int
    codebook: tuple[int, ...]

    @property
    def input_dim(self) -> int:
        """Channels of the latents `forward` and `encode` take: D, or 2D where it predicts a variance too."""
        return self.dim

    @abstractmethod
    def forward(self, z: Tensor) -> Quantized:
        """Quantize with the training path: straight-through gradient, losses, statistics."""

    def quantize(self, z: Tensor) -> Quantized:
        """What calling the module gives, by the name of what it does."""
        quantized: Quantized = self(z)
        return quantized

    @abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """Ids of latents, nothing else computed: int64 (B, N) or (B, N, G)."""

    @abstractmethod
    def lookup(self, ids: Tensor) -> Tensor:
        """Vectors (B, N, D) of ids (B, N) or (B, N, G)."""

    @abstractmethod
    def neighbours(self, query: Tensor, k: int) -> Tensor:
        """The k nearest codes, nearest first.

        Args:
            query: latents, floating point (B, N, D), or ids, integer (B, N) or (B, N, G).
            k: neighbours a sub-codebook, 1 to K.

        Returns:
            int64 (B, N, k) or (B, N, G, k). For latents, entry 0 is what `encode` gives.
        """

    @torch.no_grad()
    def ranked(self, query: Tensor, ids: Tensor, rank: Tensor) -> Tensor:
        """One neighbour of every position: `neighbours(query, rank + 1)[..., rank]`, without the lists.

        Positions of rank 0 cost nothing. A quantizer whose positions or sub-codebooks depend on each other says
        here how; this serves those that quantize each position by itself, with one codebook.

        Args:
            query: latents, floating point (B, N, D), or `ids`.
            ids: what `encode` gives for the latents, int64 (B, N) or (B, N, G): the codes of rank 0.
            rank: int64, of the shape of `ids`, 0 to K − 1.

        Returns:
            int64, of the shape of `ids`.
        """
        return self._listed(query, ids, [rank])[0]

    def ranked_each(self, query: Tensor, ids: Tensor, ranks: Sequence[Tensor]) -> list[Tensor]:
        """`ranked` for several choices of ranks; where neighbours have to be listed, one list serves all of them."""
        if type(self).ranked is Quantizer.ranked:
            return self._listed(query, ids, ranks)
        return [self.ranked(query, ids, rank) for rank in ranks]

    @torch.no_grad()
    def _listed(self, query: Tensor, ids: Tensor, ranks: Sequence[Tensor]) -> list[Tensor]:
        flat, wanted = query.flatten(0, 1), torch.stack([rank.flatten() for rank in ranks], dim=1)
        found, farthest = ids.flatten()[:, None].repeat(1, len(ranks)), wanted.amax(1)
        order = farthest.argsort()
        order = order[farthest[order] > 0]
        rows = max(1, _LISTED // (1 + int(farthest.max()))) if len(order) else 1
        for some in order.split(rows) if len(order) else ():
            listed = self.neighbours(flat[some][None], 1 + int(farthest[some[-1]]))[0]
            found[some] = listed.gather(1, wanted[some])
        return [column.view(ids.shape) for column in found.unbind(1)]

    def layout(self, grid: tuple[int, ...]) -> Layout:
        """Layout of the ids of a latent grid; one block of the same shape unless said otherwise."""
        return (grid,)


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """`z_q` in value, with the gradient of `z` (Bengio et al., 2013)."""
    return z + (z_q - z).detach()


@torch.no_grad()
def usage_stats(counts: Tensor) -> dict[str, Tensor]:
    """`usage` (share of codes hit), `entropy` (bits) and `perplexity` (2^entropy) of counts (K,)."""
    p = counts.double() / counts.sum().clamp(min=1)
    entropy = -(p * p.clamp(min=1e-300).log2()).sum()
    return {"usage": (counts > 0).double().mean(), "entropy": entropy, "perplexity": 2**entropy}
