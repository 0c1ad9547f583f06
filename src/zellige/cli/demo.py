"""`zellige demo`: the bundled photographs to tokens and back, measured and shown; and pictures drawn from nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from zellige.cli import options
from zellige.cli.console import note, print_json, print_table

GENERATOR, DRAWN = "zellige-emoji", 32


def run(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to.")] = Path("demo"),
    tokenizer: options.TokenizerName = options.DEFAULT,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    json: options.Json = False,
) -> None:
    """Tokenize the bundled photographs, decode them, measure, and write a report to look at."""
    started = time.monotonic()
    note("loading the tokenizer and the sample photographs")

    from zellige.cli.generating import RECORD, Wanted, generate_images
    from zellige.cli.inputs import ImageInputs
    from zellige.cli.outputs import output_folder
    from zellige.cli.roundtrip import round_trips
    from zellige.cli.runtime import open_session
    from zellige.core.files import replacing
    from zellige.core.images import save_image
    from zellige.data import samples
    from zellige.evaluate import contact_sheet, evaluate, write_json
    from zellige.evaluate.report import write_report

    photos = {path.name: path for path in samples()}
    images = ImageInputs([str(path) for path in photos.values()])
    rows: list[dict[str, Any]] = []
    with output_folder(output), output_folder(output / "tokens"), output_folder(output / "reconstructed"):
        session = open_session(tokenizer, device, precision)
        session.check_discrete()
        note(f"encoding and decoding {len(photos)} photographs with {session.tokenizer.name}")
        for result in round_trips(images, session, batch_size=8):
            name = Path(result.key).stem
            with replacing(output / "tokens" / f"{name}.zel") as temporary:
                temporary.write_bytes(result.zel)
            save_image(output / "reconstructed" / f"{name}.png", result.output)
            rows.append(
                {
                    "photo": result.key,
                    "width": result.original.shape[1],
                    "height": result.original.shape[0],
                    "file_bytes": photos[result.key].stat().st_size,
                    "zel_bytes": len(result.zel),
                    "bits_per_pixel": result.bits_per_pixel,
                    "psnr": result.psnr,
                }
            )
        note("measuring, beside JPEG, WebP and AVIF")
        measured = evaluate(session.tokenizer, images, precision=session.dtype, command="zellige demo")
        contact_sheet(measured.examples, output / "contact-sheet.png", title=f"{session.tokenizer.name}")
        write_json(measured, output / "result.json")
        write_report(measured, output / "report.html")
        note(f"drawing {DRAWN} emoji with {GENERATOR}")
        with output_folder(output / "generated") as drawn:
            (drawn / RECORD).unlink(missing_ok=True)  # of an earlier demo
            generate_images(GENERATOR, Wanted([], [], DRAWN, 0), drawn, device=device, command="zellige demo")
    rows.sort(key=lambda row: row["photo"])
    if json:
        print_json({"output": str(output), "tokenizer": session.tokenizer.name, "photos": rows})
        return
    _print(rows, output, time.monotonic() - started)


def _print(rows: list[dict[str, Any]], output: Path, seconds: float) -> None:
    print_table(
        ("photo", "pixels", "file", ".zel", "bits per pixel", "PSNR"),
        (
            (
                row["photo"],
                f"{row['width']}×{row['height']}",
                f"{row['file_bytes'] / 1000:.1f} kB",
                f"{row['zel_bytes'] / 1000:.1f} kB",
                f"{row['bits_per_pixel']:.3f}",
                f"{row['psnr']:.2f} dB",
            )
            for row in rows
        ),
        right=("pixels", "file", ".zel", "bits per pixel", "PSNR"),
    )
    before, after = (sum(row[key] for row in rows) for key in ("file_bytes", "zel_bytes"))
    mean = sum(row["psnr"] for row in rows) / len(rows)
    print(
        f"{len(rows)} photographs, {before / 1000:,.0f} kB, became {after / 1000:,.0f} kB of tokens "
        f"at a mean of {mean:.1f} dB, in {seconds:.0f} s.\n"
        f"\n  the report      {output / 'report.html'}"
        f"\n  at a glance     {output / 'contact-sheet.png'}"
        f"\n  token files     {output / 'tokens'}"
        f"\n  reconstructions {output / 'reconstructed'}"
        f"\n  drawn           {output / 'generated' / 'contact-sheet.png'}\n"
        "\nYour own photo:   zellige encode photo.jpg -o photo.zel && zellige decode photo.zel -o decoded"
        f"\nYour own emoji:   zellige generate {GENERATOR} --class 'Smileys & Emotion' -o smileys"
    )
