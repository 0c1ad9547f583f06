"""Encoding on a Ray cluster: the one that RAY_ADDRESS names or that runs here, or else one of this machine alone.

Tasks decode the images and leave the pixels in Ray's object store; the driver sees their sizes alone, forms the
batches that the local engine would form, and hands them to workers that hold the tokenizer. Ray Data is not used:
its `map_batches` cuts a stream after so many rows, while here the sizes of all images so far decide which of them
share a batch, and so the order of the file.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from zellige.core.errors import MissingExtra, UsageError, ZelligeError, reason

if TYPE_CHECKING:
    from zellige.cli.engines import Encoded
    from zellige.cli.engines.worker import DecodedInfo
    from zellige.cli.inputs import ImageInputs
    from zellige.cli.options import Precision
    from zellige.cli.runtime import Session
    from zellige.data.source import Entry

CPUS_EACH = 0.5  # a worker waits for images while tasks decode them: one of each to a core
IMAGES_PER_TASK = 4


@dataclass(frozen=True)
class RemoteImage:
    """An image in Ray's object store; the attributes are those of `ImageInfo`."""

    info: DecodedInfo
    pixels: Any

    @property
    def key(self) -> str:
        return self.info.key

    @property
    def width(self) -> int:
        return self.info.width

    @property
    def height(self) -> int:
        return self.info.height

    @property
    def label(self) -> int | None:
        return self.info.label

    @property
    def text(self) -> str | None:
        return self.info.text

    @property
    def several_frames(self) -> bool:
        return self.info.several_frames


class RayEngine:
    """Encodes on all GPUs of a cluster, or on all its cores where it has none or `device` is ``cpu``.

    Args:
        device: auto, cpu or cuda; each worker has one GPU.
        precision: resolved by the workers, which have to agree.

    Raises `MissingExtra` without Ray, `UsageError` for another device.
    """

    def __init__(self, device: str, precision: Precision) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported
        try:
            import ray  # noqa: F401
        except ImportError:
            raise MissingExtra("ray", "ray") from None
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(
                f"--engine ray gives each worker a GPU of its own; use --device auto, cpu or cuda, not '{device}'"
            )
        self.device, self.precision = device, precision

    def __call__(self, images: ImageInputs, session: Session, batch_size: int) -> Encoded:
        """Batches of images and their tokens, in the order of the local engine."""
        import ray

        from zellige.cli.engines.pool import Pool
        from zellige.data.batches import by_size, padded_size

        stride = session.tokenizer.stride
        with _cluster() as resources:
            device = self._device(resources)
            workers = _workers(device, resources, images.length)
            pool = Pool(workers, ray.put(session.tokenizer), device, self.precision)
            decoded = images.through(lambda entries: _decode(entries, images.size, int(resources.get("CPU", 1))))
            batches = by_size(decoded, batch_size, lambda image: padded_size(image, stride))
            yield from pool.tokens((batch, [image.pixels for image in batch]) for batch in batches)

    def _device(self, resources: dict[str, float]) -> str:
        """What each worker computes on: ``cuda`` or ``cpu``."""
        if self.device == "cuda" and resources.get("GPU", 0) < 1:
            raise UsageError("device 'cuda' is not there: the Ray cluster has no GPU; use --device cpu")
        return "cuda" if self.device != "cpu" and resources.get("GPU", 0) >= 1 else "cpu"


def _workers(device: str, resources: dict[str, float], images: int | None) -> list[Any]:
    """An actor for every GPU or core, but for no more than there are images."""
    import ray

    from zellige.cli.engines.worker import Worker

    needs = {"num_gpus": 1, "num_cpus": 0} if device == "cuda" else {"num_cpus": CPUS_EACH}
    count = int(resources.get("GPU" if device == "cuda" else "CPU", 1))
    actor = ray.remote(max_restarts=-1, max_task_retries=0, **needs)(Worker)
    return [actor.remote() for _ in range(max(1, min(count, images or count)))]


def _decode(
    entries: Iterator[Entry], size: int | None, cores: int
) -> Iterator[tuple[Entry, RemoteImage | ZelligeError]]:
    """Images that tasks decode, in order, a bounded number ahead. Ray repeats a task whose process ended."""
    import ray
    from ray.exceptions import RayError

    from zellige.cli.engines.pool import get
    from zellige.cli.engines.worker import read_images

    task = ray.remote(num_cpus=CPUS_EACH)(read_images)
    pending: deque[tuple[list[Entry], Any]] = deque()
    while True:
        while len(pending) <= 2 * cores and (chunk := [_absolute(e) for e in islice(entries, IMAGES_PER_TASK)]):
            pending.append((chunk, task.options(num_returns=1 + len(chunk)).remote(chunk, size)))
        if not pending:
            return
        chunk, (infos, *pixels) = pending.popleft()
        try:
            found = get(infos)
        except RayError as error:
            raise ZelligeError(
                f"the processes that read {chunk[0].key} to {chunk[-1].key} ended ({reason(error)})"
            ) from error
        for entry, info, reference in zip(chunk, found, pixels, strict=True):
            yield entry, info if isinstance(info, ZelligeError) else RemoteImage(info, reference)


def _absolute(entry: Entry) -> Entry:
    """The entry with a path that means the same in a worker's directory."""
    if isinstance(entry.blob, bytes):
        return entry
    if isinstance(entry.blob, Path):
        return replace(entry, blob=Path(os.path.abspath(entry.blob)))
    return replace(entry, blob=replace(entry.blob, path=Path(os.path.abspath(entry.blob.path))))


@contextmanager
def _cluster() -> Iterator[dict[str, float]]:
    """The resources of a cluster, to which this process is connected for as long as the block runs."""
    import ray

    with _quiet():
        if ray.is_initialized():
            yield ray.cluster_resources()
            return
        _connect()
        try:
            yield ray.cluster_resources()
        finally:
            ray.shutdown()


def _connect() -> None:
    """Connect to a cluster, or start one. Raises `ZelligeError`."""
    import ray

    where = os.environ.get("RAY_ADDRESS", "")
    host, _, port = where.rpartition(":")
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        if host and "/" not in host and port.isdigit():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (RuntimeError, ConnectionError, ValueError, OSError) as error:
        what = f"the Ray cluster at {where} (RAY_ADDRESS) cannot be reached" if where else "Ray does not start"
        raise ZelligeError(f"{what}: {reason(error)}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)  # Ray puts its own in place, which saves nothing


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep off stdout, which is for results, what Ray prints there of workers that end, even without log_to_driver."""
    from ray._private import worker

    with patch.object(worker, "print_to_stdstream", lambda *_, **__: None, create=True):
        yield
