"""Images to tokens and back, one record an image: what `reconstruct` and `demo` are made of.

Legend: B images, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from zellige.cli.console import progress
from zellige.cli.inputs import ImageInputs
from zellige.cli.runtime import Session
from zellige.codec import EncodedImage
from zellige.codec import dumps as zel_bytes
from zellige.core.pixels import from_uint8, to_uint8
from zellige.core.tokens import Tokens
from zellige.data import ImageRecord
from zellige.data.batches import by_size, padded_size, stack
from zellige.metrics import PSNR


@dataclass(frozen=True)
class RoundTrip:
    """An image, its tokens as a `.zel` file, and what they decode to.

    Attributes:
        original, output: uint8 (H, W, 3).
        zel: the file's bytes; empty for continuous tokens.
        psnr: of `output` in dB, infinite where nothing was lost.
    """

    key: str
    original: np.ndarray
    output: np.ndarray
    zel: bytes
    psnr: float

    @property
    def bits_per_pixel(self) -> float | None:
        """Of the `.zel` file; None where there is none."""
        height, width = self.original.shape[:2]
        return 8 * len(self.zel) / (width * height) if self.zel else None


def round_trips(images: ImageInputs, session: Session, batch_size: int) -> Iterator[RoundTrip]:
    """Encode and decode every image. Raises as `ImageInputs.check_some` where none could be read."""
    session.check_size(images.size)
    stride = session.tokenizer.stride
    with progress("reconstructing", images.length) as bar:
        for batch in by_size(images, batch_size, lambda record: padded_size(record, stride)):
            tokens = session.encode(stack(batch, stride))
            outputs = to_uint8(session.decode(tokens))
            for row, record in enumerate(batch):
                height, width = record.image.shape[:2]
                output = np.ascontiguousarray(outputs[row, :height, :width])
                data = _zel(session, tokens[row], width, height) if session.tokenizer.codebook else b""
                yield RoundTrip(record.key, record.image, output, data, _psnr(record, output))
            bar.advance(len(batch))
    images.check_some()


def _zel(session: Session, tokens: Tokens, width: int, height: int) -> bytes:
    image = EncodedImage(tokens, width, height, session.tokenizer.name, session.fingerprint)
    return zel_bytes(image, session.tables)


def _psnr(record: ImageRecord, output: np.ndarray) -> float:
    value: torch.Tensor = PSNR().per_image(from_uint8(record.image), from_uint8(output))
    return float(value)
