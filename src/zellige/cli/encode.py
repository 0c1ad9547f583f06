"""`zellige encode IN… -o OUT`: images to `.zel` files or to a token set."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from zellige.cli import options
from zellige.cli.console import print_json
from zellige.core.errors import UsageError


class EngineName(StrEnum):
    """Where the work is done."""

    LOCAL = "local"
    RAY = "ray"


def run(
    inputs: options.Inputs,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="OUT", help="photo.zel for one image, DIR/ for one .zel each, or set.parquet."
        ),
    ],
    tokenizer: options.TokenizerName = options.DEFAULT,
    size: options.Size = None,
    batch_size: options.BatchSize = 32,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run: what it wrote is not done again.")
    ] = False,
    engine: Annotated[
        EngineName,
        typer.Option("--engine", help="local is this process; ray is a Ray cluster, which gives the same tokens."),
    ] = EngineName.LOCAL,
    json: options.Json = False,
) -> None:
    """Encode images to tokens: a .zel file each, or a token set of any number in constant memory."""
    kind = _kind(output)

    from zellige.cli.engines.cluster import RayEngine
    from zellige.cli.inputs import ImageInputs

    cluster = RayEngine(device, precision) if engine is EngineName.RAY else None
    images = ImageInputs(inputs, size)
    if kind == "file" and images.length != 1:
        raise UsageError(f"{output} holds one image and {images.name} is a set; use -o DIR/ or -o set.parquet")

    from zellige.cli.encoding import encode_images
    from zellige.cli.engines.local import encode_here
    from zellige.cli.outputs import output_folder
    from zellige.cli.runtime import open_session
    from zellige.cli.sinks import open_sink

    files: list[dict[str, Any]] = []
    target = Path(output)
    with output_folder(target if kind == "folder" else target.parent):
        session = open_session(tokenizer, "cpu" if cluster else device, precision)  # the workers have GPUs
        sink = open_sink(kind, session, target, size, images.classes, resume, files.append if json else _print_file)
        encode_images(images, session, sink, batch_size, cluster or encode_here)
    if json:
        skipped = [{"image": item.key, "reason": item.reason} for item in images.skipped]
        print_json(
            {"output": output, **sink.summary(), "done_before": images.done_before, "skipped": skipped, "files": files}
        )
    elif kind != "file" or not sink.images:
        print(_summary(output, sink.summary(), images.done_before))
    images.report()


def _kind(output: str) -> str:
    """``file``, ``set`` or ``folder``, by the name of the output."""
    suffix = "" if output.endswith("/") or Path(output).is_dir() else Path(output).suffix
    kinds = {".zel": "file", ".parquet": "set", "": "folder"}
    if suffix not in kinds:
        raise UsageError(f"encode writes .zel or .parquet files, not '{output}'; a folder ends with /")
    return kinds[suffix]


def _print_file(file: dict[str, Any]) -> None:
    rate = 8 * file["bytes"] / (file["width"] * file["height"])
    print(
        f"{file['file']}: {file['width']}×{file['height']}, {file['tokens']:,} tokens, "
        f"{file['bytes']:,} bytes, {rate:.3f} bits per pixel"
    )


def _summary(output: str, facts: dict[str, Any], done_before: int) -> str:
    before = f", {done_before:,} were there before" if done_before else ""
    if not facts["images"]:
        return f"{output}: nothing new{before}"
    return f"{output}: {facts['images']:,} images, {facts['tokens']:,} tokens, {facts['bytes']:,} bytes{before}"
