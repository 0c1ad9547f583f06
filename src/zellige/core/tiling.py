"""Large images in tiles, written once for all tokenizers with a grid layout.

A tokenizer whose receptive field is known is tiled exactly: every tile is run with that much of its
surroundings, which are then cut away, so tokens and pixels are those of the whole image. For others
(group norm, attention) tiles overlap and their pixels are blended linearly.

Legend: B samples, H W pixels, h w token cells, G sub-codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError
from zellige.core.pixels import pad_to_multiple
from zellige.core.tokens import Tokens

TILE = 1024
"""Pixels a side of a tile, without its surroundings."""
WHOLE = 1536 * 1536
"""Images of at most so many pixels run whole."""
BLEND = 128
"""Pixels by which tiles reach beyond their border where the receptive field is the whole image."""


def encode_image(tokenizer: Tokenizer, pixels: Tensor, *, tile: int = TILE, whole: int = WHOLE) -> Tokens:
    """Tokens of (B, 3, H, W) pixels in [-1, 1], in tiles where H·W exceeds `whole`."""
    return _encode(tokenizer, tokenizer.encode, pixels, tile, whole)


def encode_image_latents(
    tokenizer: Tokenizer, pixels: Tensor, *, tile: int = TILE, whole: int = WHOLE
) -> tuple[Tensor, Tokens]:
    """As `Tokenizer.encode_latents`, in tiles where H·W exceeds `whole`."""
    if tokenizer.image_size is not None or pixels.shape[-2] * pixels.shape[-1] <= whole:
        return tokenizer.encode_latents(pixels)

    def latents(piece: Tensor) -> Tokens:
        z, tokens = tokenizer.encode_latents(piece)
        return Tokens(None, _check(tokenizer, tokens).layout, latents=z)

    found = _encode(tokenizer, latents, pixels, tile, whole)
    ids = tokenizer.quantizer.encode(found.data)
    return found.data, Tokens(ids, found.layout, tokenizer.codebook)


def _encode(tokenizer: Tokenizer, encode: Callable[[Tensor], Tokens], pixels: Tensor, tile: int, whole: int) -> Tokens:
    """What `encode` makes of the pixels, piece by piece where they are too many."""
    if tokenizer.image_size is not None or pixels.shape[-2] * pixels.shape[-1] <= whole:
        return encode(pixels)
    stride = tokenizer.stride
    pixels = pad_to_multiple(pixels, stride)
    size = (pixels.shape[-2] // stride, pixels.shape[-1] // stride)
    margin = -(-(tokenizer.receptive_field[0] if tokenizer.receptive_field else BLEND) // stride)
    parts: Tensor | None = None
    first: Tokens | None = None
    for (outer_y, inner_y), (outer_x, inner_x) in _tiles(size, max(1, tile // stride), margin):
        piece = pixels[..., _scale(outer_y, stride), _scale(outer_x, stride)]
        first = _check(tokenizer, encode(piece))
        grid = first.data.unflatten(1, first.layout[0])
        if parts is None:
            parts = grid.new_empty((grid.shape[0], *size, *grid.shape[3:]))
        parts[:, inner_y, inner_x] = grid[:, _inside(outer_y, inner_y), _inside(outer_x, inner_x)]
    assert parts is not None
    assert first is not None
    data = parts.flatten(1, 2)
    ids, latents = (data, None) if first.ids is not None else (None, data)
    return Tokens(ids, (size,), first.codebook, latents=latents)


def decode_tokens(tokenizer: Tokenizer, tokens: Tokens, *, tile: int = TILE, whole: int = WHOLE) -> Tensor:
    """Pixels (B, 3, H, W) in [-1, 1] of tokens, in tiles where H·W exceeds `whole`."""
    stride = tokenizer.stride
    if tokenizer.image_size is not None or tokens.num_tokens * stride**2 <= whole:
        return tokenizer.decode(tokens)
    _check(tokenizer, tokens)
    size = tokens.layout[0]
    field = tokenizer.receptive_field
    margin = field[1] if field else BLEND // stride
    grid = tokens.data.unflatten(1, size)
    out: Tensor | None = None
    weight = torch.zeros(size[0] * stride, size[1] * stride)
    for (outer_y, inner_y), (outer_x, inner_x) in _tiles((size[0], size[1]), max(1, tile // stride), margin):
        cells = grid[:, outer_y, outer_x]
        layout = (tuple(cells.shape[1:3]),)
        data = cells.flatten(1, 2)
        ids, latents = (data, None) if tokens.ids is not None else (None, data)
        piece = tokenizer.decode(Tokens(ids, layout, tokens.codebook, latents=latents)).float().cpu()
        if out is None:
            out = torch.zeros(len(tokens), 3, *weight.shape)
        rows, columns = _scale(outer_y, stride), _scale(outer_x, stride)
        if field:
            window = torch.zeros(piece.shape[-2:])
            window[_scale(_inside(outer_y, inner_y), stride), _scale(_inside(outer_x, inner_x), stride)] = 1
        else:
            window = _ramp(rows, weight.shape[0])[:, None] * _ramp(columns, weight.shape[1])
        out[..., rows, columns] += piece * window
        weight[rows, columns] += window
    assert out is not None
    return out / weight


def _check(tokenizer: Tokenizer, tokens: Tokens) -> Tokens:
    if len(tokens.layout) != 1 or len(tokens.layout[0]) != 2:
        raise UsageError(
            f"tokens of {tokenizer.name} have the layout {tokens.layout}, which cannot be tiled; resize the image"
        )
    return tokens


def _tiles(size: tuple[int, int], tile: int, margin: int) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Tiles of a grid: for each axis the slice that is run and, inside it, the slice that is kept."""

    def axis(total: int) -> list[tuple[slice, slice]]:
        return [
            (slice(max(0, i - margin), min(total, i + tile + margin)), slice(i, min(total, i + tile)))
            for i in range(0, total, tile)
        ]

    for y in axis(size[0]):
        for x in axis(size[1]):
            yield y, x


def _scale(cells: slice, stride: int) -> slice:
    return slice(cells.start * stride, cells.stop * stride)


def _inside(outer: slice, inner: slice) -> slice:
    return slice(inner.start - outer.start, inner.stop - outer.start)


def _ramp(span: slice, total: int) -> Tensor:
    """Weights of a tile along one axis, (length of `span`,): at an inner border 0 over `BLEND` / 2, where
    padding shows, then rising to 1 over `BLEND`, so that the weights of two neighbours add up to 1.
    """
    at = torch.arange(span.start, span.stop) + 0.5
    weight = torch.ones(span.stop - span.start)
    if span.start > 0:
        weight = torch.minimum(weight, (at - span.start) / BLEND - 0.5)
    if span.stop < total:
        weight = torch.minimum(weight, (span.stop - at) / BLEND - 0.5)
    return weight.clamp(min=0)
