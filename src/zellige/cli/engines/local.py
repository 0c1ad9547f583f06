"""Encoding in this process: images are decoded, and batches written, while the network computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zellige.cli.inputs import ImageInputs
from zellige.cli.runtime import Session
from zellige.core.tokens import Tokens
from zellige.data import ImageRecord
from zellige.data.batches import by_size, padded_size, stack
from zellige.data.parallel import ordered_map

if TYPE_CHECKING:
    from zellige.cli.engines import Encoded


def encode_here(images: ImageInputs, session: Session, batch_size: int) -> Encoded:
    """Batches of images and their tokens."""
    stride = session.tokenizer.stride
    batches = by_size(images, batch_size, lambda record: padded_size(record, stride))
    yield from ordered_map(lambda batch: (batch, encode_batch(session, batch)), batches, workers=1)


def encode_batch(session: Session, records: Sequence[ImageRecord]) -> Tokens:
    """Tokens of images of one padded size, on the CPU: what every engine does with a batch."""
    return session.encode(stack(records, session.tokenizer.stride))
