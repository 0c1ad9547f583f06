"""The application itself: speed of start, listing, and how failures become lines."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import warnings
from collections.abc import Callable

import pytest

import zellige as library
from tests.cli.conftest import Run
from zellige.cli import info
from zellige.cli.app import main
from zellige.cli.errors import Terminated
from zellige.core.errors import ZelligeWarning
from zellige.core.registry import cards

COMMANDS = ("demo", "list", "show", "encode", "decode", "reconstruct", "info", "train", "generate", "eval")


@pytest.mark.parametrize("line", [["--help"], ["list"], ["list", "--json"], ["encode", "--help"], ["show", "vqgan"]])
def test_starts_without_torch(line: list[str]) -> None:
    code = (
        "import sys; from zellige.cli.app import main; code = main(sys.argv[1:]); "
        "heavy = {'torch', 'numpy', 'pyarrow', 'PIL'} & set(sys.modules); "
        "sys.exit(code or (str(heavy) if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_names_every_command(zellige: Run) -> None:
    text = zellige("--help").done().out
    assert all(command in text for command in COMMANDS)
    assert zellige().out == text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(zellige: Run, command: str) -> None:
    assert command in zellige(command, "--help").done().out


def test_version(zellige: Run) -> None:
    assert zellige("--version").done().out.split() == ["zellige", library.__version__]


def test_list_json_has_every_system(zellige: Run) -> None:
    systems = json.loads(zellige("list", "--json").done().out)
    assert [s["name"] for s in systems] == [*cards()]
    for system in systems:
        assert {"name", "kind", "status", "presets", "parameters", "tokens", "weights", "licence"} <= set(system)
        assert system["status"] in ("available", "planned")
    assert sum(s["status"] == "planned" for s in systems) + sum(s["kind"] != "base" for s in systems) >= 55


def test_list_shows_planned_ones_with_all(zellige: Run) -> None:
    assert "vqgan" in zellige("list").done().out
    planned = next(card.name for card in cards().values() if card.status == "planned")
    assert planned not in zellige("list").out
    assert planned in zellige("list", "--all").done().out


def test_show_prints_a_card(zellige: Run) -> None:
    out = zellige("show", "vqgan").done().out
    assert "2012.09841" in out
    assert "vqgan/f16" in out
    assert json.loads(zellige("show", "vqgan", "--json").done().out)["arxiv"] == "2012.09841"
    zellige("show", "vqgann").refused(2, "vqgan")
    zellige("show", "vqgan/f99").refused(2, "f99", "f8")


def failing(error: BaseException) -> Callable[..., None]:
    """A stand-in that raises `error`."""

    def function(*_: object, **__: object) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, ("interrupted",)),
        (Terminated(), 143, ("terminated",)),
        (MemoryError(), 1, ("out of memory", "--batch-size")),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), 1, ("/a/b", "no space left")),
        (OSError(errno.EROFS, "Read-only file system", "/a/b"), 1, ("/a/b", "read-only")),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), 1, ("/a/b", "permission")),
        (library.ZelligeError("two\nlines"), 1, ("two lines",)),
    ],
)
def test_failures_are_one_line(
    zellige: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(info, "describe", failing(error))
    zellige("info", "pyproject.toml").refused(code, *words)


def test_a_closed_pipe_is_silent(zellige: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "describe", failing(BrokenPipeError()))
    outcome = zellige("info", "x.zel")
    assert (outcome.code, outcome.err) == (141, "")


def test_a_bug_is_named_and_debug_shows_where(zellige: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "describe", failing(ZeroDivisionError("oops")))
    outcome = zellige("info", "x.zel")
    assert outcome.code == 1
    assert len(outcome.err.splitlines()) == 1
    for words in ("ZeroDivisionError: oops", "bug", "--debug"):
        assert words in outcome.err
    assert "Traceback" in zellige("info", "x.zel", "--debug").err
    assert main(["--debug", "info", "x.zel"]) == 1


def test_warnings_of_ours_are_one_line_and_those_of_libraries_none(
    zellige: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(*_: object, **__: object) -> None:
        warnings.warn("soon gone", FutureWarning, stacklevel=1)
        warnings.warn("starts from random weights", ZelligeWarning, stacklevel=1)
        raise BrokenPipeError

    monkeypatch.setattr(info, "describe", describe)
    assert zellige("info", "x.zel").err == "zellige: warning: starts from random weights\n"


def test_errors_stay_on_stderr_with_json(zellige: Run) -> None:
    outcome = zellige("info", "nowhere.zel", "--json")
    outcome.refused(2, "nowhere.zel")
    assert outcome.out == ""


def test_sigterm_ends_a_command_with_one_line() -> None:
    code = """if True:
        import os, signal, sys
        from zellige.cli import app, info
        info.describe = lambda path: os.kill(os.getpid(), signal.SIGTERM)
        sys.argv = ["zellige", "info", "x.zel"]
        sys.exit(app.main())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "zellige: error: terminated\n")


def test_python_m_zellige() -> None:
    done = subprocess.run([sys.executable, "-m", "zellige", "--version"], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("zellige ")
