"""What `zellige eval` runs: one tokenizer, a token set, or several tokenizers side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from zellige.cli.console import note, progress
from zellige.cli.decoding import TokenFile
from zellige.cli.inputs import ImageInputs
from zellige.cli.options import Around, Precision
from zellige.cli.runtime import Session, open_session
from zellige.codec import TokenSet
from zellige.core.errors import UsageError
from zellige.evaluate import EvalResult, evaluate, write_json
from zellige.evaluate.lineup import Lineup, check_lineup, line_up, write_lineup
from zellige.evaluate.lineup_report import write_lineup_report
from zellige.evaluate.report import write_report
from zellige.metrics.perturbed import PerturbationGrid

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Request:
    """What was asked for, for every tokenizer alike.

    Attributes:
        names: metrics; None is all whose weights are on this machine.
        grid: of pFID; None unless that is among the metrics.
        around: what pFID is around, if the user said so.
        command: the command line, for the record.
    """

    images: ImageInputs
    limit: int | None
    batch_size: int
    device: str
    precision: Precision
    names: list[str] | None
    grid: PerturbationGrid | None
    around: Around | None
    command: str


def pfid_grid(
    names: Sequence[str] | None,
    alphas: str | None,
    deltas: str | None,
    scale: bool,
    around: Around | None,
    seed: int | None,
) -> PerturbationGrid | None:
    """The grid that the options ask for; None where pFID is not among the metrics `names`.

    Raises `UsageError` for options of a pFID that is not measured, and for values that are none.
    """
    given = {"--pfid-alphas": alphas, "--pfid-deltas": deltas, "--pfid-around": around, "--pfid-seed": seed}
    set_ones = [name for name, value in given.items() if value is not None] + (["--pfid-scale"] if scale else [])
    if "pfid" not in (names or ()):
        if set_ones:
            raise UsageError(f"{set_ones[0]} is of the metric pfid; ask for it with --metrics pfid")
        return None
    usual = PerturbationGrid()
    return PerturbationGrid(
        usual.alphas if alphas is None else _numbers("--pfid-alphas", alphas, float),
        usual.deltas if deltas is None else _numbers("--pfid-deltas", deltas, int),
        scale,
        around.value if around else usual.around,
        usual.seed if seed is None else seed,
    )


def evaluate_one(name: str, maker: str | None, request: Request, output: Path) -> EvalResult:
    """Evaluate the tokenizer or the token set `name`; `result.json` and `report.html` go to `output`.

    Args:
        name: what the user called it.
        maker: tokenizer of a token set; None is the one that the set names.
    """
    tokens = _token_set(name)
    if tokens is None:
        if maker is not None:
            raise UsageError(f"--tokenizer is for token sets, and '{name}' is none")
        result = _evaluate(open_session(name, request.device, request.precision), request)
    else:
        session = open_session(maker or tokens.known_tokenizer(), request.device, request.precision)
        tokens.check_made_by(session, maker)
        assert tokens.token_set is not None
        if request.grid and request.around is None:
            request = replace(request, grid=replace(request.grid, around="code"))
        result = _evaluate(session, request, stored=tokens.token_set)
        unused = len(tokens.token_set) - result.count
        if unused and request.limit is None:
            note(f"{unused:,} of the {len(tokens.token_set):,} rows of {name} have no image in {request.images.name}")
    write_json(result, output / "result.json")
    write_report(result, output / "report.html")
    return result


def compare_tokenizers(names: Sequence[str], request: Request, output: Path) -> Lineup:
    """Evaluate several tokenizers on the same images, all measured alike; one `result.json`, one `report.html`.

    Raises `UsageError`, with the reason, for tokenizers that cannot be compared.
    """
    for name in names:
        if _token_set(name):
            raise UsageError(f"'{name}' is a token set; --compare takes tokenizers, which encode the images anew")
    sessions = [open_session(name, request.device, request.precision) for name in names]
    side = check_lineup([session.tokenizer for session in sessions], names, request.grid)
    results = []
    for name, session in zip(names, sessions, strict=True):
        results.append(_evaluate(session, request, label=f"measuring {name}", size=side, codecs=False))
    found = line_up(names, results, request.command)
    write_lineup(found, output / "result.json")
    write_lineup_report(found, output / "report.html")
    return found


def _evaluate(
    session: Session,
    request: Request,
    *,
    label: str = "measuring",
    stored: TokenSet | None = None,
    size: int | None = None,
    codecs: bool = True,
) -> EvalResult:
    total = request.images.length
    with progress(label, total if request.limit is None or total is None else min(request.limit, total)) as bar:
        return evaluate(
            session.tokenizer,
            request.images,
            batch_size=request.batch_size,
            precision=session.dtype,
            limit=request.limit,
            names=request.names,
            grid=request.grid,
            stored=stored,
            size=size,
            codecs=codecs,
            command=request.command,
            progress=bar.reach,
        )


def _token_set(name: str) -> TokenFile | None:
    """The token file at `name`; None where that is no such file but a tokenizer."""
    path = Path(name)
    if not path.is_file() or path.suffix not in (".parquet", ".zel"):
        return None
    found = TokenFile.open(path)
    if found.token_set is None:
        raise UsageError(f"{name} holds one image; eval takes a tokenizer or a .parquet token set")
    return found


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    """The values of ``0.5,0.6``; none of an empty text. `UsageError` for what is no number."""
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        word = "whole numbers" if kind is int else "numbers"
        raise UsageError(f"{option} takes {word} with commas between them, not '{text}'") from None
