"""What the user reads when a command fails: one line and an exit code for any exception."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from zellige.core.errors import ZelligeError, out_of_memory, reason

RESUMABLE = ("encode", "train", "generate")


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: what can be saved is saved."""


def explain(error: BaseException, arguments: Sequence[str], debug: bool) -> str:
    """The line for an exception; empty where silence is right (a reader that closed the pipe).

    Args:
        error: what was raised.
        arguments: of the command line.
        debug: the traceback is shown already.
    """
    again = "; run the same command with --resume to go on" if set(arguments) & set(RESUMABLE) else ""
    if isinstance(error, KeyboardInterrupt):
        return f"{'terminated' if isinstance(error, Terminated) else 'interrupted'}{again}"
    if isinstance(error, ZelligeError):
        return _one_line(str(error))
    if isinstance(error, BrokenPipeError):
        return ""
    if isinstance(error, OSError):
        return _one_line(_explain_os(error))
    if out_of_memory(error):
        return "out of memory; try a smaller --batch-size, or smaller images"
    if hasattr(error, "format_message"):  # typer's own: an unknown option, a missing argument
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "zellige"
        return f"{_one_line(error.format_message()).rstrip('.?')}; see: {path} --help"
    where = "" if debug else "; run again with --debug to see where it is"
    return _one_line(f"{type(error).__name__}: {error}; this is a bug in zellige, please report it{where}")


def exit_code(error: BaseException) -> int:
    """130 for Ctrl-C, 143 for SIGTERM and 141 for a closed pipe, as shells have it; the error's own code; or 1."""
    if isinstance(error, KeyboardInterrupt):
        return 143 if isinstance(error, Terminated) else 130
    if isinstance(error, BrokenPipeError):
        return 141
    return int(getattr(error, "exit_code", 1))


def silence_stdout() -> None:
    """Drop what stdout still holds, which Python would try to flush again, and complain, at exit."""
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is no file (a test's buffer): nothing is left to flush
        return


def _explain_os(error: OSError) -> str:
    where = error.filename2 or error.filename
    return f"{os.fspath(where)}: {reason(error)}" if isinstance(where, (str, os.PathLike)) else reason(error)


def _one_line(text: str) -> str:
    return " ".join(text.split())
