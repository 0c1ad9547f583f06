"""Vector quantization with a learned codebook.

Legend: B samples, N positions, D dimensions, K codes, M = B·N vectors.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.nn.precision import full_precision
from zellige.quantize.base import Quantized, Quantizer, straight_through
from zellige.quantize.codebook import Codebook
from zellige.quantize.entropy import soft_assignment_entropies
from zellige.quantize.stats import batch_stats


class VectorQuantizer(Quantizer):
    """The nearest of K codes (VQ-VAE, arXiv 1711.00937).

    Losses: `codebook` = w·mean (sg[z] − q)², `commitment` = β·mean (z − sg[q])², and, where weighted,
    `entropy` = w_e·(mean sample entropy − entropy of the mean) of the soft assignment. With `normalize`
    z is the vector scaled to length 1, here and in the straight-through output (arXiv 2110.04627).

    The codes are `embedding.weight` (K, D), which takes `quantize.embedding.weight` of released
    checkpoints; normalized ones may be stored at any length.

    Example:
        >>> quantizer = VectorQuantizer(dim=8, codes=1024, normalize=True)
        >>> quantizer(torch.randn(2, 16, 8)).ids.shape
        torch.Size([2, 16])
    """

    def __init__(
        self,
        dim: int,
        codes: int,
        *,
        normalize: bool = False,
        beta: float = 0.25,
        codebook_weight: float = 1.0,
        entropy_weight: float = 0.0,
        entropy_temperature: float = 0.01,
        decay: float | None = None,
        kmeans_start: bool = False,
        revive_below: float = 0.0,
        clustering: bool = False,
    ) -> None:
        """Quantizer with a random codebook.

        Args:
            dim: D.
            codes: K.
            normalize: compare directions, as `Codebook` says.
            beta: weight of the commitment loss.
            codebook_weight: weight of the codebook loss, which a moving average does without.
            entropy_weight: weight of the entropy loss; 0 leaves it out.
            entropy_temperature: of its softmax, above 0, in squared distance.
            decay: of a moving-average codebook, in [0, 1); None trains it by gradients.
            kmeans_start: start the codes at k-means centres of the first batches.
            revive_below: share of the mean use below which a code is replaced, in [0, 1).
            clustering: move little-used codes to the nearest vectors of each batch, as `Codebook` says.
        """
        super().__init__()
        if entropy_temperature <= 0:
            raise UsageError(f"entropy_temperature is above 0; got {entropy_temperature}")
        self.dim, self.codebook = dim, (codes,)
        self.beta, self.codebook_weight = beta, codebook_weight
        self.entropy_weight, self.entropy_temperature = entropy_weight, entropy_temperature
        self.embedding = Codebook(
            codes,
            dim,
            normalize=normalize,
            decay=decay,
            kmeans_start=kmeans_start,
            revive_below=revive_below,
            clustering=clustering,
        )

    @classmethod
    def ema(
        cls,
        dim: int,
        codes: int,
        *,
        decay: float = 0.99,
        normalize: bool = False,
        beta: float = 0.25,
        kmeans_start: bool = True,
        revive_below: float = 0.05,
    ) -> VectorQuantizer:
        """One whose codes are moving averages, started by k-means and kept alive. Arguments as above."""
        return cls(
            dim,
            codes,
            normalize=normalize,
            beta=beta,
            decay=decay,
            kmeans_start=kmeans_start,
            revive_below=revive_below,
        )

    def forward(self, z: Tensor) -> Quantized:
        with full_precision(z):
            vectors = self._vectors(z)
            rows = vectors.detach().flatten(0, 1)
            if self.training:
                self.embedding.prepare(rows)
            flat = self.embedding.nearest(rows)
            ids = flat.view(z.shape[:-1])
            codes = self.embedding.lookup(ids)
            if self.training:
                self.embedding.observe(rows, flat)
            losses = self._losses(vectors, codes)
            z_q = straight_through(vectors, codes)
        return Quantized(z_q.to(z.dtype), ids, losses, batch_stats(ids, self.codebook[0]))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        return self.embedding.nearest(self._vectors(z).flatten(0, 1)).view(z.shape[:-1])

    def lookup(self, ids: Tensor) -> Tensor:
        return self.embedding.lookup(ids)

    @torch.no_grad()
    def neighbours(self, query: Tensor, k: int) -> Tensor:
        if query.is_floating_point():
            ids, vectors = self.encode(query), self._vectors(query).flatten(0, 1)
            return self.embedding.nearest_k(vectors, ids.flatten(), k).view(*ids.shape, k)
        unique, where = query.unique(return_inverse=True)
        return self.embedding.nearest_k(self.lookup(unique), unique, k)[where]

    @torch.no_grad()
    def ranked(self, query: Tensor, ids: Tensor, rank: Tensor) -> Tensor:
        vectors = self._vectors(query) if query.is_floating_point() else self.lookup(query)
        return self.embedding.ranked(vectors.flatten(0, 1), ids.flatten(), rank.flatten()).view(ids.shape)

    def _vectors(self, z: Tensor) -> Tensor:
        if z.shape[-1] != self.dim:
            raise UsageError(f"this quantizer takes latents of {self.dim} dimensions, not {z.shape[-1]}")
        return self.embedding.project(z)

    def _losses(self, vectors: Tensor, codes: Tensor) -> dict[str, Tensor]:
        losses = {"commitment": self.beta * F.mse_loss(vectors, codes.detach())}
        if self.embedding.decay is None:
            losses["codebook"] = self.codebook_weight * F.mse_loss(codes, vectors.detach())
        if self.entropy_weight:
            table = self.embedding.project(self.embedding.weight)
            sample, batch = soft_assignment_entropies(vectors.flatten(0, 1), table, self.entropy_temperature)
            losses["entropy"] = self.entropy_weight * (sample - batch)
        return losses
