"""What goes wrong, in one line each.

Every error a user can cause is a `ZelligeError`: its text names the thing and the remedy, and
`exit_code` is what the command line returns. Anything else that escapes is a bug of ours.
"""

from __future__ import annotations

import errno


class ZelligeError(Exception):
    """Something failed while doing the work: a damaged file, a full disk, a diverged loss."""

    exit_code = 1


class UsageError(ZelligeError):
    """What was asked for cannot be: a missing path, an unknown name, an option that does not fit."""

    exit_code = 2


class DataError(ZelligeError):
    """A file or a record does not hold what it should."""


class MissingExtra(ZelligeError):
    """An optional library is not installed. The message names the extra that brings it."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed; it comes with: pip install 'zellige[{extra}]'")


class ZelligeWarning(UserWarning):
    """Work goes on, but not quite as it was asked for: the command line says so in one line."""


def nearest(name: str, known: list[str], kind: str) -> UsageError:
    """A `UsageError` for an unknown `name` that suggests the closest of the `known` ones."""
    import difflib

    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(sorted(known)[:12])}"
    return UsageError(f"unknown {kind} '{name}'; {hint}")


_REMEDIES = {
    errno.ENOSPC: "no space left on device; free some, or write elsewhere",
    errno.EDQUOT: "disk quota exceeded; free some space, or write elsewhere",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "read-only file system; write elsewhere",
    errno.EMFILE: "too many open files; raise the limit with ulimit -n",
}


def reason(error: BaseException) -> str:
    """What went wrong, in one line that fits behind a colon: ``permission denied``.

    Of the system's errors what it says, without the path and with the remedy where there is one; of others the
    first line of their text.
    """
    if isinstance(error, OSError) and error.strerror:
        return _REMEDIES.get(error.errno or 0) or error.strerror.lower()
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice, here or on a GPU."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # the latter torch's
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)
