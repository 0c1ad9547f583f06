"""The command line: wires one file a command, and turns every failure into one line.

Nothing here or at the top of a command's file imports torch: `zellige --help` and `zellige list`
answer at once. Data goes to stdout, progress and errors to stderr.
"""

from __future__ import annotations

import io
import logging
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer

import zellige
from zellige.cli import decode, demo, encode, eval, generate, info, list, reconstruct, show, train
from zellige.cli.errors import Terminated, exit_code, explain, silence_stdout
from zellige.core.errors import ZelligeWarning

app = typer.Typer(
    name="zellige",
    epilog="A first look: [bold]zellige demo[/bold]. Docs of a command: zellige COMMAND --help.",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, list, show, encode, decode, reconstruct, info, train, generate, eval):
    app.command(command.__name__.rpartition(".")[2])(command.run)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"zellige {zellige.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (anywhere on the line).")
    ] = False,
) -> None:
    """Visual tokens: images to tokens and back, and everything around them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0 done, 1 failed, 2 wrong request, 130 or 143 stopped.

    Args:
        argv: the words after ``zellige``; by default those of this process.
    """
    arguments = [*(sys.argv[1:] if argv is None else argv)]
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"] or ["--help"]
    if argv is None:
        _prepare_process(debug)
    with warnings.catch_warnings():
        if not debug:
            warnings.simplefilter("ignore")  # those of libraries
            warnings.simplefilter("always", ZelligeWarning)
            warnings.showwarning = _show_warning  # type: ignore[assignment]  # it takes what it needs
        try:
            return _run(arguments)
        except BaseException as error:
            if debug:
                traceback.print_exc()
            line = explain(error, arguments, debug)
            if line:
                print(f"zellige: error: {line}", file=sys.stderr)
            if isinstance(error, OSError) and argv is None:
                silence_stdout()
            return exit_code(error)


def _prepare_process(debug: bool) -> None:
    """What suits a process of our own: any name can be printed, libraries keep their logs, SIGTERM is an exception."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if not debug:
        logging.disable(logging.WARNING)
    signal.signal(signal.SIGTERM, _terminate)


def _show_warning(message: Warning | str, *_: object) -> None:
    print(f"zellige: warning: {message}", file=sys.stderr)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; whatever goes wrong is raised.

    Typer's own `main` would turn Ctrl-C and closed pipes into exits before we see them.
    """
    group = typer.main.get_command(app)
    code: object = 0
    try:
        with group.make_context("zellige", [*arguments]) as context:
            group.invoke(context)
    except (typer.Exit, SystemExit) as stop:
        code = stop.exit_code if isinstance(stop, typer.Exit) else stop.code
    sys.stdout.flush()  # here, so that a full disk or a closed pipe is an error like any other
    return code if isinstance(code, int) else int(code is not None)
