"""How a codebook is used: share of codes, entropy, perplexity, and the frequency of every code.

Legend: B samples, N token positions, G sub-codebooks, K codes.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor

from zellige.core.errors import UsageError, ZelligeError
from zellige.core.tokens import Tokens
from zellige.metrics.base import Metric
from zellige.metrics.protocol import Measurement, Protocol

_HISTOGRAM_LIMIT = 2**22  # codes: 32 MB of counts
_PENDING_LIMIT = 2**20  # ids kept before they are sorted into a sparse count: 8 MB
_JOINT_LIMIT = 2**62  # joint codes are numbered in int64


class CodebookUsage(Metric):
    """Usage, entropy and perplexity of each sub-codebook, and of the joint code where there are several.

    usage = codes seen at least once / K; entropy H = −Σ p log2 p in bits; perplexity = 2^H. All
    over the whole set, unlike the sliding windows and averages that training logs show. A set with
    fewer tokens than codes cannot use all of them: `samples`, the number of tokens, says so.
    """

    def __init__(self, codebook: tuple[int, ...]) -> None:
        if not codebook:
            raise UsageError("continuous latents have no codebook whose usage could be measured")
        self.codebook = codebook
        self.groups = [code_counts(size) for size in codebook]
        joint = math.prod(codebook)
        self.joint = code_counts(joint) if len(codebook) > 1 and joint <= _JOINT_LIMIT else None

    def update(self, tokens: Tokens) -> None:
        """Count the ids of a batch, (B, N) or (B, N, G); positions beyond `lengths` are left out."""
        if tokens.ids is None or tokens.codebook != self.codebook:
            raise UsageError(f"usage of the codebook {self.codebook} cannot count tokens of {tokens.codebook}")
        ids = tokens.ids if tokens.ids.ndim == 3 else tokens.ids[..., None]
        if tokens.lengths is not None:
            valid = torch.arange(tokens.num_tokens, device=ids.device) < tokens.lengths.to(ids.device)[:, None]
            ids = ids[valid]
        ids = ids.reshape(-1, len(self.codebook)).to("cpu", torch.int64)
        joint = torch.zeros(len(ids), dtype=torch.int64)
        for group, size, counts in zip(ids.unbind(1), self.codebook, self.groups, strict=True):
            counts.add(group)
            joint = joint * size + group if self.joint else joint
        if self.joint:
            self.joint.add(joint)

    def compute(self) -> tuple[Measurement, ...]:
        several = len(self.groups) > 1
        found: list[Measurement] = []
        for number, counts in enumerate(self.groups, 1):
            found += _measure(counts, f"group {number} of {len(self.groups)}" if several else "")
        return tuple(found + (_measure(self.joint, "joint code") if self.joint else []))

    def merge(self, other: Self) -> None:
        if other.codebook != self.codebook:
            raise UsageError(f"cannot merge the usage of the codebooks {self.codebook} and {other.codebook}")
        for ours, theirs in zip(self._all(), other._all(), strict=True):
            ours.merge(theirs)

    def frequencies(self) -> list[Tensor]:
        """Counts of the codes in use, most frequent first, int64, one tensor a sub-codebook."""
        return [counts.counts().sort(descending=True).values for counts in self.groups]

    def _all(self) -> list[DenseCounts | SparseCounts]:
        return [*self.groups, *([self.joint] if self.joint else [])]


class DenseCounts:
    """A histogram over `size` codes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._counts = torch.zeros(size, dtype=torch.int64)

    def add(self, ids: Tensor) -> None:
        """Count int64 ids (n,)."""
        _check_range(ids, self.size)
        self._counts += torch.bincount(ids, minlength=self.size)

    def merge(self, other: DenseCounts | SparseCounts) -> None:
        """Add the counts of another worker."""
        self._counts.index_put_((other.codes(),), other.counts(), accumulate=True)

    def counts(self) -> Tensor:
        """Counts of the codes in use, in the order of the codes."""
        return self._counts[self._counts > 0]

    def codes(self) -> Tensor:
        """The codes in use, ascending."""
        return self._counts.nonzero()[:, 0]


class SparseCounts:
    """Counts of the codes seen, for codebooks too large for a histogram: 16 bytes a distinct code."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._codes = torch.zeros(0, dtype=torch.int64)
        self._counts = torch.zeros(0, dtype=torch.int64)
        self._pending: list[Tensor] = []
        self._pending_ids = 0

    def add(self, ids: Tensor) -> None:
        """Count int64 ids (n,)."""
        _check_range(ids, self.size)
        self._pending.append(ids)
        self._pending_ids += len(ids)
        if self._pending_ids >= _PENDING_LIMIT:
            self._compact()

    def merge(self, other: DenseCounts | SparseCounts) -> None:
        """Add the counts of another worker."""
        self._insert(other.codes(), other.counts())

    def counts(self) -> Tensor:
        """Counts of the codes in use, in the order of the codes."""
        self._compact()
        return self._counts

    def codes(self) -> Tensor:
        """The codes in use, ascending."""
        self._compact()
        return self._codes

    def _compact(self) -> None:
        if self._pending:
            codes, counts = torch.cat(self._pending).unique(return_counts=True)
            self._pending, self._pending_ids = [], 0
            self._insert(codes, counts)

    def _insert(self, codes: Tensor, counts: Tensor) -> None:
        merged, where = torch.cat([self._codes, codes]).unique(return_inverse=True)
        self._counts = torch.zeros(len(merged), dtype=torch.int64).index_add_(
            0, where, torch.cat([self._counts, counts])
        )
        self._codes = merged


def code_counts(size: int) -> DenseCounts | SparseCounts:
    """The counter that fits a codebook of `size` codes."""
    return DenseCounts(size) if size <= _HISTOGRAM_LIMIT else SparseCounts(size)


def _check_range(ids: Tensor, size: int) -> None:
    if len(ids) and not (ids.min() >= 0 and ids.max() < size):
        raise UsageError(f"token ids run from {ids.min()} to {ids.max()}; the codebook has codes 0 to {size - 1}")


def _measure(counter: DenseCounts | SparseCounts, variant: str) -> list[Measurement]:
    counts = counter.counts().double()
    total = int(counts.sum())
    if not total:
        raise ZelligeError("no tokens were counted, so there is no codebook usage to report")
    p = counts / total
    entropy = -(p * p.log2()).sum().item() + 0.0  # + 0.0: a single code gives 0, not -0

    def measurement(value: float, metric: str, definition: str, unit: str = "") -> Measurement:
        codebook = f"codebook of {counter.size:,}"
        return Measurement(value, Protocol(metric, variant, definition, unit=unit, samples=total, conditions=codebook))

    return [
        measurement(len(counts) / counter.size, "codebook usage", "codes seen over the whole set / codes", "share"),
        measurement(entropy, "code entropy", "−Σ p log₂ p over the whole set", "bits"),
        measurement(2**entropy, "code perplexity", "2 to the entropy", "codes"),
    ]
