"""Documentation that is true: its Python runs, its commands exist, its links lead somewhere, its tables are the cards'.

A block after `<!-- not run: reason -->` is only compiled. Blocks of a page share their names, in order.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from zellige.core.card import Card
from zellige.core.registry import cards

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$",
    re.M | re.S,
)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[int, str, str]]:
    """Line, text and the reason not to run it of each fenced block in `language`."""
    text = page.read_text("utf-8")
    found = []
    for match in BLOCK.finditer(text):
        if match["language"] == language:
            line = text.count("\n", 0, match.start("text"))
            body = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M)
            found.append((line, body, match["reason"] or ""))
    return found


def commands() -> list[tuple[str, str]]:
    """Page and line of every `zellige …` in a shell block."""
    lines = [(named(page), line) for page in PAGES for _, text, _ in blocks(page, "sh") for line in text.splitlines()]
    return [(page, line) for page, line in lines if line.startswith("zellige ")]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=named)
def test_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zellige.data import samples

    photographs = samples()
    (tmp_path / "photos").mkdir()
    for photograph in photographs[:2]:
        shutil.copy(photograph, tmp_path / "photos")
    from PIL import Image

    with Image.open(photographs[0]) as image:
        image.convert("RGB").resize((203, 135)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for line, text, reason in blocks(page, "python"):
        code = compile("\n" * line + text, str(page), "exec")
        if not reason:
            exec(code, names)


def test_commands_in_the_docs_exist() -> None:
    import typer.main

    from zellige.cli.app import app

    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert commands()
    for page, line in commands():
        _, name, *arguments = shlex.split(line, comments=True)
        if name.startswith("-"):
            continue
        assert name in known, f"{page}: {line}"
        options = {option for parameter in known[name].params for option in parameter.opts} | {"--help", "--debug"}
        for argument in arguments:
            if re.match(r"--?[a-z]", argument):
                assert argument in options, f"{page}: {line}: {name} has no {argument}"


def test_every_command_and_option_is_documented() -> None:
    import typer.main

    from zellige.cli.app import app

    text = (ROOT / "docs/cli.md").read_text("utf-8")
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        section = re.search(rf"^## `zellige {name}[ `].*?(?=^## |\Z)", text, re.M | re.S)
        assert section, f"docs/cli.md has no section '## `zellige {name}`'"
        for parameter in command.params:
            long = [option for option in parameter.opts if option.startswith("--")]
            assert not long or f"`{long[0]}" in section[0], f"docs/cli.md, {name}: {long[0]} is not explained"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target
    for target in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text):
        assert (page.parent / f"{target}.md").exists(), target


def test_pages_are_in_the_table_of_contents() -> None:
    listed = (ROOT / "docs/index.md").read_text("utf-8").splitlines()
    for page in PAGES:
        if page.is_relative_to(ROOT / "docs") and page.name != "index.md":
            assert str(page.relative_to(ROOT / "docs").with_suffix("")) in listed, page


def test_every_available_system_has_a_page() -> None:
    for name, card in cards().items():
        if card.status == "available":
            page = ROOT / f"docs/systems/{name}.md"
            assert page.is_file(), f"write {page.relative_to(ROOT)}"
            assert f"```{{system-card}} {name}\n" in page.read_text("utf-8")


def test_readme_has_the_tables_of_the_cards() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert systems_table().renew(readme) == readme, "the cards have changed: run python docs/systems_table.py"
    for name in cards():
        assert f"`{name}" in readme


def test_recipes_and_cards_in_the_docs_are_valid() -> None:
    from zellige.train.generator_recipe import GeneratorRecipe
    from zellige.train.recipe import Recipe

    for _, text, _ in blocks(ROOT / "docs/training.md", "yaml"):
        data = yaml.safe_load(text)
        (GeneratorRecipe if "generator" in data else Recipe).model_validate(data)
    for _, text, _ in blocks(ROOT / "docs/adding.md", "toml"):
        assert Card.from_dict("example", tomllib.loads(text)).presets


def systems_table() -> ModuleType:
    """`docs/systems_table.py`, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("systems_table", ROOT / "docs/systems_table.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
