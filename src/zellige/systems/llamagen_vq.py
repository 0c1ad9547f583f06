"""The image tokenizers of LlamaGen (Sun et al., arXiv 2406.06525): VQ-16 and VQ-8.

A VQGAN with attention at the lowest resolution only, and a large codebook in few dimensions: latents
are projected from 256 to 8 channels, and latents and codes are scaled to unit length (Yu et al.,
arXiv 2110.04627), so that the nearest code is the one of largest cosine. That is what keeps nearly
all of the 16,384 codes in use.

    x ∈ [-1, 1] ─ encoder ─ 1×1 conv 256→8 ─ nearest unit code ─ 1×1 conv 8→256 ─ decoder ─ x̂

Trained with L2 and LPIPS of weight 1, codebook loss 1, commitment 0.25, and a PatchGAN of weight 0.5
from step 20,000.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from zellige.systems.vqgan import VQGAN, VQGANConfig


@dataclass(frozen=True)
class LlamaGenVQConfig(VQGANConfig):
    """VQ-16; VQ-8 has one level less: ``multipliers=(1, 2, 2, 4)``."""

    dim: int = 8
    quantizer_settings: Mapping[str, Any] = field(default_factory=lambda: {"codes": 16384, "normalize": True})


class LlamaGenVQ(VQGAN):
    """LlamaGen's tokenizer: 16×16 (VQ-16) or 32×32 (VQ-8) tokens of a 256×256 image; any size works."""

    config_class: ClassVar[type] = LlamaGenVQConfig
    system = "llamagen-vq"
