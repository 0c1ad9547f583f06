"""`zellige train RECIPE`: train a tokenizer from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A YAML file, or a bundled recipe such as zellige-photo/tiny.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE…]", help="Settings that replace those of the recipe.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder of the run; by default runs/RECIPE.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in DIR.")] = False,
) -> None:
    """Train a tokenizer; the run's folder gets checkpoints, a log and the trained model."""
    from zellige.train.recipe import load_recipe

    settings = load_recipe(recipe, overrides or [])
    folder = output or Path("runs") / Path(recipe).with_suffix("")
    from zellige.train.tokenizer import train_tokenizer

    train_tokenizer(settings, folder, resume)
