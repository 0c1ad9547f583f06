"""Latent perturbation: tokens replaced by random near neighbours, as a generator's errors would (arXiv 2503.08354).

A decoder that sees such tokens in training learns to bear them; one that sees them in evaluation shows how well
it does (pFID). Everything here is a function of its arguments: randomness comes from a generator, or as draws.

Legend: B samples, N positions, G sub-codebooks, D dimensions, K codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from zellige.core.errors import UsageError, nearest
from zellige.quantize.base import Quantized, Quantizer

Around = Literal["feature", "code"]
Draws = tuple[Tensor, Tensor]
"""Uniform numbers in [0, 1) and integers in [0, delta), one of each an id."""

AROUND = ("feature", "code")


@torch.no_grad()
def perturb_ids(
    quantizer: Quantizer,
    query: Tensor,
    ids: Tensor,
    *,
    alpha: float,
    delta: int,
    generator: torch.Generator | None = None,
    draws: Draws | None = None,
) -> Tensor:
    """Replaces a share `alpha` of the ids by one of the `delta` codes nearest to `query`.

    With p uniform in [0, 1) and j uniform in 0 … delta − 1, drawn in this order for all ids: an id with p ≤ alpha
    becomes its neighbour j, where 0 is the id itself. So a share alpha·(1 − 1/delta) of the ids changes. Each
    sub-codebook, stage or scale has its own neighbours, around its own residual.

    Args:
        quantizer: of the ids; each of its codebooks must have `delta` codes.
        query: what the neighbours are near to: latents (B, N, D), as the released code has it, or the `ids`
            themselves, as the paper says.
        ids: int64 (B, N) or (B, N, G), what `quantizer.encode` gives for the latents.
        alpha: in [0, 1]; 0 changes nothing.
        delta: 1 to K; 1 changes nothing.
        generator: of the draws, by default the one of the device.
        draws: p and j, instead of drawing them.

    Returns:
        int64, of the shape of `ids`.

    Raises:
        UsageError: `alpha` or `delta` out of range, a quantizer without codes, draws that do not fit.
    """
    check_strength(quantizer.codebook, alpha=alpha, delta=delta)
    p, j = draw(ids, delta, generator) if draws is None else _checked(draws, ids, delta)
    if alpha == 0 or delta == 1:
        return ids
    return quantizer.ranked(query, ids, torch.where(p <= alpha, j, 0))


@torch.no_grad()
def perturb_ids_each(
    quantizer: Quantizer, query: Tensor, ids: Tensor, strengths: Sequence[tuple[float, int]], draws: Sequence[Draws]
) -> list[Tensor]:
    """`perturb_ids` for several strengths (alpha, delta), with draws of each: cheaper than one after another."""
    ranks = []
    for (alpha, delta), drawn in zip(strengths, draws, strict=True):
        check_strength(quantizer.codebook, alpha=alpha, delta=delta)
        p, j = _checked(drawn, ids, delta)
        ranks.append(torch.where(p <= alpha, j, 0) if alpha else torch.zeros_like(j))
    return quantizer.ranked_each(query, ids, ranks)


def perturb(
    quantizer: Quantizer,
    z: Tensor,
    quantized: Quantized,
    *,
    alpha: float,
    beta: float,
    delta: int,
    around: Around = "feature",
    generator: torch.Generator | None = None,
    draws: Draws | None = None,
) -> Tensor:
    """Quantized latents whose first ⌊B·beta⌋ samples are those of perturbed ids (see `perturb_ids`).

    The gradient is that of `quantized.z_q`, for perturbed positions too; vectors that did not move keep their bits.

    Args:
        quantizer: that made `quantized`.
        z: (B, N, D), what it was made of.
        quantized: the clean codes.
        alpha: share of the ids that is replaced, in [0, 1].
        beta: share of the samples that is perturbed, in [0, 1].
        delta: codes to choose from, 1 to K.
        around: neighbours of the latents ("feature", the released code) or of their codes ("code", the paper).
        generator: as in `perturb_ids`; the draws are for all B samples.
        draws: likewise.

    Returns:
        (B, N, D), of the type of `quantized.z_q`.

    Example:
        >>> quantizer = VectorQuantizer(dim=8, codes=1024)
        >>> z = torch.randn(4, 16, 8)
        >>> perturb(quantizer, z, quantizer(z), alpha=0.5, beta=1.0, delta=25).shape
        torch.Size([4, 16, 8])
    """
    if not 0 <= beta <= 1:
        raise UsageError(f"beta, the share of images that is perturbed, is in [0, 1]; got {beta:g}")
    samples = math.floor(len(z) * beta)
    return perturb_first(
        quantizer, z, quantized, samples, alpha=alpha, delta=delta, around=around, generator=generator, draws=draws
    )[0]


def perturb_first(
    quantizer: Quantizer,
    z: Tensor,
    quantized: Quantized,
    samples: int,
    *,
    alpha: float,
    delta: int,
    around: Around = "feature",
    generator: torch.Generator | None = None,
    draws: Draws | None = None,
) -> tuple[Tensor, Tensor]:
    """`perturb` for the first `samples` of the batch; also gives their ids, (samples, N) or (samples, N, G)."""
    if around not in AROUND:
        raise nearest(around, list(AROUND), "neighbourhood")
    check_strength(quantizer.codebook, alpha=alpha, delta=delta)
    assert quantized.ids is not None
    p, j = draw(quantized.ids, delta, generator) if draws is None else _checked(draws, quantized.ids, delta)
    ids = quantized.ids[:samples]
    if samples == 0:
        return quantized.z_q, ids
    with torch.no_grad():
        query = z.detach()[:samples] if around == "feature" else ids
        new = perturb_ids(quantizer, query, ids, alpha=alpha, delta=delta, draws=(p[:samples], j[:samples]))
        if new is ids:
            return quantized.z_q, ids
        clean = quantized.z_q[:samples].float()
        vectors, before = quantizer.lookup(new).float(), quantizer.lookup(ids).float()
        step = torch.zeros_like(quantized.z_q, dtype=torch.float32)
        step[:samples] = torch.where((vectors != before).any(-1, keepdim=True), vectors - clean, 0.0)
    return (quantized.z_q.float() + step).to(quantized.z_q.dtype), new


def draw(ids: Tensor, delta: int, generator: torch.Generator | None = None) -> Draws:
    """The draws of `perturb_ids` for `ids`: first all uniform numbers, then all integers below `delta`."""
    device = ids.device if generator is None else generator.device
    p = torch.rand(ids.shape, generator=generator, device=device)
    j = torch.randint(delta, ids.shape, generator=generator, device=device)
    return p.to(ids.device), j.to(ids.device)


def check_strength(codebook: tuple[int, ...], *, alpha: float, delta: int) -> None:
    """Raises `UsageError` unless ids of these sub-codebooks can be perturbed so."""
    if not codebook:
        raise UsageError("continuous latents have no neighbouring codes to perturb them with; use a discrete tokenizer")
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha, the share of tokens that is replaced, is in [0, 1]; got {alpha:g}")
    if not 1 <= delta <= min(codebook):
        of = "a codebook" if len(codebook) == 1 else "the smallest codebook"
        raise UsageError(f"delta={delta} neighbours cannot be had of {of} of {min(codebook)} codes; delta is 1 to that")


def _checked(draws: Draws, ids: Tensor, delta: int) -> Draws:
    p, j = (value.to(ids.device) for value in draws)
    if p.numel() != ids.numel() or j.numel() != ids.numel():
        raise UsageError(f"{ids.numel()} ids take as many draws; got {p.numel()} and {j.numel()}")
    p, j = p.view(ids.shape), j.view(ids.shape).long()
    if j.numel() and not 0 <= int(j.min()) <= int(j.max()) < delta:
        raise UsageError(f"draws of neighbours are 0 to {delta - 1}; got {int(j.min())} to {int(j.max())}")
    return p, j
