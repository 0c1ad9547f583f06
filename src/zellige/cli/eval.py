"""`zellige eval TOKENIZER DATA`: how well a tokenizer keeps images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from zellige.cli import options
from zellige.cli.console import print_json, print_wide, progress


def run(
    tokenizer: Annotated[
        str, typer.Argument(metavar="TOKENIZER", help="A name from zellige list, a folder, or hf:owner/name.")
    ],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A folder, WebDataset tars, Parquet files, an image or hf:owner/name.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for result.json and report.html.")
    ] = Path("zellige-eval"),
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Measure only the first so many images.")] = None,
    batch_size: options.BatchSize = 8,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.FP32,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAME,…",
            help="Of psnr, ssim, msssim, lpips, fd, kid, prc; by default all whose weights are on this machine.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE", help="The result.json of another evaluation, to compare with."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Measure reconstruction, rate, code usage and speed; print a table, write result.json and report.html."""
    from zellige.cli.inputs import ImageInputs

    images = ImageInputs([data])

    from zellige.cli.outputs import output_folder
    from zellige.cli.runtime import open_session
    from zellige.evaluate import evaluate, write_json
    from zellige.evaluate.compare import differences, read_measurements
    from zellige.evaluate.report import write_report
    from zellige.evaluate.table import differences_table, rates_table, table

    before = None if against is None else read_measurements(against)  # this run may write over it
    with output_folder(output):
        session = open_session(tokenizer, device, precision)
        total = images.length
        with progress("measuring", total if limit is None or total is None else min(limit, total)) as bar:
            result = evaluate(
                session.tokenizer,
                images,
                batch_size=batch_size,
                precision=session.dtype,
                limit=limit,
                names=None if metrics is None else [name.strip() for name in metrics.split(",")],
                command=f"zellige eval {shlex.quote(tokenizer)} {shlex.quote(data)}",
                progress=bar.reach,
            )
        write_json(result, output / "result.json")
        write_report(result, output / "report.html")
    if json:
        print_json(result.as_dict())
    else:
        print_wide(table(result))
        if result.rates:
            print_wide(rates_table(result.rates))
        print(f"{output / 'result.json'}\n{output / 'report.html'}")
    images.report()
    if before is not None:
        found = differences(before, result.measurements)
        if not json:
            print_wide(differences_table(found, str(against)))
