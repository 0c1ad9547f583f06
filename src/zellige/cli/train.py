"""`zellige train RECIPE`: train a tokenizer or a generator from a recipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from zellige.cli.console import note, progress


def run(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A YAML file, or a bundled recipe such as zellige-photo/tiny.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE…]", help="Settings that replace the recipe's, such as optimizer.lr=1e-4."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder of the run; by default runs/RECIPE.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in DIR.")] = False,
) -> None:
    """Train a tokenizer or a generator; the folder of the run gets checkpoints, a log and the trained model."""
    from zellige.train.recipe import load_recipe

    settings = load_recipe(recipe, overrides or [])
    folder = output or Path("runs") / (Path(recipe).stem if Path(recipe).suffix else recipe)

    from zellige.cli.outputs import output_folder
    from zellige.train.generator import train_generator
    from zellige.train.generator_recipe import GeneratorRecipe
    from zellige.train.tokenizer import train_tokenizer

    def show(line: dict[str, Any]) -> None:
        figures = (
            f"{key} {line[key]:.4g}" for key in ("loss", "grad_norm", "usage", "steps_per_second") if key in line
        )
        note(f"step {line['step']:,} of {settings.steps:,}: {', '.join(figures)}")
        if sys.stderr.isatty():  # elsewhere these lines say enough
            bar.reach(line["step"])

    with output_folder(folder), progress("training", settings.steps) as bar:
        if isinstance(settings, GeneratorRecipe):
            print(train_generator(settings, folder, resume=resume, on_log=show))
        else:
            print(train_tokenizer(settings, folder, resume=resume, on_log=show))
