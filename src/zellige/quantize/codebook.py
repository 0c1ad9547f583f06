"""The codebook of vector quantizers: trained by gradients or as a moving average, started and kept alive.

Legend: M vectors, K codes, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zellige.core.errors import UsageError
from zellige.nn.ranks import from_rank_zero, gather_rows, sample_rows, sum_ranks
from zellige.quantize.search import nearest_codes, nearest_k_codes, ranked_codes
from zellige.quantize.separable import check_k

_USE_DECAY = 0.99
"""Memory of the count of uses where the codes themselves are trained by gradients."""
_CLUSTERING_RATE = 10
_KMEANS_STEPS = 10
_KMEANS_SAMPLES = 16
"""Most vectors a code that the k-means start looks at."""


class Codebook(nn.Module):
    """K vectors with exact nearest-code search.

    `weight` (K, D) is a parameter: trained by the optimizer, or, with `decay`, frozen to it and set to
    the moving average of the vectors that chose each code (van den Oord et al., arXiv 1711.00937).
    The averages weigh every batch equally: `uses` is in units of the mean use, so 1 is an average code,
    and `sums / uses` is the code. All statistics are summed over ranks, whose codebooks stay equal.

    With `clustering` codes are trained by gradients, and besides each moves to the vector of the batch that is nearest
    to it, the farther the less it is used: by exp(-10³ · uses - 10⁻³) of the way (Zheng and Vedaldi, arXiv 2307.15139).
    Its `uses` start at zero: a code that the first batch does not choose moves at once.

    In training, `prepare` comes before a search and `observe` after it.

    State: `weight`; `uses` (K,) with `decay`, `revive_below` or `clustering`; `sums` (K, D) with `decay`; `started`
    (a boolean) with `kmeans_start`. With none of these, `weight` is all there is.

    Attributes:
        waiting: (M, D) training vectors that the k-means start has seen while they were fewer than K; None before
            and after. No part of the state: checkpoints of a run keep it.
        replaced: (K,) codes that were started or replaced since somebody set this to None, or None for none. Nor is
            this: a training step asks for it, to average no codes that have nothing in common.
    """

    waiting: Tensor | None
    replaced: Tensor | None
    uses: Tensor | None
    sums: Tensor | None
    started: Tensor | None

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        normalize: bool = False,
        keep_length: bool = False,
        decay: float | None = None,
        kmeans_start: bool = False,
        revive_below: float = 0.0,
        clustering: bool = False,
    ) -> None:
        """Codebook at its random start.

        Args:
            size: K, at least 1.
            dim: D.
            normalize: vectors and codes are scaled to length 1 when compared and looked up (arXiv 2110.04627).
            keep_length: with `normalize`, codes are only compared so, and looked up as they are.
            decay: of the moving average, in [0, 1); None for a codebook trained by gradients.
            kmeans_start: sets the codes to k-means centres of the first K or more training vectors.
            revive_below: codes used less than this share of the mean use are replaced by vectors of the
                batch; 0 leaves them.
            clustering: see above; in place of `decay` and `revive_below`.
        """
        super().__init__()
        if size < 1 or dim < 1:
            raise UsageError(f"a codebook needs at least one code and one dimension; got {size} codes of {dim}")
        if decay is not None and not 0 <= decay < 1:
            raise UsageError(f"the decay of a moving-average codebook is in [0, 1); got {decay}")
        if not 0 <= revive_below < 1:
            raise UsageError(f"revive_below is a share of the mean use, in [0, 1); got {revive_below}")
        if clustering and (decay is not None or revive_below):
            raise UsageError("clustering moves the codes of a codebook by itself: leave out decay and revive_below")
        self.normalize, self.keep_length = normalize, keep_length
        self.decay, self.revive_below, self.clustering = decay, revive_below, clustering
        start = torch.randn(size, dim) if normalize else torch.empty(size, dim).uniform_(-1 / size, 1 / size)
        self.weight = nn.Parameter(self.project(start), requires_grad=decay is None)
        counted = decay is not None or revive_below > 0 or clustering
        self.register_buffer("uses", torch.full((size,), 0.0 if clustering else 1.0) if counted else None)
        self.register_buffer("sums", self.weight.detach().clone() if decay is not None else None)
        self.register_buffer("started", torch.tensor(False) if kmeans_start else None)
        self.waiting = self.replaced = None

    def project(self, z: Tensor) -> Tensor:
        """Vectors (…, D) as they are compared, float32: of length 1 with `normalize`."""
        z = z.float()
        return F.normalize(z, dim=-1) if self.normalize else z

    def lookup(self, ids: Tensor) -> Tensor:
        """Codes (…, D) of ids (…), float32, with gradients to `weight`."""
        codes = F.embedding(ids, self.weight)
        return codes.float() if self.keep_length else self.project(codes)

    def nearest(self, z: Tensor) -> Tensor:
        """Ids (M,) of the codes nearest to projected vectors (M, D)."""
        return nearest_codes(z, self.project(self.weight))

    def nearest_k(self, z: Tensor, first: Tensor, k: int) -> Tensor:
        """Ids (M, k) of the k codes nearest to projected vectors, `first` (M,) leading."""
        check_k(k, len(self.weight))
        return nearest_k_codes(z, self.project(self.weight), first, k)

    def ranked(self, z: Tensor, first: Tensor, rank: Tensor) -> Tensor:
        """Ids (M,) of the codes of rank `rank` (M,) among those nearest to projected vectors, `first` (M,) being 0."""
        return ranked_codes(z, self.project(self.weight), first, rank)

    @torch.no_grad()
    def prepare(self, z: Tensor) -> None:
        """Starts the codes, or replaces dead ones, from the projected vectors (M, D) of a training batch."""
        if self.started is not None and not self.started:
            self._start(z)
        elif self.uses is not None and self.revive_below > 0:
            dead = (self.uses < self.revive_below).nonzero()[:, 0]
            if len(dead):
                self._set(dead, sample_rows(z, len(dead)))

    @torch.no_grad()
    def observe(self, z: Tensor, ids: Tensor) -> None:
        """Counts the uses `ids` (M,) of the vectors (M, D), and moves the codes with `decay` or `clustering`."""
        if self.uses is None:
            return
        decay = _USE_DECAY if self.decay is None else self.decay
        counts = sum_ranks(torch.bincount(ids, minlength=len(self.weight)).to(self.uses.dtype))
        share = len(self.weight) / counts.sum().clamp(min=1)
        self.uses.lerp_(counts * share, 1 - decay)
        if self.sums is not None:
            totals = sum_ranks(torch.zeros_like(self.sums).index_add_(0, ids, z.to(self.sums.dtype)))
            self.sums.lerp_(totals * share, 1 - decay)
            alive = self.uses > 1e-6  # below, the ratio is noise: such a code keeps its place
            means = self.project(self.sums / self.uses.clamp(min=1e-6)[:, None])
            self.weight.copy_(torch.where(alive[:, None], means, self.weight))
        if self.clustering:
            every = gather_rows(z)
            nearest = every[nearest_codes(self.project(self.weight), every)].to(self.weight.dtype)
            step = torch.exp(-_CLUSTERING_RATE * self.uses / (1 - decay) - 1e-3)
            self.weight.lerp_(nearest, step.to(self.weight.dtype)[:, None])

    def _start(self, z: Tensor) -> None:
        size, missing = len(self.weight), _KMEANS_SAMPLES * len(self.weight)
        count = int(sum_ranks(torch.tensor(len(z), device=z.device)))
        rows = sample_rows(z, min(count, missing))
        if not rows.isfinite().all():  # a step that went wrong, of which nothing is to stay
            return
        samples = rows if self.waiting is None else torch.cat([self.waiting, rows])
        self.waiting = samples if len(samples) < size else None
        if len(samples) < size:
            return
        centres = kmeans(samples[: _KMEANS_SAMPLES * size], size, self.project)
        self._set(torch.arange(size, device=z.device), from_rank_zero(centres))
        assert self.started is not None
        self.started.fill_(True)

    def _set(self, ids: Tensor, codes: Tensor) -> None:
        """New codes, whose statistics start afresh at the mean use, so that no stale average undoes them."""
        self.weight[ids] = codes.to(self.weight.dtype)
        if self.uses is not None:
            self.uses[ids] = 1.0
        if self.sums is not None:
            self.sums[ids] = codes.to(self.sums.dtype)
        if self.replaced is None:
            self.replaced = torch.zeros(len(self.weight), dtype=torch.bool, device=self.weight.device)
        self.replaced[ids] = True


@torch.no_grad()
def kmeans(samples: Tensor, size: int, project: Callable[[Tensor], Tensor]) -> Tensor:
    """Centres (size, D) of samples (M, D), M ≥ size, by Lloyd's algorithm from random samples.

    `project` is applied to the means of every step. A centre that loses all its samples stays.
    """
    centres = samples[torch.randperm(len(samples))[:size].to(samples.device)]
    for _ in range(_KMEANS_STEPS):
        ids = nearest_codes(samples, centres)
        counts = torch.bincount(ids, minlength=size)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, ids, samples)
        centres = torch.where(counts > 0, project(sums / counts.clamp(min=1)), centres)
    return centres
