"""The loop of `zellige encode`: from a stream of images to a sink, in constant memory."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from zellige.cli.console import progress
from zellige.cli.inputs import ImageInputs
from zellige.cli.runtime import Session
from zellige.cli.sinks import Sink

if TYPE_CHECKING:
    from zellige.cli.engines import Engine


def encode_images(images: ImageInputs, session: Session, sink: Sink, batch_size: int, engine: Engine) -> None:
    """Encode what `sink` does not have yet.

    Raises `UsageError` if there is no image, `DataError` if none can be read. Interrupted, it saves
    what was encoded.
    """
    session.check_size(images.size)
    session.check_discrete()
    images.is_done = sink.is_done
    with progress("encoding", images.length) as bar, closing(engine(images, session, batch_size)) as encoded:
        try:
            for batch, tokens in encoded:
                sink.write(batch, tokens)
                bar.advance(len(batch))
        except KeyboardInterrupt:
            sink.save()
            raise
    images.check_some()
    sink.finish()
