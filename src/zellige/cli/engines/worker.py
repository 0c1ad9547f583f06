"""What runs in the processes of a Ray cluster: reading images, and encoding batches of them."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

import torch

import zellige
from zellige.cli.engines.local import encode_batch
from zellige.cli.inputs import resized
from zellige.cli.options import Precision
from zellige.cli.runtime import Session, choose_device, choose_dtype
from zellige.core.contract import Tokenizer
from zellige.core.errors import ZelligeError
from zellige.core.tokens import Tokens
from zellige.data import ImageRecord
from zellige.data.source import Entry, try_decode


@dataclass(frozen=True)
class DecodedInfo:
    """An image that was read, without its pixels."""

    key: str
    width: int
    height: int
    label: int | None
    text: str | None
    several_frames: bool


def read_images(entries: list[Entry], size: int | None) -> list[Any]:
    """Decode a few images, and resize them as `ImageInputs` does.

    Returns:
        First a list with a `DecodedInfo`, or the error, of each; then each as an `ImageRecord`, or None. Ray
        hands the first to the driver, and leaves the pixels in the memory of the machine that read them.
    """
    found: list[DecodedInfo | ZelligeError] = []
    records: list[ImageRecord | None] = []
    for entry in entries:
        image = try_decode(entry)[1]
        if isinstance(image, ZelligeError):
            found.append(image)
            records.append(None)
        else:
            image = resized(image, size)
            found.append(
                DecodedInfo(image.key, image.width, image.height, image.label, image.text, image.several_frames)
            )
            records.append(image)
    return [found, *records]


class NotStarted(Exception):
    """A worker was asked for tokens before it had its tokenizer: Ray has restarted it while it was idle."""


class Worker:
    """One tokenizer on one device, in a process of its own.

    Its constructor does nothing: what that raised would end the process, while what a method raises reaches the
    user as one line.
    """

    def __init__(self) -> None:
        self._session: Session | None = None

    def start(self, tokenizer: Tokenizer, device: str, precision: Precision) -> str:
        """Take the tokenizer to the device; arguments as on the command line, resolved here, where the device is.

        Returns what ids may depend on beside weights and images; it has to be the same for all workers.
        """
        where = choose_device(device)
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)  # there is a worker for every core
        warnings.filterwarnings("ignore", ".*not writable.*", UserWarning)  # shared memory, which is only read
        dtype = choose_dtype(where, precision)
        self._session = Session(tokenizer.to(where), where, dtype)
        return f"zellige {zellige.__version__} on {where.type} in {str(dtype).removeprefix('torch.')}"

    def encode(self, *records: ImageRecord) -> Tokens:
        """Tokens of a batch. Raises `NotStarted`."""
        if self._session is None:
            raise NotStarted
        return encode_batch(self._session, records)
