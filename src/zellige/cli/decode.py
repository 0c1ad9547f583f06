"""`zellige decode IN -o DIR`: a `.zel` file or a token set back to images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zellige.cli import options
from zellige.cli.console import print_json


def run(
    file: Annotated[Path, typer.Argument(metavar="IN", help="A .zel file or a .parquet token set.")],
    output: options.OutputFolder,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", "-t", metavar="NAME", help="The one that made the tokens; by default what the file names."
        ),
    ] = None,
    format: options.ImageFormatOption = options.ImageFormat.PNG,
    batch_size: options.BatchSize = 32,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    json: options.Json = False,
) -> None:
    """Decode tokens to images of their original size."""
    options.check_folder(output)

    from zellige.cli.decoding import TokenFile, decode_images
    from zellige.cli.outputs import output_folder
    from zellige.cli.runtime import open_session

    tokens = TokenFile.open(file)
    with output_folder(output):
        session = open_session(tokenizer or tokens.known_tokenizer(), device, precision)
        tokens.check_made_by(session, tokenizer)
        files = []
        for path, width, height in decode_images(tokens, session, output, f".{format}", batch_size):
            files.append({"file": str(path), "width": width, "height": height})
            if not json:
                print(f"{path}: {width}×{height}")
    if json:
        print_json({"images": len(files), "files": files})
