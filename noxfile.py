"""Sessions beyond `make test`: the oldest and the newest dependencies, the wheel on its own, the site.

Run one with `nox -s NAME`; each makes a virtual environment of its own.
"""

import re
import tomllib
from pathlib import Path

import nox

nox.options.sessions = ["wheel"]
PROJECT = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]


@nox.session
def latest(session: nox.Session) -> None:
    """The tests with the newest versions that the ranges admit."""
    session.install(".[test]")
    session.run("pytest", "-n", "2", "-q", env={"OMP_NUM_THREADS": "1"})


@nox.session
def minimal(session: nox.Session) -> None:
    """The tests with the lowest versions that the ranges admit."""
    lowest = [re.sub(r">=", "==", requirement) for requirement in PROJECT["dependencies"]]
    session.install(*lowest, ".[test]")
    session.run("pytest", "-n", "2", "-q", env={"OMP_NUM_THREADS": "1"})


@nox.session
def wheel(session: nox.Session) -> None:
    """A built wheel without extras, away from the source tree: it lists its systems and runs its demo."""
    session.install("build")
    folder = session.create_tmp()
    session.run("python", "-m", "build", "--wheel", "--outdir", folder, ".")
    built = max(Path(folder).glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.install("-c", "constraints.txt", str(built))
    session.chdir(folder)
    session.run("zellige", "list")
    session.run("zellige", "demo")


@nox.session
def docs(session: nox.Session) -> None:
    """The site; warnings are errors."""
    session.install("-c", "constraints.txt", ".[docs]")
    session.run("sphinx-build", "--fail-on-warning", "-b", "html", "docs", "docs/_build/html")
