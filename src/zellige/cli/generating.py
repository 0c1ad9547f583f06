"""What `zellige generate` does: conditions to labels, seeds to images, a record beside them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import zellige
from zellige.cli.console import progress
from zellige.cli.options import Precision
from zellige.cli.runtime import choose_device, choose_dtype
from zellige.core.condition import Condition, classes_called
from zellige.core.errors import DataError, UsageError, reason
from zellige.core.files import replacing
from zellige.core.generator import Generator
from zellige.core.images import load_image, save_image, tile
from zellige.core.pixels import to_uint8
from zellige.encoders.text import TextEncoder
from zellige.evaluate.environment import environment
from zellige.generate.images import ImageGenerator, open_generator

RECORD, SHEET = "generate.json", "contact-sheet.png"
ON_SHEET = 256
"""Images on the contact sheet at most."""
FORMAT = 1


@dataclass(frozen=True)
class Wanted:
    """What the user asked for.

    Attributes:
        classes: numbers or names; ``texts`` for generators of texts.
        num: images in all; the conditions take turns.
        seed: of the first image; None takes a new one.
        sampling: guidance, temperature and the like, where they were given.
        text_encoder: where the user named one.
    """

    classes: Sequence[str]
    texts: Sequence[str]
    num: int
    seed: int | None
    sampling: dict[str, Any] = field(default_factory=dict)
    text_encoder: str | None = None


@dataclass(frozen=True)
class Generated:
    """The record of a finished run, and how many of its images an earlier one had made."""

    record: dict[str, Any]
    kept: int


def generate_images(
    name: str,
    wanted: Wanted,
    output: Path,
    *,
    tokenizer: str | None = None,
    device: str = "auto",
    precision: Precision = Precision.FP32,
    batch_size: int = 16,
    suffix: str = ".png",
    columns: int = 8,
    resume: bool = False,
    command: str = "",
) -> Generated:
    """Draw what is wanted into the folder `output`.

    The record is written first; each image is whole as soon as it is there. So whatever interrupts the run, its
    images are kept, and `resume` makes those that are missing.

    Raises:
        UsageError: the generator does not take the condition; the folder holds other images.
        ZelligeError: a batch does not fit in memory.
    """
    if (output / RECORD).exists() and not resume:
        raise UsageError(f"{output} holds generated images; add --resume to go on, or choose another --output")
    where = choose_device(device)
    images = open_generator(name, tokenizer, device=where, precision=choose_dtype(where, precision))
    record = make_record(images, wanted, suffix)
    if resume:
        record = _same_record(output / RECORD, record, wanted.seed)
    encoder = _text_encoder(images.generator, wanted) if wanted.texts else None
    details = {"command": command, "environment": environment(where), "precision": str(images.precision)[6:]}
    with replacing(output / RECORD) as temporary:
        temporary.write_text(json.dumps({**record, **details}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    rows = record["images"]
    missing = [row for row in rows if not (resume and (output / row["file"]).exists())]
    with progress("drawing", len(rows)) as bar:
        bar.advance(len(rows) - len(missing))
        for start in range(0, len(missing), batch_size):
            batch = missing[start : start + batch_size]
            pixels = images.draw(_condition(batch, encoder), [row["seed"] for row in batch], **wanted.sampling)
            for row, picture in zip(batch, to_uint8(pixels), strict=True):
                save_image(output / row["file"], picture)
            bar.advance(len(batch))
    shown = [load_image(output / row["file"]) for row in rows[:ON_SHEET]]
    save_image(output / SHEET, tile(np.stack(shown), columns))
    return Generated({**record, **details}, len(rows) - len(missing))


def make_record(images: ImageGenerator, wanted: Wanted, suffix: str) -> dict[str, Any]:
    """All that the images depend on, JSON-ready; `UsageError` for what the generator cannot do."""
    generator, tokenizer = images.generator, images.tokenizer
    settings = generator.settings(wanted.sampling)
    settings.guide(), settings.sampler()  # which refuse values out of range
    seed = secrets.randbits(31) if wanted.seed is None else wanted.seed
    conditions = _conditions(generator, wanted)
    return {
        "format": FORMAT,
        "zellige": zellige.__version__,
        "generator": _facts(generator),
        "tokenizer": _facts(tokenizer),
        "text_encoder": (wanted.text_encoder or generator.config.text_encoder) if wanted.texts else None,
        "sampling": {key: value for key, value in asdict(settings).items() if key in generator.sampling},
        "images": [
            {"file": f"{number:06d}{suffix}", "seed": seed + number, **condition}
            for number, condition in enumerate(conditions)
        ],
    }


def _facts(model: Any) -> dict[str, Any]:
    return {"name": model.name, "fingerprint": model.fingerprint(), "licence": model.licence}


def _conditions(generator: Generator, wanted: Wanted) -> list[dict[str, Any]]:
    """Of each image: its class and the name of that, or its text, or nothing."""
    numbers = range(wanted.num)
    if wanted.texts:
        if not generator.text_dim:
            what = f"a class, see --class (there are {generator.classes})" if generator.classes else "no condition"
            raise UsageError(f"{generator.name} takes no text but {what}")
        if wanted.classes:
            raise UsageError("give --class or --text, not both")
        return [{"text": wanted.texts[i % len(wanted.texts)]} for i in numbers]
    if generator.lacks_null():
        raise UsageError(f"{generator.name} draws from texts; name one or several, --text")
    if generator.text_dim and wanted.classes:
        raise UsageError(f"{generator.name} takes no class but a text, see --text")
    if wanted.classes and not generator.classes:
        raise UsageError(f"{generator.name} was made without classes; leave out --class")
    if not generator.classes:
        return [{} for _ in numbers]
    names = generator.config.class_names
    asked = [classes_called(text, generator.classes, names, generator.name) for text in wanted.classes]
    if not asked:  # all of them, evenly spread where there are fewer images than classes
        asked = [[i * generator.classes // min(wanted.num, generator.classes)] for i in numbers][: generator.classes]
    labels = [(group := asked[i % len(asked)])[i // len(asked) % len(group)] for i in numbers]
    return [{"class": label, **({"name": names[label]} if names else {})} for label in labels]


def _condition(rows: Sequence[dict[str, Any]], encoder: TextEncoder | None) -> Condition:
    if encoder:
        return encoder([row["text"] for row in rows])
    return [row["class"] for row in rows] if "class" in rows[0] else None


def _text_encoder(generator: Generator, wanted: Wanted) -> TextEncoder:
    source = wanted.text_encoder or generator.config.text_encoder
    if not source:
        raise UsageError(f"{generator.name} does not say which text encoder it was trained with; add --text-encoder")
    encoder = TextEncoder.load(source, generator.device)
    encoder.read_for(generator.name, generator.reading())
    if generator.lacks_null():
        generator.set_null(encoder([""]))
    return encoder


def _same_record(path: Path, record: dict[str, Any], seed: int | None) -> dict[str, Any]:
    """The record of the run that is resumed; `UsageError` if it is of another."""
    if not path.exists():
        raise UsageError(f"nothing to resume: {path} does not exist; leave out --resume to begin")
    try:
        before = dict(json.loads(path.read_text("utf-8")))
        first = int(before["images"][0]["seed"])
    except (ValueError, TypeError, KeyError, IndexError, OSError) as error:
        raise DataError(f"{path} is damaged: {reason(error)}; remove it to begin anew") from error
    if seed is None:  # the seed that was drawn then
        images = [{**row, "seed": first + number} for number, row in enumerate(record["images"])]
        record = {**record, "images": images}
    plain = json.loads(json.dumps(record))
    for key, value in plain.items():
        if key != "zellige" and before.get(key) != value:
            raise UsageError(
                f"{path} is of images with another '{key}'; choose another --output, or leave out --resume"
            )
    return record
