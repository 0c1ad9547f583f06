"""The loop of `zellige encode`: from a stream of images to a sink, in constant memory."""

from __future__ import annotations

from zellige.cli.console import progress
from zellige.cli.inputs import ImageInputs
from zellige.cli.runtime import Session
from zellige.cli.sinks import Sink
from zellige.data.batches import by_size, padded_size, stack


def encode_images(images: ImageInputs, session: Session, sink: Sink, batch_size: int) -> None:
    """Encode what `sink` does not have yet.

    Raises `UsageError` if there is no image, `DataError` if none can be read. Interrupted, it saves
    what was encoded.
    """
    session.check_size(images.size)
    session.check_discrete()
    images.is_done = sink.is_done
    stride = session.tokenizer.stride
    with progress("encoding", images.length) as bar:
        try:
            for batch in by_size(images, batch_size, lambda record: padded_size(record, stride)):
                sink.write(batch, session.encode(stack(batch, stride)))
                bar.advance(len(batch))
        except KeyboardInterrupt:
            sink.save()
            raise
    images.check_some()
    sink.finish()
