"""`zellige reconstruct IN… -o DIR`: images to tokens and back in one go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zellige.cli import options
from zellige.cli.console import print_json
from zellige.core.errors import UsageError

if TYPE_CHECKING:
    from zellige.data.source import Entry


def run(
    inputs: options.Inputs,
    output: options.OutputFolder,
    tokenizer: options.TokenizerName = options.DEFAULT,
    size: options.Size = None,
    format: options.ImageFormatOption = options.ImageFormat.PNG,
    compare: Annotated[bool, typer.Option("--compare", help="Write original and reconstruction side by side.")] = False,
    batch_size: options.BatchSize = 32,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    json: options.Json = False,
) -> None:
    """Write what tokens keep of images, and print PSNR and bits per pixel of each."""
    options.check_folder(output)

    from zellige.cli.inputs import ImageInputs

    images = ImageInputs(inputs, size)

    import numpy as np

    from zellige.cli.names import FileNames
    from zellige.cli.outputs import output_folder
    from zellige.cli.roundtrip import round_trips
    from zellige.cli.runtime import open_session
    from zellige.core.images import save_image

    names = FileNames(output, f".{format}")
    paths: dict[str, Path] = {}
    files: list[dict[str, Any]] = []

    def plan(entry: Entry) -> bool:
        path = paths[entry.key] = names.path(entry.key)
        if isinstance(entry.blob, Path) and path.exists() and path.samefile(entry.blob):
            raise UsageError(f"the reconstruction would replace its original, {entry.blob}; choose another --output")
        return False

    images.is_done = plan
    with output_folder(output):
        session = open_session(tokenizer, device, precision)
        for result in round_trips(images, session, batch_size):
            path = paths.pop(result.key)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_image(path, np.hstack([result.original, result.output]) if compare else result.output)
            files.append({"file": str(path), "psnr": result.psnr, "bits_per_pixel": result.bits_per_pixel})
            if not json:
                rate = "" if result.bits_per_pixel is None else f", {result.bits_per_pixel:.3f} bits per pixel"
                print(f"{path}: PSNR {result.psnr:.2f} dB{rate}")
    if json:
        skipped = [{"image": item.key, "reason": item.reason} for item in images.skipped]
        print_json({"images": len(files), "files": files, "skipped": skipped})
    images.report()
