"""Multi-scale residual quantization: an image as token maps from coarse to fine.

Legend: B samples, N = h·w positions of the finest scale, D dimensions, K codes, L tokens of all scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zellige.core.errors import UsageError, nearest
from zellige.core.tokens import Layout
from zellige.nn.conv import to_sequence
from zellige.nn.precision import full_precision
from zellige.quantize.base import Quantized, Quantizer, straight_through
from zellige.quantize.codebook import Codebook
from zellige.quantize.entropy import binary_entropies
from zellige.quantize.signs import SignCodebook
from zellige.quantize.stats import batch_stats

SEARCHES = ("distance", "cosine", "sign")


class MultiScaleResidualQuantizer(Quantizer):
    """Residual quantization over scales with one codebook (VAR, arXiv 2404.02905).

    With f̂ = 0, for each scale s: the residual f − f̂ is averaged down to s, every position takes its
    nearest code, the code map is enlarged (bicubic) and blended, h' = (1 − ρ)·h + ρ·conv(h), and f̂ += h'.
    A few 3×3 convolutions serve all scales, each scale the one whose tick on [0, 1] is nearest.

    The nearest code is that of smallest distance; or of largest cosine, taken as long as it is; or the signs of
    the residual, ±1/√D each, with latents f scaled to length 1 (XQ-GAN, arXiv 2412.01762).

    Latents are (B, N, D) on the finest scale, row by row; ids are (B, L), scale after scale, and their
    layout is `scales`. Losses, means over the scales: `codebook` = w·mean (f̂_s − sg[f])², `commitment` =
    β·mean (sg[f̂_s] − f)², and, for signs, `entropy` as in `BinaryQuantizer`, with independent bits, of what
    each scale is given.

    With `dropout`, in training the first ⌊B·dropout⌋ samples keep a random number of their scales; f̂ and losses
    are of the scales kept.

    Parameters: `embedding.weight` (K, D), `blends.{j}.weight` and `.bias`. Signs have `values` (S,) instead of
    the former: what a sign is worth at each scale.

    Example:
        >>> quantizer = MultiScaleResidualQuantizer(dim=8, codes=256, scales=[1, 2, 4])
        >>> quantizer.encode(torch.randn(2, 16, 8)).shape
        torch.Size([2, 21])
    """

    embedding: Codebook | SignCodebook
    values: Tensor | None

    def __init__(
        self,
        dim: int,
        codes: int,
        *,
        scales: Sequence[int | Sequence[int]],
        search: str = "distance",
        beta: float = 0.25,
        codebook_weight: float = 1.0,
        entropy_weight: float = 0.0,
        blends: int = 4,
        blend_ratio: float = 0.5,
        dropout: float = 0.0,
        least_scales: int = 1,
    ) -> None:
        """Quantizer with a random codebook and blends.

        Args:
            dim: D.
            codes: K; 2^D for signs.
            scales: sides of the maps, one number a square map or (height, width), coarse to fine.
            search: one of `SEARCHES`.
            beta: weight of the commitment loss.
            codebook_weight: weight of the codebook loss.
            entropy_weight: weight of the entropy loss, which only signs have.
            blends: convolutions shared by the scales, at least 1.
            blend_ratio: ρ, in [0, 1].
            dropout: share of the samples that keep some of their scales, in [0, 1).
            least_scales: how many they keep at least.
        """
        super().__init__()
        sides = [(side, side) if isinstance(side, int) else tuple(side) for side in scales]
        if not sides or any(len(side) != 2 or min(side) < 1 for side in sides):
            raise UsageError(f"scales are sides of at least 1, or (height, width) pairs; got {list(scales)}")
        if blends < 1 or not 0 <= blend_ratio <= 1:
            raise UsageError(f"blends is at least 1 and blend_ratio in [0, 1]; got {blends} and {blend_ratio}")
        if not 0 <= dropout < 1 or not 1 <= least_scales <= len(sides):
            raise UsageError(
                f"dropout is in [0, 1) and least_scales 1 to {len(sides)}; got {dropout:g} and {least_scales}"
            )
        if search not in SEARCHES:
            raise nearest(search, list(SEARCHES), "search of a multi-scale quantizer")
        signs = search == "sign"
        if signs and codes != 2**dim:
            raise UsageError(f"signs in {dim} dimensions are {2**dim} codes, not {codes}")
        if entropy_weight and not signs:
            raise UsageError("only signs have an entropy loss over scales; set search to 'sign'")
        self.dim, self.codebook = dim, (codes,)
        self.scales: Layout = tuple(sides)
        self.beta, self.codebook_weight, self.entropy_weight = beta, codebook_weight, entropy_weight
        self.search, self.blend_ratio, self.dropout, self.least_scales = search, blend_ratio, dropout, least_scales
        cosine = search == "cosine"
        self.embedding = SignCodebook(dim) if signs else Codebook(codes, dim, normalize=cosine, keep_length=cosine)
        self.register_buffer("values", torch.full((len(sides),), dim**-0.5) if signs else None)
        self.blends = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in range(blends))
        self.blend_of_scale = nearest_ticks(len(sides), blends)
        for index, blend in enumerate(self.blends):  # with few scales some serve none, and get no gradient
            blend.requires_grad_(index in self.blend_of_scale)

    def layout(self, grid: tuple[int, ...]) -> Layout:
        """The scales. Raises `UsageError` unless `grid` is the finest of them."""
        if tuple(grid) != self.scales[-1]:
            raise UsageError(f"scales {self.scales} tokenize a grid of {self.scales[-1]}, not {tuple(grid)}")
        return self.scales

    def draw_depths(self, z: Tensor) -> Tensor | None:
        """How many scales each sample of (B, N, D) keeps, int64 (B,); None where all keep all."""
        dropped = int(len(z) * self.dropout) if self.training else 0
        if dropped == 0:
            return None
        depths = torch.full((len(z),), len(self.scales), device=z.device)
        depths[:dropped] = torch.randint(self.least_scales, len(self.scales) + 1, (dropped,), device=z.device)
        return depths

    def forward(self, z: Tensor, depths: Tensor | None = None) -> Quantized:
        """As in the contract. `depths`: scales that each sample keeps, int64 (B,); None draws them."""
        depths = self.draw_depths(z) if depths is None else depths
        with full_precision(z):
            f = self._grid(z)
            rounds = list(self._scan(f.detach()))
            ids = torch.cat([ids for _, ids, _ in rounds], dim=1)
            sums = [total for _, _, total in rounds]
            losses = self._losses(f, sums, depths)
            last = sums[-1] if depths is None else torch.stack(sums)[depths - 1, torch.arange(len(f), device=f.device)]
            z_q = straight_through(to_sequence(f), to_sequence(last))
        return Quantized(z_q.to(z.dtype), ids, losses, batch_stats(ids, self.codebook[0]))

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        return torch.cat([ids for _, ids, _ in self._scan(self._grid(z))], dim=1)

    def lookup(self, ids: Tensor) -> Tensor:
        return self.partial_sums(ids)[-1]

    def partial_sums(self, ids: Tensor) -> list[Tensor]:
        """f̂ (B, N, D) after each scale: the image as far as the scales up to it tell."""
        maps = ids.split([height * width for height, width in self.scales], dim=1)
        return [to_sequence(total) for total in accumulate(map(self.contribution, maps, range(len(maps))))]

    @torch.no_grad()
    def neighbours(self, query: Tensor, k: int) -> Tensor:
        """As in the contract; each scale around its own residual, with the earlier scales at their best codes."""
        if not query.is_floating_point():
            vectors, ids = self.embedding.project(self.embedding.lookup(query)).flatten(0, 1), query
            return self.embedding.nearest_k(vectors, ids.flatten(), k).view(*ids.shape, k)
        found = []
        for residual, ids, _ in self._scan(self._grid(query)):
            found.append(self.embedding.nearest_k(residual, ids.flatten(), k).view(*ids.shape, k))
        return torch.cat(found, dim=1)

    @torch.no_grad()
    def ranked(self, query: Tensor, ids: Tensor, rank: Tensor) -> Tensor:
        """As in the contract; each scale around its own residual, with the earlier scales at `ids`."""
        if query.is_floating_point():
            vectors = torch.cat(
                [part.unflatten(0, (len(ids), -1)) for part, _, _ in self._scan(self._grid(query), ids)], 1
            )
        else:
            vectors = self.embedding.project(self.embedding.lookup(query))
        return self.embedding.ranked(vectors.flatten(0, 1), ids.flatten(), rank.flatten()).view(ids.shape)

    def _scan(self, f: Tensor, given: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For each scale: the residual vectors as compared (B·n, D), their ids (B, n), and f̂ (B, D, h, w) with them.

        The ids are those of the nearest codes, or `given` (B, L).
        """
        total = torch.zeros_like(f)
        maps = None if given is None else given.split([height * width for height, width in self.scales], dim=1)
        with full_precision(f):
            for index, scale in enumerate(self.scales):
                residual = to_sequence(F.interpolate(f - total.detach(), scale, mode="area")).flatten(0, 1)
                residual = self.embedding.project(residual if self.values is None else residual * self.values[index])
                ids = self.embedding.nearest(residual).view(len(f), -1) if maps is None else maps[index]
                total = total + self.contribution(ids, index)
                yield residual, ids, total

    def _losses(self, f: Tensor, sums: list[Tensor], depths: Tensor | None) -> dict[str, Tensor]:
        """Means over the scales, each over the samples that keep it, of f and the sums f̂_s (B, D, h, w)."""
        terms: dict[str, list[Tensor]] = {"commitment": []}
        before = torch.zeros_like(f)
        for index, total in enumerate(sums):
            kept = slice(None) if depths is None else depths > index
            terms["commitment"].append(self.beta * F.mse_loss(f[kept], total[kept].detach()))
            if self.codebook_weight:
                codebook = self.codebook_weight * F.mse_loss(total[kept], f[kept].detach())
                terms.setdefault("codebook", []).append(codebook)
            if self.values is not None and self.entropy_weight:
                logits = 4 * self.values[index] * to_sequence(f - before)[kept].flatten(0, 1)
                sample, batch = binary_entropies(logits, [1] * self.dim)
                terms.setdefault("entropy", []).append(self.entropy_weight * (sample - batch))
            before = total.detach()
        return {name: torch.stack(values).mean() for name, values in terms.items()}

    def contribution(self, ids: Tensor, index: int) -> Tensor:
        """What the codes (B, n) of scale `index` add to f̂: float32 (B, D, h, w)."""
        blend = self.blends[self.blend_of_scale[index]]
        with full_precision(ids):
            codes = self.embedding.lookup(ids).transpose(1, 2).unflatten(2, self.scales[index])
            codes = codes if self.values is None else codes * self.values[index]
            if self.scales[index] != self.scales[-1]:
                codes = F.interpolate(codes, self.scales[-1], mode="bicubic")
            return torch.lerp(codes, blend(codes.to(blend.weight.dtype)).float(), self.blend_ratio)

    def _grid(self, z: Tensor) -> Tensor:
        height, width = self.scales[-1]
        if tuple(z.shape[1:]) != (height * width, self.dim):
            raise UsageError(
                f"scales up to {height}×{width} take latents (B, {height * width}, {self.dim}), not {tuple(z.shape)}"
            )
        z = z.float() if self.values is None else F.normalize(z.float(), dim=-1)
        return z.transpose(1, 2).unflatten(2, (height, width))


def nearest_ticks(scales: int, ticks: int) -> list[int]:
    """For each of `scales` even steps on [0, 1], the nearest of `ticks` even ticks inside it.

    Ticks keep 1/(3·ticks) off the ends when there are four, else 1/(2·ticks). Two of ten scales lie midway
    between two of four ticks, so this is float arithmetic of numpy, as in the released code, whose
    rounding decides them: 0, 0, 1, 1, 1, 2, 2, 3, 3, 3.
    """
    margin = 1 / 3 / ticks if ticks == 4 else 1 / 2 / ticks
    places = np.linspace(margin, 1 - margin, ticks)
    return [int(np.abs(places - index / max(scales - 1, 1)).argmin()) for index in range(scales)]
