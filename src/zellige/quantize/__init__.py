"""Quantizers: latents to ids and back. `make_quantizer` builds any of them by name."""

from __future__ import annotations

import inspect
from typing import Any

from zellige.core.errors import UsageError, nearest
from zellige.quantize.base import Quantized, Quantizer, straight_through, usage_stats
from zellige.quantize.scalar import FiniteScalarQuantizer

__all__ = ["QUANTIZERS", "Quantized", "Quantizer", "make_quantizer", "straight_through", "usage_stats"]

QUANTIZERS: dict[str, type[Quantizer]] = {
    "fsq": FiniteScalarQuantizer,
}
"""Every quantizer by the name that recipes and systems use."""


def make_quantizer(name: str, dim: int, **settings: Any) -> Quantizer:
    """The quantizer `name` for latents of `dim` dimensions.

    Args:
        name: a key of `QUANTIZERS`.
        dim: D; for FSQ, LFQ and BSQ the number of levels or bits.
        settings: the arguments of its class, plain JSON values.

    Raises:
        UsageError: for an unknown name, an unknown or missing setting, or one out of its range.
    """
    if name not in QUANTIZERS:
        raise nearest(name, list(QUANTIZERS), "quantizer")
    signature = inspect.signature(QUANTIZERS[name])
    try:
        bound = signature.bind(dim=dim, **settings)
    except TypeError as error:
        known = ", ".join(str(parameter) for key, parameter in signature.parameters.items() if key != "dim")
        raise UsageError(f"quantizer '{name}': {error}; its settings: {known}") from None
    return QUANTIZERS[name](*bound.args, **bound.kwargs)
