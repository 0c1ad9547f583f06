"""The page of a generator: what it draws, and its figures."""

from __future__ import annotations

from pathlib import Path

from zellige.core.files import replacing
from zellige.core.images import tile
from zellige.evaluate.generation import GenerationResult, ModelFacts
from zellige.evaluate.markup import h
from zellige.evaluate.page import facts, page, provenance
from zellige.evaluate.pictures import data_uri
from zellige.evaluate.report import figures

COLUMNS = 8
_FOOTER = "The tiles on top are laid by the fingerprint of the generator's weights."


def write_generation_report(result: GenerationResult, path: str | Path) -> None:
    """Write the page; it appears whole or not at all. Raises `ZelligeError` if it cannot be written."""
    with replacing(Path(path)) as temporary:
        temporary.write_text(generation_html(result), "utf-8")


def generation_html(result: GenerationResult) -> str:
    """The page as text. Everything that comes from files or names is escaped."""
    name = result.generator.name
    main = (
        h("h1", name),
        h("p", f"{result.count:,} samples beside as many images from ", h("code", result.source), class_="lead"),
        h("section", h("h2", "Samples"), h("img", src=data_uri(tile(result.samples, COLUMNS)), alt="samples")),
        figures(result.measurements, result.unmeasured),
        h("section", h("h2", "Generator"), facts(_facts(result.generator) | result.sampling)),
        h("section", h("h2", "Tokenizer"), facts(_facts(result.tokenizer))),
        provenance(result.environment, result.command, _FOOTER),
    )
    return page(f"{name} on {result.source}", result.generator.fingerprint, main)


def _facts(model: ModelFacts) -> dict[str, object]:
    return {
        "Name": model.name,
        "Parameters": f"{model.parameters:,}",
        "Weights": model.fingerprint,
        "Licence": model.licence or "not stated",
    }
