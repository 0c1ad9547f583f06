"""`zellige generate GENERATOR -o DIR`: new images, a contact sheet, and what it takes to make them again."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated

import typer

from zellige.cli import options
from zellige.cli.console import note, print_json


def run(
    name: Annotated[
        str, typer.Argument(metavar="GENERATOR", help="A name from zellige list, a folder, a file, or hf:owner/name.")
    ],
    output: options.OutputFolder,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            "-c",
            metavar="CLASS",
            help="What to draw, a number or a name; may be given several times. By default all classes in turn.",
        ),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="TEXT", help="What to draw, for generators of texts; several times too."),
    ] = None,
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="Images in all.")] = 16,
    guidance: options.Guidance = None,
    temperature: options.Temperature = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Choose among so many codes; 0 for all.")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", help="Choose among the codes of so much chance.")] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Of the first image, the next has the next; by default a new one."),
    ] = None,
    grid: Annotated[int, typer.Option("--grid", min=1, help="Images in a row of the contact sheet.")] = 8,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", "-t", metavar="NAME", help="Decodes the tokens; by default the one beside the generator."
        ),
    ] = None,
    text_encoder: Annotated[
        str | None, typer.Option("--text-encoder", metavar="NAME", help="Reads the texts; by default the generator's.")
    ] = None,
    format: options.ImageFormatOption = options.ImageFormat.PNG,
    batch_size: options.BatchSize = 16,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run: images that are there are kept.")
    ] = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.FP32,
    json: options.Json = False,
) -> None:
    """Draw images: a file each, contact-sheet.png, and generate.json with all it takes to draw them again.

    An image depends on its seed and its condition alone, whatever is drawn beside it.
    """
    options.check_folder(output)

    from zellige.cli.generating import Wanted, generate_images
    from zellige.cli.outputs import output_folder

    sampling = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    wanted = Wanted(
        classes or [],
        texts or [],
        num,
        seed,
        {key: value for key, value in sampling.items() if value is not None},
        text_encoder,
    )
    with output_folder(output):
        found = generate_images(
            name,
            wanted,
            output,
            tokenizer=tokenizer,
            device=device,
            precision=precision,
            batch_size=batch_size,
            suffix=f".{format}",
            columns=grid,
            resume=resume,
            command=shlex.join(["zellige", *sys.argv[1:]]),
        )
    if json:
        print_json(found.record)
        return
    if found.kept:
        note(f"{found.kept:,} images were there before")
    print(f"{output}: {num:,} images by {found.record['generator']['name']}\n{output / 'contact-sheet.png'}")
