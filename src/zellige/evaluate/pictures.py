"""Pictures for people: display sizes, amplified differences, data URIs, and a contact sheet.

Legend: H W pixels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from zellige.core.files import replacing
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


def contact_sheet(examples: Sequence[Example], path: str | Path, *, side: int = 200, title: str = "") -> None:
    """Write a PNG with two examples a row: original, reconstruction and difference, cut to squares.

    Args:
        examples: of an `EvalResult`.
        path: of the PNG, which appears whole or not at all.
        side: pixels of a square.
        title: what stands above, before the legend.
    """
    gap, caption, head, columns = 6, 28, 40, min(2, max(1, len(examples)))
    triple = 3 * side + 2 * gap
    rows = -(-len(examples) // columns)
    size = (columns * (triple + 3 * gap) + gap, head + rows * (side + caption) + gap)
    sheet = Image.new("RGB", size, "#fbf9f5")
    draw = ImageDraw.Draw(sheet)
    legend = (
        f"original, reconstruction, difference x {AMPLIFICATION} (centre crops)"  # the font has no multiplication sign
    )
    draw.text((2 * gap, 10), f"{title}: {legend}" if title else legend, "#1c2430", ImageFont.load_default(17))
    font = ImageFont.load_default(13)
    for i, e in enumerate(examples):
        left, top = 2 * gap + i % columns * (triple + 3 * gap), head + i // columns * (side + caption)
        for j, picture in enumerate((e.original, e.reconstruction, e.difference)):
            square = ImageOps.fit(Image.fromarray(picture), (side, side), Image.Resampling.LANCZOS)
            sheet.paste(square, (left + j * (side + gap), top))
        figures = f"{e.result.width} x {e.result.height},  {e.result.values['psnr']:.1f} dB"
        draw.text((left, top + side + 4), e.result.key[:60], "#1c2430", font)
        draw.text((left + triple, top + side + 4), figures, "#5d6673", font, anchor="ra")
    with replacing(Path(path)) as temporary:
        sheet.save(temporary, "PNG", optimize=True)
