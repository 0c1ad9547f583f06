"""Nearest codes by a short list from bfloat16 scores: for CPUs that multiply bfloat16 faster than float32.

Scores are computed in bfloat16; all codes that could still be the nearest one within their error are scored
again in float64. A vector is settled if one of these leads by more than float32 can err, so a settled id is
the one that a search in float32 finds; the other vectors are left to that search.

    s(z, e) = ½|e|² − z·e,    |s − ŝ| ≤ |ẑ|·|e − ê| + |z − ẑ|·|e| + rounding of sums

Legend: M vectors, K codes, D dimensions, P pairs of a vector and a code that is on its list.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zellige.nn.precision import bfloat16_is_fast

_DIM, _CODES, _VECTORS = 96, 2048, 256
"""Least sizes at which the product costs so much that half of it pays for the rest."""
_ROWS = 128
"""Vectors whose scores are held at once."""
_GROUP = 128
"""Codes whose minimum is taken first."""
_LISTED = 16
"""Groups a vector may have on its list, on average; with more, the list is no shorter than the search."""
_SETTLED = 0.75
"""Share of the vectors that the first list has to settle, or the others are not tried."""
_BF16, _FP32 = 2.0**-8, 2.0**-24
"""Relative errors of rounding to nearest."""


def worthwhile(z: Tensor, codes: Tensor) -> bool:
    """Whether a short list is likely to save time, with vectors (M, D) and codes (K, D) as they are."""
    large = z.shape[1] >= _DIM and len(codes) >= _CODES and len(z) >= _VECTORS
    return large and z.device.type == "cpu" and bfloat16_is_fast(z.device)


@torch.no_grad()
def settle(z: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Ids of the vectors that a short list settles.

    Args:
        z: (M, D) vectors.
        codes: (K, D).

    Returns:
        Ids, int64 (M,), and which of them are settled, bool (M,).
    """
    z, table = z.float(), _Table.of(codes.float())
    ids = torch.zeros(len(z), dtype=torch.long)
    settled = torch.zeros(len(z), dtype=torch.bool)
    buffer = table.rounded.new_empty(_ROWS, len(table.rounded))
    for start in range(0, len(z), _ROWS):
        part = slice(start, start + _ROWS)
        ids[part], settled[part] = _settle_rows(z[part], table, buffer)
        if not start and settled[part].float().mean() < _SETTLED:
            break
    return ids, settled


@dataclass(frozen=True)
class _Table:
    """What is computed of the codes once.

    Attributes:
        codes: (K, D).
        rounded: bfloat16 (K padded to groups, D + 2): ê, and ½|e|² as the sum of two.
        norm, code_error, half_error: the greatest |e|, |e − ê| and error of that sum.
    """

    codes: Tensor
    rounded: Tensor
    norm: Tensor
    code_error: Tensor
    half_error: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> _Table:
        size, dim = codes.shape
        norm = torch.linalg.vector_norm(codes, dim=1)
        half = norm.square() / 2
        rounded = codes.new_zeros(-(-size // _GROUP) * _GROUP, dim + 2, dtype=torch.bfloat16)
        rounded[:size, :dim] = codes
        rounded[:, dim] = torch.inf  # what pads never wins
        rounded[:size, dim] = half
        rounded[:size, dim + 1] = half - rounded[:size, dim]
        code_error = torch.linalg.vector_norm(codes - rounded[:size, :dim], dim=1)
        half_error = (half - rounded[:size, dim:].float().sum(1)).abs()
        return cls(codes, rounded, norm.amax(), code_error.amax(), half_error.amax())

    def errors(self, z: Tensor, rounded: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds, (M,), of the error of scores of bfloat16 vectors before they are rounded, and of float32 scores."""
        norm = torch.linalg.vector_norm(z, dim=1)
        inputs = torch.linalg.vector_norm(rounded.float(), dim=1) * self.code_error
        inputs += torch.linalg.vector_norm(z - rounded, dim=1) * self.norm
        # D products of float32, summed in any order, err by D·2⁻²⁴ of the product of lengths, and by what underflows.
        # A hundredth is for what the lengths themselves err by.
        sums = (z.shape[1] + 8) * (_FP32 * self.norm * (norm + self.norm / 2) + torch.finfo(z.dtype).tiny)
        return 1.01 * (inputs + self.half_error + sums), 1.01 * sums


def _settle_rows(z: Tensor, table: _Table, buffer: Tensor) -> tuple[Tensor, Tensor]:
    count, rounded = len(z), z.bfloat16()
    error, exact = table.errors(z, rounded)
    scores = buffer[:count]
    torch.mm(torch.cat([-rounded, rounded.new_ones(count, 2)], 1), table.rounded.t(), out=scores)
    groups = scores.view(count, _GROUP, -1)  # a group is every so-manieth code: least over it in whole rows
    least = groups.amin(1)
    lowest = least.amin(1).float()
    # The nearest code's score is at most the lowest one's, rounded either way, plus both their errors.
    limit = lowest + (_BF16 * lowest.abs() + 2 * error + 2 * exact) * (1 + _BF16)
    limit = torch.nextafter(limit.bfloat16(), limit.new_tensor(torch.inf).bfloat16())
    row, group = (least <= limit[:, None]).nonzero(as_tuple=True)
    if len(row) > _LISTED * count:
        return row.new_zeros(count), torch.zeros(count, dtype=torch.bool)
    pair, place = (groups[row, :, group] <= limit[row, None]).nonzero(as_tuple=True)
    row, code = row[pair], place * least.shape[1] + group[pair]
    vectors, codes = z[row].double(), table.codes[code].double()
    value = (codes * (codes / 2 - vectors)).sum(1)
    best = value.new_full((count,), torch.inf).scatter_reduce_(0, row, value, "amin")
    leading = value <= (best + 2 * exact)[row]
    row, code = row[leading], code[leading]
    ids = row.new_zeros(count).scatter_(0, row, code)
    return ids, torch.bincount(row, minlength=count) == 1
