"""Pictures for people: display sizes, amplified differences, data URIs, and a contact sheet.

Legend: H W pixels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zellige.codec.files import replacing
from zellige.evaluate.result import Example, ImageResult

DISPLAY_SIDE = 768
"""Pixels of the long side above which a picture is shrunk for display."""
AMPLIFICATION = 4
"""How much brighter a difference is shown than it is."""


def example(result: ImageResult, original: np.ndarray, reconstruction: np.ndarray) -> Example:
    """A triple at display size. The difference is taken at full size, then shrunk."""
    apart = np.abs(original.astype(np.int16) - reconstruction)
    difference = (apart * AMPLIFICATION).clip(0, 255).astype(np.uint8)
    return Example(result, shrink(original), shrink(reconstruction), shrink(difference))


def shrink(picture: np.ndarray, side: int = DISPLAY_SIDE) -> np.ndarray:
    """uint8 (H, W, 3) with a long side of at most `side`."""
    image = Image.fromarray(picture)
    scale = side / max(image.size)
    if scale >= 1:
        return picture
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def data_uri(picture: np.ndarray) -> str:
    """uint8 (H, W, 3) as a ``data:`` address: WebP, lossless where the picture is small."""
    buffer = io.BytesIO()
    small = picture.shape[0] * picture.shape[1] <= 128 * 128
    Image.fromarray(picture).save(buffer, "WEBP", lossless=small, quality=92, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def contact_sheet(examples: Sequence[Example], path: str | Path, *, side: int = 288, title: str = "") -> None:
    """Write a PNG: a row an example, of original, reconstruction and difference, with their names.

    Args:
        examples: of an `EvalResult`.
        path: of the PNG, which appears whole or not at all.
        side: pixels of the long side of each picture.
        title: a line above all.
    """
    gap, caption, head = 12, 22, 58 if title else 34
    rows = [[shrink(p, side) for p in (e.original, e.reconstruction, e.difference)] for e in examples]
    widest = max((row[0].shape[1] for row in rows), default=side)
    height = head + sum(row[0].shape[0] + caption + gap for row in rows) + gap
    sheet = Image.new("RGB", (3 * widest + 4 * gap, height), "#faf8f4")
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((gap, 10), title, "#1d2530", ImageFont.load_default(18))
    font = ImageFont.load_default(13)
    for i, name in enumerate(("original", "reconstruction", f"difference × {AMPLIFICATION}")):
        draw.text((gap + i * (widest + gap), head - 22), name, "#5a6472", font)
    top = head
    for e, row in zip(examples, rows, strict=True):
        for i, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture), (gap + i * (widest + gap), top))
        top += row[0].shape[0]
        figures = f"{e.result.key}   {e.result.width}×{e.result.height}   {e.result.values['psnr']:.1f} dB"
        draw.text((gap, top + 3), figures, "#5a6472", font)
        top += caption + gap
    with replacing(Path(path)) as temporary:
        sheet.save(temporary, "PNG", optimize=True)
