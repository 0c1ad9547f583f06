"""Options and arguments that several commands share, each written once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from zellige.core.errors import UsageError
from zellige.core.registry import DEFAULT_TOKENIZER


class Precision(StrEnum):
    """Arithmetic of the networks; index arithmetic is exact in all of them."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class ImageFormat(StrEnum):
    """File formats that decoded images are written in."""

    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"


class Around(StrEnum):
    """What perturbed tokens are near to: the latents of the encoder, or the codes that those became."""

    FEATURE = "feature"
    CODE = "code"


TokenizerName = Annotated[
    str,
    typer.Option(
        "--tokenizer", "-t", metavar="NAME", help="A name from [bold]zellige list[/bold], a folder, or hf:owner/name."
    ),
]
Device = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1, mps; auto takes a GPU if it works.")
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="auto is bf16 where the hardware has it. Ids may differ between fp32 and bf16 where two codes "
        "are almost equally near.",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Images at a time, of equal size.")]
Size = Annotated[
    int | None,
    typer.Option(
        "--size",
        min=1,
        max=8192,
        help="Resize the short side to this and crop the centre (as ADM does); without it, images keep their size.",
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option("--guidance", help="Strength of a generator's condition, 1 for as it is; by default what suits it."),
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="Below 1 for likelier samples; by default what suits a generator.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
Inputs = Annotated[
    list[str], typer.Argument(metavar="IN…", help="Images, folders, WebDataset tars, Parquet files or hf:owner/name.")
]
ImageFormatOption = Annotated[ImageFormat, typer.Option("--format", help="Of the images; jpg and webp at quality 95.")]
OutputFolder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.")]

_PFID = "Of the metric pfid"
PfidAlphas = Annotated[
    str | None,
    typer.Option(
        "--pfid-alphas",
        metavar="A,…",
        help="Shares of the tokens that are perturbed, in [0, 1]; by default 0.5,0.6,0.7,0.8,0.9.",
        rich_help_panel=_PFID,
    ),
]
PfidDeltas = Annotated[
    str | None,
    typer.Option(
        "--pfid-deltas",
        metavar="D,…",
        help="Numbers of nearest codes to choose from; by default 200,280,360.",
        rich_help_panel=_PFID,
    ),
]
PfidScale = Annotated[
    bool,
    typer.Option(
        "--pfid-scale",
        help="The deltas are for 4,096 codes: take delta·K/4096 of K codes, at least 2.",
        rich_help_panel=_PFID,
    ),
]
PfidAround = Annotated[
    Around | None,
    typer.Option(
        "--pfid-around",
        help="What the codes are near to; by default the encoder's features, and of a token set its codes.",
        rich_help_panel=_PFID,
    ),
]
PfidSeed = Annotated[
    int | None, typer.Option("--pfid-seed", min=0, help="Of the draws; by default 0.", rich_help_panel=_PFID)
]

DEFAULT = DEFAULT_TOKENIZER


def check_folder(output: Path) -> None:
    """Refuse an output that is named like an image: several may be written, so it is always a folder."""
    if output.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp") and not output.is_dir():
        raise UsageError(
            f"--output {output} must be a folder: the images keep their names; choose their kind with --format"
        )
