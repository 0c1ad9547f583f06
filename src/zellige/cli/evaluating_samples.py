"""What `zellige eval --generator NAME DATA` runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from zellige.cli.console import print_json, print_wide, progress
from zellige.cli.inputs import ImageInputs
from zellige.cli.options import Precision
from zellige.cli.outputs import output_folder
from zellige.cli.runtime import choose_device, choose_dtype
from zellige.evaluate import evaluate_generator, write_json
from zellige.evaluate.generation_report import write_generation_report
from zellige.evaluate.table import generation_table
from zellige.generate.images import open_generator


def evaluate_samples(
    generator: str,
    data: str,
    output: Path,
    tokenizer: str | None,
    limit: int | None,
    batch_size: int,
    device: str,
    precision: Precision,
    metrics: str | None,
    sampling: dict[str, Any],
    json: bool,
) -> None:
    """Measure what a generator draws; prints a table, or JSON, and writes `result.json` and `report.html`.

    Args:
        generator: a name that `zellige.load` takes; ``data`` what `open_images` does.
        tokenizer: of the generator, if it does not name its own.
        metrics: names with commas between them; None for all.
        sampling: guidance, temperature and seed, where they were given.
    """
    images, where = ImageInputs([data]), choose_device(device)
    total = images.length if limit is None or images.length is None else min(limit, images.length)
    given = {
        **sampling,
        **({} if limit is None else {"limit": limit}),
        **({} if metrics is None else {"metrics": metrics}),
    }
    options = (f"--{key} {value}" for key, value in given.items())
    with output_folder(output):
        drawing = open_generator(generator, tokenizer, device=where, precision=choose_dtype(where, precision))
        with progress("drawing and measuring", total) as bar:
            result = evaluate_generator(
                drawing,
                images,
                batch_size=batch_size,
                limit=limit,
                names=None if metrics is None else [name.strip() for name in metrics.split(",")],
                seed=sampling.get("seed", 0),
                options={key: value for key, value in sampling.items() if key != "seed"},
                command=" ".join((f"zellige eval --generator {shlex.join([generator, data])}", *options)),
                progress=bar.reach,
            )
        write_json(result, output / "result.json")
        write_generation_report(result, output / "report.html")
    if json:
        print_json(result.as_dict())
    else:
        print_wide(generation_table(result))
        print(f"{output / 'result.json'}\n{output / 'report.html'}")
    images.report()
