"""Latent perturbation as a technique of training (RobustTok, arXiv 2503.08354).

Legend: B samples, N positions, D dimensions, K codes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError, nearest
from zellige.latent.anneal import Annealing, Formula
from zellige.latent.perturb import AROUND, Around, check_strength, perturb_first
from zellige.latent.technique import Pass, Technique

_SHARE_OF_CODES = 1 / 40
_MOST_CODES = 400
"""Neighbours taken by default at most: that share of K = 16,384, the largest codebook the paper perturbs."""
_SHARE_OF_IMAGES = 0.1


def usual_delta(codebook: tuple[int, ...]) -> int:
    """The neighbourhood taken unless told otherwise: K/40 codes of the smallest codebook, 2 to 400, never above K."""
    smallest = min(codebook)
    return min(smallest, max(2, min(round(smallest * _SHARE_OF_CODES), _MOST_CODES)))


class LatentPerturbation(Technique):
    """Decodes some images of every batch from codes that lie near theirs; `perturb` says how.

    All losses of codes see the clean ones. The strength falls over the run as `Annealing` says.

    Statistics: `perturbed`, the share of the ids of the batch that changed; `perturb_alpha`, `perturb_delta`.

    Args:
        alpha: share of the tokens that is replaced, at first.
        beta: share of the images of a batch on each process; None takes a tenth, but one image at least.
        delta: codes to choose from, at first; None takes `usual_delta` of the tokenizer.
        around: neighbours of the latents ("feature") or of their codes ("code").
        anneal_start: share of the run from which the strength falls.
        anneal_end: share of the run at which it has fallen.
        anneal_ratio: share of the strength that is left then.
        anneal_formula: "continuous", or "official" for the released one, which jumps unless the ratio is ½.
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        beta: float | None = None,
        delta: int | None = None,
        around: Around = "feature",
        anneal_start: float = 0.2,
        anneal_end: float = 0.6,
        anneal_ratio: float = 0.5,
        anneal_formula: Formula = "continuous",
    ) -> None:
        super().__init__()
        if beta is not None and not 0 <= beta <= 1:
            raise UsageError(f"beta, the share of images that is perturbed, is in [0, 1]; got {beta:g}")
        if not 0 <= alpha <= 1:
            raise UsageError(f"alpha, the share of tokens that is replaced, is in [0, 1]; got {alpha:g}")
        if around not in AROUND:
            raise nearest(around, list(AROUND), "neighbourhood")
        self.alpha, self.beta, self.delta, self.around = alpha, beta, delta, around
        self.annealing = Annealing(anneal_start, anneal_end, anneal_ratio, anneal_formula)

    def prepare(self, tokenizer: Tokenizer, batch_size: int) -> None:
        codebook = tokenizer.codebook
        check_strength(codebook, alpha=self.alpha, delta=self._delta(codebook) if codebook else 1)
        if self.samples(batch_size) == 0 and self.beta:
            raise UsageError(
                f"beta={self.beta:g} of batches of {batch_size} is less than one image, so nothing would be "
                f"perturbed; set beta to {math.ceil(1000 / batch_size) / 1000:g} or more, or leave it out"
            )

    def samples(self, batch: int) -> int:
        """How many images of a batch are perturbed; the first ones are."""
        if self.beta is None:
            return max(1, math.floor(batch * _SHARE_OF_IMAGES))
        return math.floor(batch * self.beta)

    def on_quantized(self, quantized: Tensor, seen: Pass) -> Tensor:
        clean, quantizer = seen.clean, seen.quantizer
        alpha, delta = self.annealing.strength(seen.progress, alpha=self.alpha, delta=self._delta(quantizer.codebook))
        samples = self.samples(len(seen.z))
        z_q, ids = perturb_first(quantizer, seen.z, clean, samples, alpha=alpha, delta=delta, around=self.around)
        assert clean.ids is not None
        changed = (ids != clean.ids[:samples]).sum() / clean.ids.numel()
        seen.stats |= {
            "perturbed": changed,
            "perturb_alpha": torch.tensor(alpha, device=changed.device),
            "perturb_delta": torch.tensor(float(delta), device=changed.device),
        }
        # What another technique did to the clean latents stays; only the step to other codes is added.
        return z_q if quantized is clean.z_q else quantized + (z_q - clean.z_q).detach()

    def _delta(self, codebook: tuple[int, ...]) -> int:
        return usual_delta(codebook) if self.delta is None else self.delta
