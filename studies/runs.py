"""Training runs that studies keep: done once, taken up where they were interrupted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from studies.common import Record, digest, read_record, write_record
from zellige.core.generator import Generator
from zellige.core.hub import WEIGHTS
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.generator import GeneratorRun
from zellige.train.generator_recipe import GeneratorRecipe
from zellige.train.recipe import Recipe
from zellige.train.tokenizer import train_tokenizer


def trained_tokenizer(recipe: Recipe, place: Path, name: str) -> Path:
    """The folder of a finished run in `place`, named by its seed and by what was set beside the places of files."""
    folder = _folder(recipe, recipe.model_dump_json(exclude={"data": {"train"}}, exclude_unset=True), place, name)
    if not (folder / WEIGHTS).is_file():
        train_tokenizer(recipe, folder, resume=(folder / CHECKPOINT).is_file())
    return folder


def trained_generator(
    recipe: GeneratorRecipe,
    place: Path,
    name: str,
    change: Callable[[Generator], object] | None = None,
    watch: Callable[[GeneratorRun, Record], None] | None = None,
) -> Path:
    """The same of a generator; `place` belongs to its tokenizer.

    Args:
        change: what is done to the generator before it is trained; `name` tells runs with and without it apart.
        watch: called with the run and each line of its log.
    """
    text = recipe.model_dump_json(exclude={"data": {"train"}, "tokenizer": True}, exclude_unset=True)
    folder = _folder(recipe, text, place, name)
    if not (folder / WEIGHTS).is_file():
        run = GeneratorRun(recipe, folder, (folder / CHECKPOINT).is_file())
        if change is not None:
            change(run.system)
        run.train(partial(watch, run) if watch is not None else None)
    return folder


def kept(path: Path, measure: Callable[[], Record]) -> Record:
    """What `measure` found, now or when the file was written."""
    if not path.is_file():
        write_record(path, measure())
    return read_record(path)


def _folder(recipe: Recipe | GeneratorRecipe, text: str, place: Path, name: str) -> Path:
    return place / f"{name}-{recipe.seed}-{digest([text])}"
