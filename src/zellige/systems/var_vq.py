"""The tokenizer of VAR (Tian et al., arXiv 2404.02905): an image as ten token maps, from 1×1 to 16×16.

A VQGAN of more width, whose quantizer spells the latent out from coarse to fine, each scale what the
coarser ones left over, all with one codebook:

    x ∈ [-1, 1] ─ encoder ─ 3×3 conv ─ f ─ residual over scales ─ f̂ ─ 3×3 conv ─ decoder ─ x̂

The scales are sides of maps, so the image has one size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from zellige.systems.vqgan import VQGAN, VQGANConfig

SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
"""Sides of the maps of a 256×256 image, as released."""


@dataclass(frozen=True)
class VARVQConfig(VQGANConfig):
    """The released configuration: 680 tokens of a 256×256 image."""

    channels: int = 160
    latent: int = 32
    dim: int = 32
    projection_kernel: int = 3
    quantizer: str = "multiscale"
    quantizer_settings: Mapping[str, Any] = field(
        default_factory=lambda: {"codes": 4096, "scales": list(SCALES), "blends": 4}
    )


class VARVQ(VQGAN):
    """VAR's tokenizer: 680 tokens of a 256×256 image, 2,240 of a 512×512 image."""

    config_class: ClassVar[type] = VARVQConfig
    system = "var-vq"

    def __init__(self, config: VARVQConfig) -> None:
        super().__init__(config)
        side = config.quantizer_settings["scales"][-1]
        self.image_size = config.stride * (side if isinstance(side, int) else side[0])
