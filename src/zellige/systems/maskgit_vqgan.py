"""The VQGAN of MaskGIT (Chang et al., arXiv 2202.04200), also the tokenizer of RAR, MAGE and TiTok's teacher.

A VQGAN without any attention, for speed, and with 1,024 codes of 256 dimensions, compared as they are:

    x ∈ [0, 1] ─ encoder (mean of 2×2 between levels) ─ nearest code ─ decoder (repetition) ─ x̂ ∈ [0, 1]

Its residual blocks have no biases, and where the width changes their 1×1 shortcut sees the transformed
branch h instead of the block's input: h + W h. That is a slip of the original code, which the trained
weights depend on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from zellige.systems.vqgan import VQGAN, VQGANConfig


@dataclass(frozen=True)
class MaskGITVQGANConfig(VQGANConfig):
    """The released configuration, factor 16."""

    decoder_blocks: int = 2
    bias: bool = False
    shortcut: str = "branch"
    resample: str = "pool"
    attention: bool = False
    out_kernel: int = 1
    projection: bool = False
    pixel_range: str = "unit"
    quantizer_settings: Mapping[str, Any] = field(default_factory=lambda: {"codes": 1024})


class MaskGITVQGAN(VQGAN):
    """MaskGIT's tokenizer: 16×16 tokens of a 256×256 image; any size works."""

    config_class: ClassVar[type] = MaskGITVQGANConfig
    system = "maskgit-vqgan"
