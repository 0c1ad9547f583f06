"""Where `zellige encode` computes: in this process, or on the machines of a Ray cluster.

An engine takes the images, the tokenizer and the batch size, and gives batches of images with their tokens.
All engines form the same batches in the same order, and `local.encode_batch` encodes each; so all write the
same file.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zellige.cli.inputs import ImageInputs
    from zellige.cli.runtime import Session
    from zellige.core.tokens import Tokens
    from zellige.data.source import ImageInfo

    Encoded = Generator[tuple[Sequence[ImageInfo], Tokens], None, None]
    Engine = Callable[[ImageInputs, Session, int], Encoded]
