"""The frame of a report and what stands in it: one self-contained page, facts, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources

from zellige.evaluate.markup import Markup, h
from zellige.evaluate.tiles import band


def page(title: str, fingerprint: str, main: Sequence[object], script: str = "") -> str:
    """The page as text: the band of tiles of `fingerprint`, then `main`."""
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("title", title),
        h("style", Markup(resources.files("zellige.evaluate").joinpath("report.css").read_text("utf-8"))),
    )
    body = h("body", band(fingerprint), h("main", main), h("script", Markup(script)) if script else None)
    return "<!doctype html>\n" + h("html", head, body, lang="en") + "\n"


def facts(named: Mapping[str, object]) -> Markup:
    """Names and what they are, in columns."""
    return h("dl", [h("div", h("dt", name), h("dd", value)) for name, value in named.items()], class_="facts")


def table(names: Sequence[str | tuple[str, str]], rows: Sequence[Markup], kind: str) -> Markup:
    """A table that scrolls sideways where it must; a name may come with a CSS class."""
    cells = [h("th", n, scope="col") if isinstance(n, str) else h("th", n[0], class_=n[1], scope="col") for n in names]
    return h("div", h("table", h("thead", h("tr", cells)), h("tbody", rows), class_=kind), class_="scroll")


def provenance(environment: Mapping[str, str], command: str, footer: str) -> Markup:
    """What was run, where and when."""
    return h(
        "section",
        h("h2", "How it was made"),
        h("pre", command) if command else None,
        facts({name.capitalize(): value for name, value in environment.items()}),
        h("footer", footer),
    )
