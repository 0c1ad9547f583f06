"""The package as a whole: what importing costs, what it promises, and the rules of the house."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import zellige
from zellige.core.registry import cards

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(ROOT.glob("src/zellige/**/*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

LOADED = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `statement`."""
    run = subprocess.run(
        [sys.executable, "-c", f"{statement}\n{LOADED}"], capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_import_loads_nothing_but_itself() -> None:
    before = loaded_by("")
    assert loaded_by("import zellige") - before - set(sys.stdlib_module_names) == {"zellige"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["list", "--json"], ["show", "titok"], ["encode", "--help"]]
)
def test_answers_without_torch(arguments: list[str]) -> None:
    loaded = loaded_by(f"from zellige.cli.app import main\nassert not main({arguments!r})")
    assert not loaded & {"torch", "numpy", "PIL", "pyarrow", "accelerate", "huggingface_hub"}


def test_every_public_name_resolves() -> None:
    assert len(set(zellige.__all__)) == len(zellige.__all__)
    for name in zellige.__all__:
        assert getattr(zellige, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        zellige.no_such_name  # noqa: B018


def test_version_is_that_of_the_installed_package() -> None:
    try:
        installed = importlib.metadata.version("zellige")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is not installed in this environment, so it has no metadata: pip install -e .")
    assert installed == zellige.__version__


def test_console_script_exists() -> None:
    module, _, function = PROJECT["scripts"]["zellige"].partition(":")
    assert callable(getattr(import_module(module), function))


def test_every_dependency_has_a_tested_version_in_its_range() -> None:
    text = (ROOT / "constraints.txt").read_text("utf-8")
    pins = {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)$", text, re.M)}
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras]):
        name = canonicalize_name(requirement.name)
        if name != "zellige":
            assert pins[name] in requirement.specifier, f"{requirement} is tested with {pins[name]}"
    assert "torchvision" not in pins


def test_planned_systems_are_described() -> None:
    planned = tomllib.loads((ROOT / "src/zellige/systems/planned.toml").read_text("utf-8"))
    assert len(planned) == 55
    assert set(planned) <= set(cards())
    assert len({entry["paper"] for entry in planned.values()}) == 55
    for name, entry in planned.items():
        assert entry["status"] == "planned", name
        assert re.fullmatch(r"\d{4}\.\d{5}", entry["arxiv"]), name
        assert entry["year"] == 2000 + int(entry["arxiv"][:2]), name
        assert entry["title"], name
        assert entry["tokens"], name
        assert entry["licence"], name


def test_every_module_says_what_it_is() -> None:
    silent = [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert not [str(path.relative_to(ROOT)) for path in silent]


def test_files_stay_small() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert not [str(path) for path, lines in lengths.items() if lines > 600]
    assert statistics.median(lines for path, lines in lengths.items() if path.name != "__init__.py") <= 130


def tracked_files() -> list[Path]:
    """What git keeps, and what it would (new files that nothing ignores)."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this tree is no git checkout, so what belongs to it is not known")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_nothing_names_a_machine_or_a_registry() -> None:
    # One letter of each pattern is in a class, so that this file does not match itself.
    places = rb"/wor[k]/|/roo[t]/|/hom[e]/\w+/|/tm[p]/\w+/|/User[s]/\w+/|\.\./share[d]"
    hosts = rb"pyp[i]\.org/simple|pythonhoste[d]\.org|index-ur[l]|registry\.npmj[s]|download\.pytorc[h]\.org"
    pattern = re.compile(rb"|".join([places, hosts]))
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path in tracked_files()
        if (match := pattern.search(path.read_bytes()))
    }
    assert not found


def test_no_large_or_private_files() -> None:
    for path in tracked_files():
        assert path.stat().st_size <= 13_000_000, path
        assert path.suffix not in {".pt", ".pth", ".ckpt", ".pkl", ".pickle"}, path
