"""Quantizers: latents to ids and back. `make_quantizer` builds any of them by name."""

from __future__ import annotations

from zellige.quantize.base import Quantized, Quantizer, straight_through, usage_stats
from zellige.quantize.binary import BinaryQuantizer
from zellige.quantize.factory import QUANTIZERS, make_quantizer
from zellige.quantize.gaussian import GaussianQuantizer
from zellige.quantize.multiscale import MultiScaleResidualQuantizer
from zellige.quantize.product import ProductQuantizer
from zellige.quantize.residual import ResidualQuantizer
from zellige.quantize.scalar import FiniteScalarQuantizer
from zellige.quantize.vq import VectorQuantizer

__all__ = [
    "QUANTIZERS",
    "BinaryQuantizer",
    "FiniteScalarQuantizer",
    "GaussianQuantizer",
    "MultiScaleResidualQuantizer",
    "ProductQuantizer",
    "Quantized",
    "Quantizer",
    "ResidualQuantizer",
    "VectorQuantizer",
    "make_quantizer",
    "straight_through",
    "usage_stats",
]
