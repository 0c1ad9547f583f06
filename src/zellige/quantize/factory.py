"""Quantizers by name, from plain settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zellige.core.errors import UsageError, nearest
from zellige.core.settings import build_from
from zellige.quantize.base import Quantizer
from zellige.quantize.binary import BinaryQuantizer
from zellige.quantize.gaussian import GaussianQuantizer
from zellige.quantize.multiscale import MultiScaleResidualQuantizer
from zellige.quantize.product import ProductQuantizer
from zellige.quantize.residual import ResidualQuantizer
from zellige.quantize.scalar import FiniteScalarQuantizer
from zellige.quantize.vq import VectorQuantizer


def make_quantizer(name: str, dim: int, **settings: Any) -> Quantizer:
    """The quantizer `name` for latents of `dim` dimensions.

    Args:
        name: a key of `QUANTIZERS`.
        dim: D; for FSQ, LFQ and BSQ the number of levels or bits.
        settings: the arguments of the function of that name, plain JSON values.

    Raises:
        UsageError: for an unknown name, an unknown or missing setting, or a value out of its range.

    Example:
        >>> make_quantizer("product", 8, of="vq", groups=2, codes=256).codebook
        (256, 256)
    """
    if name not in QUANTIZERS:
        raise nearest(name, list(QUANTIZERS), "quantizer")
    return build_from(QUANTIZERS[name], f"quantizer '{name}'", settings, dim=dim)


def product(dim: int, of: str, groups: int, **settings: Any) -> ProductQuantizer:
    """`groups` quantizers `of` one kind with the same `settings`, each on dim / groups dimensions."""
    if groups < 1 or dim % groups:
        raise UsageError(f"{dim} dimensions do not split into {groups} equal groups")
    return ProductQuantizer([make_quantizer(of, dim // groups, **settings) for _ in range(groups)])


def residual(dim: int, of: str, depth: int, **settings: Any) -> ResidualQuantizer:
    """`depth` stages `of` "vq" or "ema" with the same `settings`."""
    stages = [make_quantizer(of, dim, **settings) for _ in range(depth)]
    vector_stages = [stage for stage in stages if isinstance(stage, VectorQuantizer)]
    if len(vector_stages) != depth:
        raise UsageError(f"a residual quantizer is made of 'vq' or 'ema' stages, not '{of}'")
    return ResidualQuantizer(vector_stages)


QUANTIZERS: dict[str, Callable[..., Quantizer]] = {
    "vq": VectorQuantizer,
    "ema": VectorQuantizer.ema,
    "fsq": FiniteScalarQuantizer,
    "lfq": BinaryQuantizer.lookup_free,
    "bsq": BinaryQuantizer.on_sphere,
    "product": product,
    "residual": residual,
    "multiscale": MultiScaleResidualQuantizer,
    "gaussian": GaussianQuantizer,
}
"""What builds each quantizer, by the name that recipes and systems use. A new one is entered here."""
