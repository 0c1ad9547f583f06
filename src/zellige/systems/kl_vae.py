"""The variational autoencoder of latent diffusion (Rombach et al., arXiv 2112.10752), in the shape that MAR trained.

Continuous tokens: a position is a Gaussian of 16 channels, whose mean is the token and whose sample is what
training decodes. A small weight of the KL divergence keeps the latents near the standard normal; times
`latent_scale` they vary by about 1, which is what diffusion and flow models over them expect.

    x ∈ [-1, 1] ─ encoder ─ 1×1 conv ─ means, log variances ─ 1×1 conv ─ decoder ─ x̂

KL-16 of MAR (Li et al., arXiv 2406.11838) is also the tokenizer of xAR, FlowAR and TokenBridge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from zellige.systems.vqgan import VQGAN, VQGANConfig


@dataclass(frozen=True)
class KLVAEConfig(VQGANConfig):
    """KL-16: factor 16, 16 channels. The decoder attends at its lowest size between the middle blocks only."""

    decoder_attention_levels: tuple[int, ...] = ()
    latent: int = 16
    dim: int = 16
    quantizer: str = "gaussian"
    latent_scale: float = 0.2325


class KLVAE(VQGAN):
    """A continuous tokenizer: 16×16 latents of a 256×256 image; any size works."""

    config_class: ClassVar[type] = KLVAEConfig
    system = "kl-vae"
