"""A pool of Ray workers that loses no batch when it loses a worker."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError

from zellige.cli.engines.worker import NotStarted
from zellige.core.errors import UsageError, ZelligeError, reason
from zellige.core.tokens import Tokens

QUEUED = 2  # batches a worker has at a time: one in work, one at hand
TRIES = 4  # after as many workers died of a batch, it is the batch
LOST = (NotStarted, RayActorError, OutOfMemoryError, WorkerCrashedError)

Item = TypeVar("Item")


@dataclass(frozen=True)
class Job(Generic[Item]):
    """A batch that a worker has.

    Attributes:
        pixels: where Ray keeps the images.
        result: where it will have their tokens.
    """

    batch: Sequence[Item]
    pixels: Sequence[Any]
    worker: Any
    result: Any
    tries: int = 1


class Pool:
    """Ray actors of the class `Worker`, each in use as soon as it answers.

    A worker that is lost is started again by Ray, on any machine that has room, while the others do its batches.

    Args:
        workers: at least one.
        settings: what `Worker.start` takes; a large tokenizer as a reference.
    """

    def __init__(self, workers: Sequence[Any], *settings: Any) -> None:
        self._settings = settings
        self._ready: list[Any] = []
        self._starting: dict[Any, Any] = {}  # by the answer that is awaited
        self._kind: str | None = None
        for worker in workers:
            self._start(worker)

    def tokens(
        self, batches: Iterator[tuple[Sequence[Item], Sequence[Any]]]
    ) -> Iterator[tuple[Sequence[Item], Tokens]]:
        """Tokens of batches, in order; each comes with the references to its images.

        Raises what encoding raises, and `ZelligeError` for a batch that no worker survives.
        """
        running: deque[Job[Item]] = deque()
        for batch, pixels in batches:
            self._admit()
            while len(running) >= QUEUED * len(self._ready):
                yield self._finish(running)
            running.append(self._submit(batch, pixels, running))
        while running:
            yield self._finish(running)

    def _submit(self, batch: Sequence[Item], pixels: Sequence[Any], running: deque[Job[Item]]) -> Job[Item]:
        """Hand a batch to the worker that has least to do."""
        results = [job.result for job in running]
        waiting = set(ray.wait(results, num_returns=len(results), timeout=0)[1]) if results else set()
        load = Counter(job.worker for job in running if job.result in waiting)
        worker = min(self._ready, key=lambda w: load[w])
        return Job(batch, pixels, worker, worker.encode.remote(*pixels))

    def _finish(self, running: deque[Job[Item]]) -> tuple[Sequence[Item], Tokens]:
        """The oldest batch, with its tokens."""
        job = running.popleft()
        while True:
            try:
                return job.batch, get(job.result)
            except LOST as error:
                if job.tries == TRIES:
                    raise ZelligeError(
                        f"{TRIES} workers ended while they encoded a batch of {len(job.batch)} images "
                        f"({reason(error)}); try a smaller --batch-size"
                    ) from error
                self._lose(job.worker)
                self._admit()
                job = replace(self._submit(job.batch, job.pixels, running), tries=job.tries + 1)

    def _start(self, worker: Any) -> None:
        self._starting[worker.start.options(max_task_retries=-1).remote(*self._settings)] = worker

    def _lose(self, worker: Any) -> None:
        if worker in self._ready:
            self._ready.remove(worker)
            self._start(worker)

    def _admit(self) -> None:
        """Take in the workers that have answered; wait for one only where there is none."""
        while self._starting:
            done, _ = ray.wait(list(self._starting), timeout=0 if self._ready else None)
            if not done:
                return
            worker = self._starting.pop(done[0])
            try:
                kind = get(done[0])
            except LOST:  # for good: Ray has tried to start it again
                continue
            self._kind = self._kind or kind
            if kind != self._kind:
                raise UsageError(
                    f"the workers differ, and so would their tokens: {self._kind}, and {kind}; choose --device and "
                    "--precision, and install one version everywhere"
                )
            self._ready.append(worker)
        if not self._ready:
            raise ZelligeError("every Ray worker has ended, and Ray cannot start another; its logs say why")


def get(reference: Any) -> Any:
    """What a task gave. An error of ours comes as it was raised there, and not in Ray's wrapping."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, RayError):  # before our code was reached
            raise ZelligeError(
                f"a Ray worker cannot run zellige ({reason(error.cause)}); install the same version on every machine"
            ) from error
        raise error.cause from None
    except LOST:
        raise
    except RayError as error:  # lost objects, a head node that went away
        raise ZelligeError(f"Ray failed: {reason(error)}; run the same command with --resume to go on") from error
