"""TiTok (Yu et al., arXiv 2406.07550) and TA-TiTok (Kim et al., arXiv 2501.07730): an image as 32 tokens.

Two vision transformers with learned latent tokens, of any number, and no grid of codes:

    x ∈ [0, 1] ─ QueryEncoder ─ linear ─ z ─ quantizer ─ linear ─ QueryDecoder ─ head ─ x̂
                                                              (caption) ┘

The first models predict the codes of the MaskGIT VQGAN, whose decoder paints them; later ones predict pixels,
smoothed by a 3×3 convolution. TA-TiTok's decoder reads the caption too: features of CLIP ViT-L/14-336.

Legend: B samples, N latent tokens, C channels, D dimensions of a token, T caption tokens, F their channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zellige.core.contract import Reconstruction, Tokenizer
from zellige.core.errors import UsageError, nearest
from zellige.core.tokens import Tokens
from zellige.decoders.codes import CodeDecoder
from zellige.decoders.query import QueryDecoder
from zellige.encoders.query import QueryEncoder
from zellige.nn.convnet import ConvConfig
from zellige.nn.vit import start_even
from zellige.nn.vitnet import ViTConfig
from zellige.quantize import make_quantizer
from zellige.systems.vqgan import VQGAN

_PAINTING = (
    "channels",
    "multipliers",
    "decoder_blocks",
    "middle_blocks",
    "latent",
    "patch",
    "norm",
    "bias",
    "shortcut",
    "resample",
    "attention",
)
"""Fields of `ConvConfig` that decide what a decoder computes."""


@dataclass(frozen=True)
class TiTokConfig(ViTConfig):
    """The released L-32.

    Attributes:
        latents: N.
        quantizer: a name that `zellige.quantize.make_quantizer` knows.
        quantizer_settings: its numbers: codes, …
        dim: D.
        scrambled: read the encoder's (N, C) numbers as (C, N) before they are projected, which mixes tokens with
            channels: a slip of the first models, that their weights depend on.
        head: ``codes`` of a teacher, or ``pixels``.
        teacher_codes: codes of the teacher, each of ``teacher_dim``.
        teacher_channels, teacher_multipliers, teacher_blocks: of the teacher's decoder, as in `ConvConfig`.
        caption: T, or 0 for a decoder that reads no caption.
        caption_dim: F.
        even_start: of training: see `zellige.nn.vit.start_even`. Small models need it.
    """

    width: int = 1024
    depth: int = 24
    decoder_width: int = 1024
    decoder_depth: int = 24
    latents: int = 32
    quantizer: str = "vq"
    quantizer_settings: Mapping[str, Any] = field(default_factory=lambda: {"codes": 4096, "normalize": True})
    dim: int = 12
    scrambled: bool = True
    head: str = "codes"
    teacher_codes: int = 1024
    teacher_dim: int = 256
    teacher_channels: int = 128
    teacher_multipliers: tuple[float, ...] = (1, 1, 2, 2, 4)
    teacher_blocks: int = 2
    caption: int = 0
    caption_dim: int = 768
    even_start: bool = False

    @property
    def teacher(self) -> ConvConfig:
        """The decoder of the MaskGIT VQGAN."""
        return ConvConfig(
            channels=self.teacher_channels,
            multipliers=self.teacher_multipliers,
            decoder_blocks=self.teacher_blocks,
            middle_blocks=self.teacher_blocks,
            latent=self.teacher_dim,
            bias=False,
            shortcut="branch",
            resample="pool",
            attention=False,
        )


class TiTok(Tokenizer):
    """Images of one size to a sequence of N tokens, which has no order."""

    config_class: ClassVar[type] = TiTokConfig
    system = "titok"
    decoding = ("project_out", "decoder", "painter", "smooth", "caption_in")
    config: TiTokConfig

    def __init__(self, config: TiTokConfig) -> None:
        super().__init__(config)
        if config.head not in ("codes", "pixels"):
            raise nearest(config.head, ["codes", "pixels"], "head")
        by_codes = config.head == "codes"
        if by_codes and config.teacher.stride != config.patch:
            raise UsageError(f"the teacher's codes span {config.teacher.stride} pixels and patches {config.patch}")
        self.quantizer = make_quantizer(config.quantizer, config.dim, **config.quantizer_settings)
        options = {"layer_scale": None, "norm_first": True, "epsilon": 1e-5}
        self.encoder = QueryEncoder(
            config.encoder_trunk(**options), config.width, tokens=config.latents, positions="own"
        )
        self.project_in = nn.Conv2d(config.width, self.quantizer.input_dim, 1)
        self.project_out = nn.Linear(config.dim, config.decoder_width)
        self.decoder = QueryDecoder(
            config.decoder_trunk(**options),
            config.decoder_width,
            tokens=config.latents,
            patch=None if by_codes else config.patch,
            positions="own",
        )
        if by_codes:
            self.painter = CodeDecoder(
                config.decoder_width, config.teacher_codes, grid=config.patches, config=config.teacher
            )
        else:
            self.smooth = nn.Conv2d(3, 3, 3, padding=1)
        if config.caption:
            self.caption_in = nn.Linear(config.caption_dim, config.decoder_width)
            self.caption_positions = nn.Parameter(0.02 * torch.randn(config.caption, config.decoder_width))
        self.stride, self.image_size = config.patch, config.image_size
        self.codebook = self.quantizer.codebook
        if config.even_start:
            self._start_even()

    @torch.no_grad()
    def _start_even(self) -> None:
        """What enters a transformer varies by 1: patches, latent and mask tokens, their places, quantized latents."""
        encoder, decoder = self.encoder, self.decoder
        start_even(encoder.trunk)
        start_even(decoder.trunk)
        for table in (encoder.latent_tokens, encoder.latent_positions, decoder.mask_token, decoder.latent_positions):
            nn.init.normal_(table)
        unit_length = self.config.quantizer_settings.get("normalize", False)
        nn.init.normal_(self.project_out.weight, std=1.0 if unit_length else self.config.dim**-0.5)
        for name, weights in (*self.project_in.named_parameters(), *self.project_out.named_parameters()):
            if name == "bias":
                nn.init.zeros_(weights)

    def latents(self, x: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [-1, 1] to latents before quantization (B, N, D)."""
        x = self.encoder((x + 1) / 2)
        x = x.reshape(len(x), x.shape[2], x.shape[1]) if self.config.scrambled else x.transpose(1, 2)
        return self.project_in(x[..., None]).flatten(2).transpose(1, 2)

    def features(self, z_q: Tensor, caption: Tensor | None = None) -> Tensor:
        """Quantized latents (B, N, D) to what the decoder makes of them: a vector a patch, or raw pixels."""
        if (caption is None) == bool(self.config.caption):
            raise UsageError(self._about_captions())
        beside = None if caption is None else self.caption_in(caption) + self.caption_positions
        return self.decoder(self.project_out(z_q), beside)

    def pixels(self, z_q: Tensor, caption: Tensor | None = None) -> Tensor:
        """Quantized latents (B, N, D), and the caption (B, T, F) of models that read it, to pixels, unclamped."""
        return self._painted(z_q, caption)[0]

    def _painted(self, z_q: Tensor, caption: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """As `pixels`, and the scores of the teacher's codes (B, K, h, w), if the model has a teacher."""
        x = self.features(z_q, caption)
        if self.config.head == "pixels":
            return self.smooth(x) * 2 - 1, None
        scores = self.painter.logits(x)
        return self.painter.paint(scores) * 2 - 1, scores

    def forward(self, x: Tensor) -> Reconstruction:
        """As in the contract; `UsageError` for models that read captions, which training does not pass on."""
        z = self.latents(x)
        q = self.quantize(z, x)
        output, scores = self._painted(q.z_q)
        return Reconstruction(output, self._tokens(q.ids, q.z_q), z, q.z_q, q.losses, q.stats, scores)

    @torch.no_grad()
    def follow(self, teacher: Tokenizer) -> None:
        """Paint with the decoder and the codes of a MaskGIT VQGAN, which are not trained any more."""
        if self.config.head != "codes":
            super().follow(teacher)
        if not isinstance(teacher, VQGAN) or teacher.config.pixel_range != "unit":
            raise UsageError(f"the teacher of {self.name} is a maskgit-vqgan, not {teacher.name}")
        theirs = ConvConfig(**{key.name: getattr(teacher.config, key.name) for key in fields(ConvConfig)})
        for key in _PAINTING:
            ours, other = getattr(self.config.teacher, key), getattr(theirs, key)
            if ours != other:
                raise UsageError(f"{self.name} paints with {key} {ours}, {teacher.name} with {other}: make them agree")
        if teacher.codebook != (self.config.teacher_codes,):
            raise UsageError(f"teacher_codes is {self.config.teacher_codes}; {teacher.name} has {teacher.codebook[0]}")
        codes = teacher.quantizer.lookup(torch.arange(self.config.teacher_codes))
        self.painter.codes.weight.copy_(teacher.project_out(codes.T[None, :, :, None])[0, :, :, 0].T)
        self.painter.painter.load_state_dict(teacher.decoder.state_dict())
        for part in (self.painter.codes, self.painter.painter):
            part.requires_grad_(False)

    def last_layer(self) -> Tensor:
        return self.painter.painter.conv_out.weight if self.config.head == "codes" else self.smooth.weight

    def _encode(self, x: Tensor, condition: Any, budget: Any) -> Tokens:
        return self._encode_latents(x)[1]

    def _encode_latents(self, x: Tensor) -> tuple[Tensor, Tokens]:
        z = self.latents(x)
        code = self.quantizer.encode(z)
        return z, self._tokens(code, code)

    def _decode(
        self, tokens: Tokens, condition: Any, seed: int | None, steps: int | None, guidance: float | None
    ) -> Tensor:
        expected = self.quantizer.layout((self.config.latents,))
        if tokens.layout != expected:
            raise UsageError(f"{self.name} decodes tokens of the layout {expected}; these have {tokens.layout}")
        if condition is not None and not isinstance(condition, Tensor):
            raise UsageError(self._about_captions())
        caption = None if condition is None else condition.to(self.device)
        if caption is not None and caption.shape != (len(tokens), self.config.caption, self.config.caption_dim):
            raise UsageError(f"{self._about_captions()}; this is {tuple(caption.shape)}")
        return self.pixels(self.quantizer.lookup(tokens.data), caption)

    def _about_captions(self) -> str:
        if not self.config.caption:
            return f"{self.name} reads no caption: decode without a condition"
        return (
            f"{self.name} reads the caption: pass condition=, the last hidden states of CLIP ViT-L/14-336's text model "
            f"(B, {self.config.caption}, {self.config.caption_dim})"
        )

    def _tokens(self, ids: Tensor | None, latents: Tensor) -> Tokens:
        layout = self.quantizer.layout((self.config.latents,))
        return Tokens(ids, layout, self.codebook) if self.codebook else Tokens(None, layout, latents=latents)
