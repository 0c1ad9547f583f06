"""Images in: open any set of them, transform them, stream them to training and evaluation."""

from zellige.data.loader import TrainStream
from zellige.data.open import open_images
from zellige.data.samples import samples
from zellige.data.source import ImageRecord, ImageSource, Skipped

__all__ = [
    "ImageRecord",
    "ImageSource",
    "Skipped",
    "TrainStream",
    "open_images",
    "samples",
]
