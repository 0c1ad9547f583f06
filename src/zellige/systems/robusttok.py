"""RobustTok (Qiu et al., arXiv 2503.08354) and the tokenizers of XQ-GAN (arXiv 2412.01762), which it is one of.

Two vision transformers that start from DINOv2, and any quantizer between them:

    x ─ QueryEncoder ─ linear ─ z, branch by branch ─ quantizer ─ linear ─ QueryDecoder ─ x̂

Latents are P sets of n learned tokens, each on a square grid; a set has its own quantizer, and the decoder sees
the vectors of all sets side by side. The quantizer compares directions in one codebook (VQ), in one a branch
(VP2), or over ten scales, with codebooks (MSVR10P2) or signs (MSBR10P2).

RobustTok is VQ-4096 trained with latent perturbation: the same network with other weights. Perturbation and
semantic alignment are techniques (`zellige.latent`) that go on any tokenizer; its recipes ask for them.

Legend: B samples, P branches, n positions of a branch, C channels, D dimensions of a branch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from zellige.core.contract import Reconstruction, Tokenizer
from zellige.core.errors import UsageError
from zellige.core.tokens import Tokens
from zellige.decoders.query import QueryDecoder
from zellige.encoders.query import QueryEncoder
from zellige.nn.positions import latent_side
from zellige.nn.vitnet import ViTConfig
from zellige.quantize import ProductQuantizer, make_quantizer


@dataclass(frozen=True)
class RobustTokConfig(ViTConfig):
    """The released VQ-4096.

    Attributes:
        latents: n, a square number.
        branches: P.
        positions: of latent tokens: ``shared`` with the patches, or their ``own``.
        quantizer: of a branch, a name that `zellige.quantize.make_quantizer` knows.
        quantizer_settings: its numbers: codes, scales, …
        dim: D.
        layer_scale: where the factors of the blocks' branches start; DINOv2's 1e-5 is too little from scratch.
        drop_path: share of the samples for which the last blocks are left out in training.
    """

    latents: int = 256
    branches: int = 1
    positions: str = "shared"
    quantizer: str = "vq"
    quantizer_settings: Mapping[str, Any] = field(default_factory=lambda: {"codes": 4096, "normalize": True})
    dim: int = 64
    layer_scale: float = 0.1
    drop_path: float = 0.1


class RobustTok(Tokenizer):
    """Images of one size to n tokens, or n a scale, in each of P branches."""

    config_class: ClassVar[type] = RobustTokConfig
    system = "robusttok"
    decoding = ("project_out", "decoder")
    config: RobustTokConfig

    def __init__(self, config: RobustTokConfig) -> None:
        super().__init__(config)
        if config.branches < 1:
            raise UsageError(f"a tokenizer has at least one branch; got {config.branches}")
        side = latent_side(config.latents, "shared")  # the codes are on a grid whatever their positions are
        assert side is not None
        self.grid = (side, side)
        one = [
            make_quantizer(config.quantizer, config.dim, **config.quantizer_settings) for _ in range(config.branches)
        ]
        self.quantizer = ProductQuantizer(one) if config.branches > 1 else one[0]
        options = {"layer_scale": config.layer_scale, "drop_path": config.drop_path}
        self.encoder = QueryEncoder(
            config.encoder_trunk(**options),
            config.width,
            tokens=config.latents,
            branches=config.branches,
            positions=config.positions,
        )
        self.project_in = nn.Conv2d(config.width, config.dim, 1)
        self.project_out = nn.Conv2d(config.branches * config.dim, config.decoder_width, 1)
        self.decoder = QueryDecoder(
            config.decoder_trunk(**options),
            config.decoder_width,
            tokens=config.latents,
            patch=config.patch,
            positions=config.positions,
        )
        self.quantizer.layout(self.grid)  # scales that are none of this grid are refused now
        self.stride, self.image_size = config.patch, config.image_size
        self.codebook = self.quantizer.codebook

    def latents(self, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [-1, 1] to latents before quantization (B, n, P·D), branches side by side."""
        z = _pointwise(self.project_in, self.encoder(x))
        return z.unflatten(1, (self.config.branches, -1)).transpose(1, 2).flatten(2)

    def pixels(self, z_q: Tensor) -> Tensor:
        """Quantized latents (B, n, P·D) to pixels, unclamped."""
        return self.decoder(_pointwise(self.project_out, z_q))

    def forward(self, x: Tensor) -> Reconstruction:
        z = self.latents(x)
        q = self.quantize(z, x)
        return Reconstruction(self.pixels(q.z_q), self._tokens(q.ids), z, q.z_q, q.losses, q.stats)

    def last_layer(self) -> Tensor:
        return self.decoder.to_pixels.weight

    def _encode(self, x: Tensor, condition: Any, budget: Any) -> Tokens:
        return self._tokens(self.quantizer.encode(self.latents(x)))

    def _encode_latents(self, x: Tensor) -> tuple[Tensor, Tokens]:
        z = self.latents(x)
        return z, self._tokens(self.quantizer.encode(z))

    def _decode(
        self, tokens: Tokens, condition: Any, seed: int | None, steps: int | None, guidance: float | None
    ) -> Tensor:
        expected = self.quantizer.layout(self.grid)
        if tokens.layout != expected:
            raise UsageError(f"{self.name} decodes tokens of the layout {expected}; these have {tokens.layout}")
        return self.pixels(self.quantizer.lookup(tokens.data))

    def _tokens(self, ids: Tensor | None) -> Tokens:
        return Tokens(ids, self.quantizer.layout(self.grid), self.codebook)


def _pointwise(layer: nn.Module, x: Tensor) -> Tensor:
    """A 1×1 convolution of a sequence (B, n, C)."""
    return layer(x.transpose(1, 2)[..., None]).flatten(2).transpose(1, 2)
