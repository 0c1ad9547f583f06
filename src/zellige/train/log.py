"""`log.jsonl`: the curve of a run, one line every few steps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zellige.core.errors import MissingExtra, ZelligeError, reason
from zellige.core.files import replacing


class Log:
    """Appends lines to the curve of a run; a resumed run first drops the lines it will write again.

    Args:
        path: the file.
        start: step from which the run goes on.
        on_log: called with every line, for progress displays.
        board: folder of the same curve for TensorBoard; None writes none.
    """

    def __init__(
        self,
        path: Path,
        start: int,
        on_log: Callable[[dict[str, Any]], None] | None = None,
        board: Path | None = None,
    ) -> None:
        lines = path.read_text("utf-8").splitlines() if start and path.exists() else []
        with replacing(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in lines if _step(line) <= start), "utf-8")
        self.path, self.on_log = path, on_log
        self.board = _summary_writer()(str(board), purge_step=start + 1) if board else None
        self.clock, self.last = time.perf_counter(), start

    def write(self, step: int, values: dict[str, float]) -> None:
        """Log the values of a step, and the speed since the last line."""
        now = time.perf_counter()
        line = {"step": step, **values, "steps_per_second": (step - self.last) / max(now - self.clock, 1e-9)}
        self.clock, self.last = now, step
        try:
            with self.path.open("a", encoding="utf-8") as f:
                f.write(json.dumps(line) + "\n")
        except OSError as error:
            raise ZelligeError(f"cannot write {self.path}: {reason(error)}") from error
        if self.board:
            for key, value in values.items():
                self.board.add_scalar(key, value, step)
            self.board.flush()
        if self.on_log:
            self.on_log(line)


def require_tensorboard() -> None:
    """`MissingExtra` if there is no TensorBoard to write for."""
    _summary_writer()


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtra("tensorboard", "tensorboard") from None
    return SummaryWriter


def _step(line: str) -> float:
    """The step of a line; infinity for one that was cut off by a kill."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
