"""The numbers that a vision transformer for encoding and one for decoding share, and the trunks built from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zellige.core.errors import UsageError
from zellige.nn.vit import ViTTrunk


@dataclass(frozen=True)
class ViTConfig:
    """Numbers of the pair.

    Attributes:
        image_size: pixels a side, a multiple of `patch`.
        patch: pixels a side of a patch.
        width: C of the encoder; ``depth`` its blocks.
        decoder_width: C of the decoder; ``decoder_depth`` its blocks.
        head_width: channels of an attention head.
    """

    image_size: int = 256
    patch: int = 16
    width: int = 768
    depth: int = 12
    decoder_width: int = 768
    decoder_depth: int = 12
    head_width: int = 64

    @property
    def patches(self) -> int:
        """Patches a side. `UsageError` unless the image is a whole number of them."""
        if self.image_size % self.patch:
            raise UsageError(f"{self.image_size} pixels are no whole number of patches of {self.patch}")
        return self.image_size // self.patch

    def encoder_trunk(self, **options: Any) -> ViTTrunk:
        """Of the encoder, which sees the image; `options` are those of `ViTTrunk`."""
        return self._trunk(self.width, self.depth, patch=self.patch, **options)

    def decoder_trunk(self, **options: Any) -> ViTTrunk:
        """Of the decoder, which sees tokens alone."""
        return self._trunk(self.decoder_width, self.decoder_depth, patch=None, **options)

    def _trunk(self, channels: int, depth: int, **options: Any) -> ViTTrunk:
        return ViTTrunk(channels, depth, max(1, channels // self.head_width), grid=self.patches, **options)
