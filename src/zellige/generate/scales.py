"""Next-scale generation (VAR, arXiv 2404.02905): the token maps of an image from coarse to fine, each at once.

What a scale is predicted from is the canvas, the image so far on the finest grid, averaged down to its size.
Legend: B samples, D dimensions, h·w cells of the finest scale, n those of one scale, K scales.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.tokens import Layout
from zellige.nn.conv import to_grid, to_sequence
from zellige.nn.rope import grid_positions

Draw = Callable[[Tensor | None, int, float], Tensor]
Paint = Callable[[Tensor, int], Tensor]


def next_scales(draw: Draw, paint: Paint, scales: Layout) -> Tensor:
    """Sample all scales, (B, sum of n) or (B, sum of n, …), in K calls of `draw`.

    Args:
        draw: the canvas at the size of the scale to come, (B, n, D) (None at the first, of which nothing is known),
            the index k of that scale and its progress k / (K - 1), which is that of the guidance, to its tokens
            (B, n, …). It keeps what it needs in a cache.
        paint: tokens of a scale, and its index, to the canvas with them, (B, D, h, w); not called for the last.
        scales: (height, width) of each map, coarse to fine.
    """
    parts: list[Tensor] = []
    view = None
    for index in range(len(scales)):
        parts.append(draw(view, index, index / max(len(scales) - 1, 1)))
        if index + 1 < len(scales):
            view = shrink(paint(parts[-1], index), scales[index + 1])
    return torch.cat(parts, dim=1)


def views(canvases: Sequence[Tensor], scales: Layout) -> Tensor:
    """What all scales but the first are predicted from, (B, sum of n, D), of the canvases (B, D, h, w) before them."""
    return torch.cat([shrink(canvas, scale) for canvas, scale in zip(canvases, scales[1:], strict=False)], dim=1)


def shrink(canvas: Tensor, scale: tuple[int, ...]) -> Tensor:
    """(B, D, h, w) averaged down to a scale, (B, n, D)."""
    return to_sequence(F.interpolate(canvas, scale, mode="area"))


def enlarge(tokens: Tensor, scale: tuple[int, ...], finest: tuple[int, ...]) -> Tensor:
    """A map (B, n, D) of a scale on the finest grid, (B, D, h, w), by bicubic interpolation."""
    canvas = to_grid(tokens, scale)
    return canvas if scale == finest else F.interpolate(canvas, finest, mode="bicubic")


def scale_positions(scales: Layout, span: int | None = None) -> Tensor:
    """Coordinates of all tokens, float (sum of n, 2), each map laid over the finest one, or over `span` a side."""
    whole = torch.tensor(scales[-1] if span is None else (span, span))
    return torch.cat([grid_positions(scale) * (whole / torch.tensor(scale)) for scale in scales])


def halvings(grid: tuple[int, ...]) -> Layout:
    """The scales that double up to a grid: halves of its sides, rounded up, down to 1×1."""
    scales = [tuple(grid)]
    while max(scales[0]) > 1:
        scales.insert(0, tuple(-(-side // 2) for side in scales[0]))
    return tuple(scales)
