"""Binary quantization: every dimension one bit, its sign; 2^D codes without a codebook.

Legend: B samples, N positions, D dimensions, which are bits, M = B·N vectors.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.nn.precision import full_precision
from zellige.quantize.base import Quantized, Quantizer, straight_through
from zellige.quantize.entropy import binary_entropies
from zellige.quantize.signs import SignCodebook
from zellige.quantize.stats import batch_stats

_EXACT_BITS = 18
"""Most bits whose 2^D batch probabilities are computed in full unless groups are asked for."""
_GROUP_BITS = 9
"""Bits of a group beyond that, as BSQ takes them."""


class BinaryQuantizer(Quantizer):
    """The signs of a latent, as ±v in every dimension.

    Lookup-free (LFQ, arXiv 2310.05737): v = 1. Spherical (BSQ, arXiv 2406.07548): the latent is scaled to
    length 1 first and v = 1/√D, so that codes have length 1 too.

    Ids are little-endian: bit d weighs 2^d and is 1 where dimension d is positive.
    Losses: `commitment` = β·mean (z − sg[q])², and `entropy` = w·(sample entropy − γ·batch entropy) of the
    soft assignment softmax(−|z − c|²/temperature), in nats, which over signs is a product over bits with
    log-odds 4·v·z_d/temperature. See `binary_entropies` for the groups.

    Example:
        >>> quantizer = BinaryQuantizer.lookup_free(dim=10)
        >>> quantizer.encode(torch.ones(1, 2, 10))
        tensor([[1023, 1023]])
    """

    def __init__(
        self,
        dim: int,
        *,
        spherical: bool,
        beta: float,
        entropy_weight: float,
        diversity: float,
        temperature: float,
        entropy_group: int | None,
    ) -> None:
        """Quantizer of `dim` bits; `lookup_free` and `on_sphere` fill in the published weights.

        Args:
            dim: D, bits of a code, 1 to 62.
            spherical: BSQ if true, else LFQ.
            beta: weight of the commitment loss.
            entropy_weight: w; 0 leaves the entropy loss out.
            diversity: γ, weight of the batch entropy within the entropy loss.
            temperature: of the soft assignment, above 0, in squared distance.
            entropy_group: bits that share a batch entropy; None: all for D ≤ 18, else 9.
        """
        super().__init__()
        if temperature <= 0:
            raise UsageError(f"the temperature of the entropy loss is above 0; got {temperature}")
        group = entropy_group or (dim if dim <= _EXACT_BITS else _GROUP_BITS)
        if not 1 <= group <= 24:
            raise UsageError(f"the batch entropy lists 2^entropy_group codes; entropy_group is 1 to 24, not {group}")
        self.signs = SignCodebook(dim)
        self.dim, self.codebook = dim, (2**dim,)
        self.spherical, self.value = spherical, 1 / math.sqrt(dim) if spherical else 1.0
        self.beta, self.entropy_weight, self.diversity, self.temperature = beta, entropy_weight, diversity, temperature
        self.groups = [min(group, dim - start) for start in range(0, dim, group)]

    @classmethod
    def lookup_free(
        cls,
        dim: int,
        *,
        beta: float = 0.25,
        entropy_weight: float = 0.1,
        diversity: float = 1.0,
        temperature: float = 0.01,
        entropy_group: int | None = None,
    ) -> BinaryQuantizer:
        """LFQ. Arguments as above."""
        return cls(
            dim,
            spherical=False,
            beta=beta,
            entropy_weight=entropy_weight,
            diversity=diversity,
            temperature=temperature,
            entropy_group=entropy_group,
        )

    @classmethod
    def on_sphere(
        cls,
        dim: int,
        *,
        beta: float = 0.0,
        entropy_weight: float = 0.1,
        diversity: float = 1.0,
        temperature: float = 1.0,
        entropy_group: int | None = None,
    ) -> BinaryQuantizer:
        """BSQ, whose error is bounded and needs no commitment. Arguments as above."""
        return cls(
            dim,
            spherical=True,
            beta=beta,
            entropy_weight=entropy_weight,
            diversity=diversity,
            temperature=temperature,
            entropy_group=entropy_group,
        )

    def forward(self, z: Tensor) -> Quantized:
        with full_precision(z):
            vectors = self._vectors(z)
            ids = self.signs.nearest(vectors)
            codes = self.lookup(ids)
            losses = {}
            if self.beta:
                losses["commitment"] = self.beta * F.mse_loss(vectors, codes)
            if self.entropy_weight:
                logits = vectors.flatten(0, 1) * (4 * self.value / self.temperature)
                sample, batch = binary_entropies(logits, self.groups)
                losses["entropy"] = self.entropy_weight * (sample - self.diversity * batch)
            z_q = straight_through(vectors, codes)
        return Quantized(z_q.to(z.dtype), ids, losses, batch_stats(ids, self.codebook[0]))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        return self.signs.nearest(self._vectors(z))

    def lookup(self, ids: Tensor) -> Tensor:
        return self.signs.lookup(ids) * self.value

    @torch.no_grad()
    def neighbours(self, query: Tensor, k: int) -> Tensor:
        if query.is_floating_point():
            ids, vectors = self.encode(query), self._vectors(query)
        else:
            ids, vectors = query, self.lookup(query)
        return self.signs.nearest_k(vectors.flatten(0, -2), ids.flatten(), k).view(*ids.shape, k)

    def _vectors(self, z: Tensor) -> Tensor:
        if z.shape[-1] != self.dim:
            raise UsageError(f"this quantizer takes latents of {self.dim} dimensions, not {z.shape[-1]}")
        return F.normalize(z.float(), dim=-1) if self.spherical else z.float()
