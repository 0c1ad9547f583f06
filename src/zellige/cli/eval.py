"""`zellige eval TOKENIZER DATA`: how well a tokenizer, a token set, or several tokenizers keep images.

With ``--generator``: how well a generator draws beside a set of images.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zellige.cli import options
from zellige.cli.console import note, print_json, print_wide
from zellige.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


_SAMPLES = "Of a generator"


def run(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="TOKENIZER DATA",
            help="TOKENIZER is a name from zellige list, a folder, hf:owner/name, or a .parquet token set; "
            "several with --compare. DATA is a folder, WebDataset tars, Parquet files, an image or hf:owner/name.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for result.json and report.html.")
    ] = Path("zellige-eval"),
    compare: Annotated[
        bool, typer.Option("--compare", help="Put several tokenizers side by side: --compare A B C DATA.")
    ] = False,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", "-t", metavar="NAME", help="The one that made a token set; by default what the set names."
        ),
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            "--generator",
            "-g",
            metavar="NAME",
            help="Measure what a generator draws, beside DATA: --generator NAME DATA. Metrics are fd, kid, prc, is.",
        ),
    ] = None,
    guidance: options.Guidance = None,
    temperature: options.Temperature = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the first sample; by default 0.", rich_help_panel=_SAMPLES)
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Measure only the first so many images.")] = None,
    batch_size: options.BatchSize = 8,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.FP32,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAME,…",
            help="Of psnr, ssim, msssim, lpips, fd, kid, prc, pfid; by default all but pfid whose weights are on this "
            "machine.",
        ),
    ] = None,
    pfid_alphas: options.PfidAlphas = None,
    pfid_deltas: options.PfidDeltas = None,
    pfid_scale: options.PfidScale = False,
    pfid_around: options.PfidAround = None,
    pfid_seed: options.PfidSeed = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE", help="The result.json of another evaluation, to compare with."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Measure reconstruction, rate, code usage and speed; print a table, write result.json and report.html."""
    *tokenizers, data = names
    sampling = {"guidance": guidance, "temperature": temperature, "seed": seed}
    given = {key: value for key, value in sampling.items() if value is not None}
    if generator is not None:
        if tokenizers or compare or against:
            raise UsageError("a generator is measured alone: zellige eval --generator GENERATOR DATA")

        from zellige.cli.evaluating_samples import evaluate_samples

        evaluate_samples(generator, data, output, tokenizer, limit, batch_size, device, precision, metrics, given, json)
        return
    if given:
        raise UsageError(f"--{next(iter(given))} is of what a generator draws; name one with --generator")
    if not tokenizers:
        raise UsageError(f"eval takes TOKENIZER and DATA; '{data}' is one of them, the other is missing")
    if len(tokenizers) > 1 and not compare:
        raise UsageError(
            "eval takes one TOKENIZER and one DATA; several side by side: zellige eval --compare A B C DATA"
        )

    from zellige.cli.evaluating import Request, compare_tokenizers, evaluate_one, pfid_grid
    from zellige.cli.inputs import ImageInputs
    from zellige.cli.outputs import output_folder
    from zellige.evaluate.compare import differences, read_measurements
    from zellige.evaluate.table import differences_table, lineup_table, rates_table, robustness_table, table

    wanted = None if metrics is None else [name.strip() for name in metrics.split(",")]
    grid = pfid_grid(wanted, pfid_alphas, pfid_deltas, pfid_scale, pfid_around, pfid_seed)
    images = ImageInputs([data])
    words = (*(["--compare"] if compare else []), *tokenizers, data)
    command = f"zellige eval {shlex.join(words)}"
    request = Request(images, limit, batch_size, device, precision, wanted, grid, pfid_around, command)
    if compare:
        if against or tokenizer:
            raise UsageError(f"--compare does not go with {'--against' if against else '--tokenizer'}")
        with output_folder(output):
            lineup = compare_tokenizers(tokenizers, request, output)
        found = lineup.as_dict()
        shown: list[Table | Group] = [lineup_table(lineup)]
        warnings = [r.robustness.warning for r in lineup.results if r.robustness]
    else:
        before = None if against is None else read_measurements(against)  # this run may write over it
        with output_folder(output):
            result = evaluate_one(tokenizers[0], tokenizer, request, output)
        found = result.as_dict()
        shown = [table(result)]
        shown += [robustness_table(result.robustness)] if result.robustness else []
        shown += [rates_table(result.rates)] if result.rates else []
        warnings = [result.robustness.warning] if result.robustness else []
    if json:
        print_json(found)
    else:
        for each in shown:
            print_wide(each)
        print(f"{output / 'result.json'}\n{output / 'report.html'}")
    images.report()
    for warning in dict.fromkeys(warnings):
        if warning:
            note(warning)
    if not compare and before is not None:
        changes = differences(before, result.measurements)
        if not json:
            print_wide(differences_table(changes, str(against)))
