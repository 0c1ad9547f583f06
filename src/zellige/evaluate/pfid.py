"""pFID within an evaluation: the tokens of each batch, perturbed by every cell of a grid, decoded and compared.

    images ─ encode, once ─ latents, ids ─┬─ decode ─────────────────────── clean distance
                                          └─ perturb ─ decode, a cell ────── distance of the cell
                                          (references are seen once, and serve all)

Legend: B images, N tokens, G sub-codebooks, H W pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError
from zellige.core.tokens import Tokens
from zellige.evaluate.result import Robustness, RobustnessCell
from zellige.latent.perturb import Draws, draw, perturb_ids_each
from zellige.metrics import Measurement
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.perturbed import Cell, PerturbationGrid, PerturbedDistances
from zellige.quantize import Quantizer


def quantizer_of(tokenizer: Tokenizer) -> Quantizer:
    """The quantizer that knows the neighbours of its codes. `UsageError` for a tokenizer without one."""
    quantizer = getattr(tokenizer, "quantizer", None)
    if not tokenizer.codebook:
        raise UsageError(
            f"pFID perturbs tokens, and {tokenizer.name} has continuous latents; use a discrete tokenizer, or fd"
        )
    if not isinstance(quantizer, Quantizer):
        raise UsageError(f"pFID asks a quantizer for the neighbours of codes, and {tokenizer.name} has none")
    return quantizer


def check_perturbable(tokenizer: Tokenizer, grid: PerturbationGrid, *, stored: bool) -> None:
    """Raise `UsageError` unless pFID of this grid can be had, of tokens alone if they are `stored`."""
    quantizer_of(tokenizer)
    grid.cells(tokenizer.codebook)
    if stored and grid.around != "code":
        raise UsageError("a token set holds no latents, so pFID of it is around the codes: ask for around code")


class PerturbationStudy:
    """The sums of one pFID.

    Args:
        tokenizer: a discrete one.
        clean: distance of its unperturbed reconstructions, which `add` keeps up to date.
        grid: the strengths.
        decode: tokens to pixels, as the clean ones are decoded: tiles, autocast.
        clock: seconds, once the device has done its work.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        clean: FeatureDistances,
        grid: PerturbationGrid,
        decode: Callable[[Tokens], Tensor],
        clock: Callable[[], float],
    ) -> None:
        self.quantizer = quantizer_of(tokenizer)
        self.grid = grid
        self.distances = PerturbedDistances(clean, grid, tokenizer.codebook)
        self._decode, self._clock = decode, clock
        self._clean_seconds = self._cells_seconds = 0.0

    def add(
        self, numbers: Sequence[int], reference: Tensor, output: Tensor, latents: Tensor | None, tokens: Tokens
    ) -> None:
        """Measure a batch.

        Args:
            numbers: of its images in the set, (B,), which their draws depend on.
            reference: originals (B, 3, H, W) in [-1, 1].
            output: clean reconstructions, likewise.
            latents: (B, N, D) as the quantizer sees them; None around codes.
            tokens: what they became, on the device of the tokenizer.
        """
        assert tokens.ids is not None
        height, width = reference.shape[-2:]
        start = self._clock()
        self.distances.clean.update(reference, output)
        middle = self._clock()
        query = tokens.ids if latents is None else latents
        cells = self.distances.cells
        draws = [cell_draws(tokens.ids, numbers, cell, self.grid.seed) for cell in cells]
        strengths = [(cell.alpha, cell.delta) for cell in cells]
        for cell, ids in zip(cells, perturb_ids_each(self.quantizer, query, tokens.ids, strengths, draws), strict=True):
            images = self._decode(replace(tokens, ids=ids))[..., :height, :width].float()
            self.distances.add(cell, images, int((ids != tokens.ids).sum()), ids.numel())
        self._clean_seconds += middle - start
        self._cells_seconds += self._clock() - middle

    def result(self, clean: Measurement, round_trip_seconds: float) -> Robustness:
        """The figure and its cells.

        Args:
            clean: what the clean distance computes to.
            round_trip_seconds: of encoding and decoding clean tokens.
        """
        found = self.distances
        cells = [RobustnessCell(c.alpha, c.delta, found.changed(c), found.distance(c)) for c in found.cells]
        mean = found.mean([cell.distance for cell in cells])
        count = found.clean.fake.count
        warning = ""
        if count < found.needed:
            warning = (
                f"{mean.protocol.metric} over {count:,} images, fewer than the {found.needed:,} that a covariance of "
                f"{found.needed - 1:,} features needs: it is biased upwards, so compare at equal counts only"
            )
        seconds = round_trip_seconds + self._clean_seconds
        return Robustness(mean, clean, tuple(cells), self.grid, seconds, self._cells_seconds, warning)


def cell_draws(ids: Tensor, numbers: Sequence[int], cell: Cell, seed: int) -> Draws:
    """Draws of `perturb_ids` for a batch of ids (B, N) or (B, N, G): those of each image by itself.

    They depend on the seed, the image's number and the cell: not on the batch, the device or the other cells.
    """
    each = []
    for row, number in zip(ids.cpu(), numbers, strict=True):
        key = f"{seed} {number} {cell.alpha!r} {cell.delta}".encode()
        generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))
        each.append(draw(row, cell.delta, generator))
    p, j = (torch.stack(values).to(ids.device) for values in zip(*each, strict=True))
    return p, j
