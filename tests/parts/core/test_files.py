"""Files that appear whole or not at all, and errors of the system in one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from zellige.core.errors import DataError, UsageError, ZelligeError, reason
from zellige.core.files import read_file, reading, replacing


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_replaced_when_the_block_succeeds(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 120 + ".txt")
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError(errno.ENOSPC, "full")])
def test_a_block_that_fails_leaves_the_old_file(tmp_path: Path, error: type[BaseException] | BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises((KeyboardInterrupt, ValueError, ZelligeError)):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("where", ["", "missing/a.txt", "file/a.txt", "x" * 300])
def test_what_cannot_be_written_is_a_failure_of_the_work(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ZelligeError, match="cannot write") as caught, replacing(tmp_path / where) as temporary:
        temporary.write_text("x")
    assert caught.value.exit_code == 1
    assert names(tmp_path) == ["file"]


def test_what_cannot_be_read_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("12345")
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("missing", "does not exist"),
        ("file/x", "does not exist"),
        ("", "a folder"),
        ("pipe", "no"),
    ):
        with pytest.raises(UsageError, match=message), reading(tmp_path / name):
            (tmp_path / name).read_bytes()
    with pytest.raises(DataError, match="cannot be read: file name too long"):
        read_file(tmp_path / ("x" * 300), 4)
    with pytest.raises(DataError, match="has 5 bytes"):
        read_file(tmp_path / "file", 4)
    assert read_file(tmp_path / "file", 5) == b"12345"


def test_reasons_are_one_line() -> None:
    assert reason(OSError(errno.ENOSPC, "No space left on device", "a.png")).startswith("no space left on device; free")
    assert reason(OSError(errno.ENAMETOOLONG, "File name too long", "a.png")) == "file name too long"
    assert reason(ValueError("first\nsecond")) == "first"
    assert reason(ValueError()) == "ValueError"
