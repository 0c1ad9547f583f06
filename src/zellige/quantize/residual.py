"""Residual quantization: each stage quantizes what the stages before it left over.

Legend: B samples, N positions, D dimensions, G stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from zellige.core.errors import UsageError
from zellige.nn.precision import full_precision
from zellige.quantize.base import Quantized, Quantizer, straight_through
from zellige.quantize.stats import mean_stats
from zellige.quantize.vq import VectorQuantizer


class ResidualQuantizer(Quantizer):
    """A sum of codes, one a stage: z_q = Σ_g q_g, r_0 = z, r_{g+1} = r_g − q_g (RQ-VAE, arXiv 2203.01941).

    Ids are (B, N, G), coarse to fine; losses and statistics are means over the stages.

    Example:
        >>> quantizer = ResidualQuantizer([VectorQuantizer(8, 256) for _ in range(4)])
        >>> quantizer.encode(torch.randn(2, 16, 8)).shape
        torch.Size([2, 16, 4])
    """

    def __init__(self, stages: Sequence[VectorQuantizer]) -> None:
        """`stages`: vector quantizers of equal dimension, not normalized: their codes must be able to shrink."""
        super().__init__()
        if not stages or len({stage.dim for stage in stages}) != 1:
            raise UsageError("a residual quantizer is made of one or more stages of the same dimension")
        if any(stage.embedding.normalize for stage in stages):
            raise UsageError("codes of length 1 cannot describe small residuals; set normalize to false")
        self.stages = nn.ModuleList(stages)
        self.dim = stages[0].dim
        self.codebook = tuple(stage.codebook[0] for stage in stages)

    def forward(self, z: Tensor) -> Quantized:
        with full_precision(z):
            residual = z.float()
            parts: list[Quantized] = []
            total = torch.zeros_like(residual)
            for stage in self._stages():
                part = stage(residual)
                parts.append(part)
                codes = part.z_q.detach()
                residual, total = residual - codes, total + codes
            z_q = straight_through(z.float(), total)
            losses = {name: torch.stack([part.losses[name] for part in parts]).mean() for name in parts[0].losses}
        ids = torch.stack([part.ids for part in parts if part.ids is not None], dim=-1)
        return Quantized(z_q.to(z.dtype), ids, losses, mean_stats([part.stats for part in parts]))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        return torch.stack([ids for _, _, ids in self._walk(z)], dim=-1)

    def lookup(self, ids: Tensor) -> Tensor:
        vectors = [stage.lookup(part) for stage, part in zip(self._stages(), ids.unbind(-1), strict=True)]
        return torch.stack(vectors).sum(0)

    @torch.no_grad()
    def neighbours(self, query: Tensor, k: int) -> Tensor:
        """As in the contract; each stage around its own residual, with the earlier stages at their best codes."""
        if query.is_floating_point():
            found = [stage.neighbours(residual, k) for stage, residual, _ in self._walk(query)]
        else:
            found = [stage.neighbours(ids, k) for stage, ids in zip(self._stages(), query.unbind(-1), strict=True)]
        return torch.stack(found, dim=-2)

    @torch.no_grad()
    def ranked(self, query: Tensor, ids: Tensor, rank: Tensor) -> Tensor:
        """As in the contract; each stage around its own residual, with the earlier stages at `ids`."""
        found: list[Tensor] = []
        residual = query
        for stage, own, wanted in zip(self._stages(), ids.unbind(-1), rank.unbind(-1), strict=True):
            found.append(stage.ranked(residual if query.is_floating_point() else own, own, wanted))
            if query.is_floating_point():
                residual = residual.float() - stage.lookup(own)
        return torch.stack(found, dim=-1)

    def _stages(self) -> Iterator[VectorQuantizer]:
        return (cast(VectorQuantizer, stage) for stage in self.stages)

    def _walk(self, z: Tensor) -> Iterator[tuple[VectorQuantizer, Tensor, Tensor]]:
        """Each stage with the residual it sees and the ids it gives."""
        residual = z.float()
        for stage in self._stages():
            ids = stage.encode(residual)
            yield stage, residual, ids
            residual = residual - stage.lookup(ids)
