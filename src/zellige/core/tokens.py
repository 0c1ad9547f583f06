"""`Tokens`: the one noun of the library.

Tokenizers make them, generators model them, reducers shorten them, evaluation judges what they
keep. Legend: B samples, N token positions, G sub-codebooks, D latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zellige.core.errors import UsageError

Layout = tuple[tuple[int, ...], ...]


def layout_size(layout: Layout) -> int:
    """Number of token positions of a layout: the sum over blocks of the product of their shape."""
    return sum(math.prod(block) for block in layout)


@dataclass(frozen=True)
class TokenSpec:
    """A kind of tokens: what two batches must have in common to be modelled by one generator.

    Attributes:
        layout: as in `Tokens`.
        codebook: size of each sub-codebook; empty for continuous latents.
        dim: D of continuous latents; 0 for ids.
    """

    layout: Layout
    codebook: tuple[int, ...] = ()
    dim: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", tuple(tuple(int(n) for n in block) for block in self.layout))
        object.__setattr__(self, "codebook", tuple(int(k) for k in self.codebook))

    def __str__(self) -> str:
        blocks = " + ".join("×".join(map(str, block)) for block in self.layout)
        if not self.codebook:
            return f"{blocks} latents of {self.dim} dimensions"
        return f"{blocks} tokens of {' × '.join(f'{k:,}' for k in self.codebook)} codes"


@dataclass(frozen=True, eq=False)
class Tokens:
    """Visual tokens of a batch of samples.

    Attributes:
        ids: int64, (B, N), or (B, N, G) for G sub-codebooks; None for continuous systems.
        latents: float, (B, N, D), for continuous systems; None otherwise.
        layout: one shape a block: ``((16, 16),)`` grid, ``((32,),)`` sequence,
            ``((1, 1), (2, 2), …)`` scales, ``((128,), (21, 21))`` holistic + patches,
            ``((5, 16, 16),)`` video. N is the sum of their products.
        codebook: size of each sub-codebook (length G, or 1 for (B, N) ids); empty if continuous.
        lengths: int64 (B,), the valid tokens of each sample; None where all N are.
    """

    ids: Tensor | None
    layout: Layout
    codebook: tuple[int, ...] = ()
    latents: Tensor | None = None
    lengths: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layout", tuple(tuple(int(n) for n in block) for block in self.layout))
        object.__setattr__(self, "codebook", tuple(int(k) for k in self.codebook))
        if (self.ids is None) == (self.latents is None):
            raise UsageError("Tokens hold either ids or latents, and not both")
        if len(self.data.shape) not in (2, 3) or (self.latents is not None and self.latents.ndim != 3):
            raise UsageError(f"token ids are (B, N) or (B, N, G) and latents (B, N, D); got {tuple(self.data.shape)}")
        if layout_size(self.layout) != self.data.shape[1]:
            raise UsageError(
                f"layout {self.layout} has {layout_size(self.layout)} tokens, the data {self.data.shape[1]}"
            )
        if self.ids is not None:
            groups = self.ids.shape[2] if self.ids.ndim == 3 else 1
            if len(self.codebook) != groups:
                raise UsageError(f"{groups} sub-codebooks need as many sizes; got codebook={self.codebook}")
            if self.ids.is_floating_point():
                raise UsageError("token ids are integers; pass floating-point data as latents")
        if self.lengths is not None and self.lengths.shape != (len(self),):
            raise UsageError(f"lengths is (B,) = ({len(self)},); got {tuple(self.lengths.shape)}")

    @property
    def data(self) -> Tensor:
        """`ids` or `latents`, whichever there is."""
        data = self.ids if self.ids is not None else self.latents
        assert data is not None
        return data

    @property
    def spec(self) -> TokenSpec:
        """The kind of these tokens."""
        return TokenSpec(self.layout, self.codebook, 0 if self.latents is None else self.latents.shape[2])

    @property
    def num_tokens(self) -> int:
        """N, the token positions of a sample (padding of variable-length sets included)."""
        return self.data.shape[1]

    @property
    def bits(self) -> Tensor:
        """Bits of each sample at fixed length, float64 (B,): tokens × Σ log2 of the codebook sizes.

        Raises `UsageError` for continuous tokens, which have no fixed-length code.
        """
        if self.ids is None:
            raise UsageError("continuous latents have no fixed number of bits; quantize them first")
        each = sum(math.log2(k) for k in self.codebook)
        counts = self.lengths if self.lengths is not None else torch.full((len(self),), self.num_tokens)
        return counts.to("cpu", torch.float64) * each

    def __len__(self) -> int:
        return self.data.shape[0]

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Tokens:
        """Some of the samples; a single index keeps the batch dimension."""
        rows: slice | Tensor
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"sample {index} of {len(self)}")
            rows = slice(index, index + 1 or None)
        elif isinstance(index, slice):
            rows = index
        else:
            rows = torch.as_tensor(index, device=self.data.device)
        return self._map(lambda t: t[rows])

    def to(self, device: torch.device | str) -> Tokens:
        """The same tokens on another device."""
        return self._map(lambda t: t.to(device))

    def truncate(self, num_tokens: int) -> Tokens:
        """The first `num_tokens` of each sample: a prefix, for ordered sequences (layout ((N,),)).

        Raises `UsageError` for layouts of several blocks or grids, whose prefix is no image.
        """
        if len(self.layout) != 1 or len(self.layout[0]) != 1:
            raise UsageError(f"only a sequence can be truncated; these tokens have the layout {self.layout}")
        if not 1 <= num_tokens <= self.num_tokens:
            raise UsageError(f"cannot keep {num_tokens} of {self.num_tokens} tokens; give 1 to {self.num_tokens}")
        return replace(
            self,
            ids=None if self.ids is None else self.ids[:, :num_tokens],
            latents=None if self.latents is None else self.latents[:, :num_tokens],
            layout=((num_tokens,),),
            lengths=None if self.lengths is None else self.lengths.clamp(max=num_tokens),
        )

    @classmethod
    def cat(cls, parts: Iterable[Tokens]) -> Tokens:
        """Batches of equal layout and codebook, joined along the samples."""
        items = list(parts)
        if not items:
            raise UsageError("nothing to join: Tokens.cat needs at least one batch")
        first = items[0]
        for other in items[1:]:
            if (other.layout, other.codebook) != (first.layout, first.codebook):
                raise UsageError(
                    f"cannot join tokens of layout {first.layout}, codebook {first.codebook} "
                    f"with layout {other.layout}, codebook {other.codebook}"
                )
        lengths = None
        if any(item.lengths is not None for item in items):
            lengths = torch.cat(
                [
                    item.lengths
                    if item.lengths is not None
                    else torch.full((len(item),), item.num_tokens, device=item.data.device)
                    for item in items
                ]
            )
        data = torch.cat([item.data for item in items])
        ids, latents = (data, None) if first.ids is not None else (None, data)
        return replace(first, ids=ids, latents=latents, lengths=lengths)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Tokens:
        return replace(
            self,
            ids=None if self.ids is None else function(self.ids),
            latents=None if self.latents is None else function(self.latents),
            lengths=None if self.lengths is None else function(self.lengths),
        )

    def __repr__(self) -> str:
        what = "ids" if self.ids is not None else "latents"
        return f"Tokens({what}={tuple(self.data.shape)}, layout={self.layout}, codebook={self.codebook})"
