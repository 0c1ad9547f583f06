"""Nearest-code search: exact, in float32, in tiles that stay in cache.

The score of a pair is ½|e|² − z·e, which orders codes as |z − e|² does. On a CPU `argmin` over the
scores costs more than the product that makes them, so the search has two levels: the minimum of
each block of codes, then `argmin` among the block minima and inside the winning block.

Legend: M vectors, K codes, D dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zellige.nn.precision import full_precision
from zellige.quantize.shortlist import settle, worthwhile

_BLOCK = 128
"""Codes whose minimum is taken first."""
_ROWS = 64
"""Vectors of a tile come in multiples of this."""
_COLUMNS = 2**14
"""Codes of one tile at most."""
_PART = 2**20
"""Numbers of the table that a tile multiplies by: 4 MB, so that they stay in cache from tile to tile."""
_TILE = {"cpu": 2**20}
"""Scores of one tile: 4 MB on a CPU, so that it stays in the second-level cache."""
_TILE_ELSEWHERE = 2**24
"""Scores of one tile on accelerators (64 MB), which want fewer and larger launches."""


@torch.no_grad()
def nearest_codes(z: Tensor, codes: Tensor) -> Tensor:
    """Index of the code nearest to each vector, the lowest one among equals.

    Args:
        z: (M, D) vectors.
        codes: (K, D).

    Returns:
        int64 (M,). Vectors that are not finite get some valid index.
    """
    if not worthwhile(z, codes):
        return _search(z, codes)
    ids, settled = settle(z, codes)
    left = (~settled).nonzero()[:, 0]
    ids[left] = _search(z[left], codes)
    return ids


def _search(z: Tensor, codes: Tensor) -> Tensor:
    if len(z) == 0:
        return torch.empty(0, dtype=torch.long, device=z.device)
    parts = [_score_table(part, _BLOCK) for part in codes.split(_columns(codes.shape[1]))]
    count, rows = len(z), _rows(len(z), parts[0].shape[1], z.device)
    vectors = _with_ones(z, rows)
    scores = vectors.new_empty(rows * parts[0].shape[1])
    found = [_nearest_in_tile(chunk, parts, scores) for chunk in vectors.split(rows)]
    return torch.cat(found)[:count].clamp(max=len(codes) - 1)


def _nearest_in_tile(vectors: Tensor, parts: list[Tensor], scores: Tensor) -> Tensor:
    best = vectors.new_full((len(vectors),), torch.inf)
    index = torch.zeros_like(best, dtype=torch.long)
    every = torch.arange(len(vectors), device=vectors.device)
    start = 0
    for part in parts:
        tile = scores[: len(vectors) * part.shape[1]].view(len(vectors), -1)
        with full_precision(vectors):
            torch.mm(vectors, part, out=tile)
        blocks = tile.view(len(vectors), -1, _BLOCK)
        value, block = blocks.amin(2).min(1)
        inside = blocks[every, block].argmin(1)
        better = value < best
        best = torch.where(better, value, best)
        index = torch.where(better, start + block * _BLOCK + inside, index)
        start += part.shape[1]
    return index


@torch.no_grad()
def nearest_k_codes(z: Tensor, codes: Tensor, first: Tensor, k: int) -> Tensor:
    """The k nearest codes of each vector, nearest first.

    Args:
        z: (M, D) vectors.
        codes: (K, D).
        first: int64 (M,), the code that is to come first: the nearest one, or the vector's own id.
        k: 1 to K.

    Returns:
        int64 (M, k).
    """
    table = _score_table(codes, 1)
    rows = _rows(len(z), len(codes), z.device)
    chunks = zip(z.split(rows), first.split(rows), strict=True)
    return torch.cat([_nearest_k_in_tile(vectors, own, table, k) for vectors, own in chunks])


@torch.no_grad()
def ranked_codes(z: Tensor, codes: Tensor, first: Tensor, rank: Tensor) -> Tensor:
    """One of the nearest codes of each vector: entry `rank` of what `nearest_k_codes` lists.

    No list is kept, vectors of rank 0 cost nothing, and a tile looks no further than its own ranks: they are
    taken in the order of their ranks.

    Args:
        z: (M, D) vectors.
        codes: (K, D).
        first: int64 (M,), the code of rank 0.
        rank: int64 (M,), 0 to K − 1.

    Returns:
        int64 (M,).
    """
    found, order = first.clone(), rank.argsort()
    order = order[rank[order] > 0]
    table = _score_table(codes, 1)
    for some in order.split(_rows(len(order), len(codes), z.device)) if len(order) else ():
        listed = _nearest_k_in_tile(z[some], first[some], table, 1 + int(rank[some[-1]]))
        found[some] = listed.gather(1, rank[some, None])[:, 0]
    return found


def _nearest_k_in_tile(vectors: Tensor, first: Tensor, table: Tensor, k: int) -> Tensor:
    with full_precision(vectors):
        scores = _with_ones(vectors, 1) @ table
    scores.scatter_(1, first[:, None], -torch.inf)
    return scores.topk(k, dim=1, largest=False, sorted=True).indices


def _columns(dim: int) -> int:
    """Codes of one tile: fewer where they are long."""
    return min(_COLUMNS, max(2**11, _PART // dim // _BLOCK * _BLOCK))


def _rows(count: int, columns: int, device: torch.device) -> int:
    tile = _TILE.get(device.type, _TILE_ELSEWHERE)
    needed = -(-count // _ROWS) * _ROWS
    return max(_ROWS, min(needed, tile // columns // _ROWS * _ROWS))


def _score_table(codes: Tensor, multiple: int) -> Tensor:
    """Columns (−e, ½|e|²), so that (z, 1) times the table gives the scores; padded with columns that never win.

    Laid out for the product: with D of a few dimensions, a transposed view of rows is several times slower.
    """
    codes = codes.float().t()
    size = codes.shape[1]
    table = codes.new_zeros(len(codes) + 1, -(-size // multiple) * multiple)
    torch.neg(codes, out=table[:-1, :size])
    table[-1] = torch.inf
    table[-1, :size] = codes.square().sum(0) / 2
    return table


def _with_ones(z: Tensor, multiple: int) -> Tensor:
    """Rows (z, 1), padded to whole tiles: equal shapes give a vector the same sums in any batch."""
    return F.pad(F.pad(z.float(), (0, 1), value=1.0), (0, 0, 0, -len(z) % multiple))
