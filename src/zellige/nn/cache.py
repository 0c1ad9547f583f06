"""Keys and values of tokens that attention has seen, so that they are computed once.

Legend: B samples, H heads, N new tokens, S tokens in all, D channels of a head.
"""

from __future__ import annotations

from torch import Tensor


class KVCache:
    """Buffers for `capacity` tokens of each layer, allocated at the first use and written in place.

    A pass of the network writes its tokens behind the first `length`; whoever drives the passes then calls `advance`
    with the number of tokens to keep. So a pass can be repeated with other tokens, as a denoiser does that sees the
    same context at each of its steps: only what was kept is context of the next pass.

    With guidance, both halves of the doubled batch share one cache.
    """

    def __init__(self, layers: int, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._buffers: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write keys and values (B, H, N, D) of new tokens; returns those of all S = length + N, as views."""
        buffers = self._buffers[layer]
        if buffers is None:
            shape = (*k.shape[:2], self.capacity, k.shape[3])
            buffers = self._buffers[layer] = (k.new_empty(shape), v.new_empty(shape))
        end = self.length + k.shape[2]
        if end > self.capacity:
            raise ValueError(f"{end} tokens for a cache of {self.capacity}")
        for buffer, new in zip(buffers, (k, v), strict=True):
            buffer[:, :, self.length : end] = new
        return buffers[0][:, :, :end], buffers[1][:, :, :end]

    def first(self, rows: int) -> KVCache:
        """The cache of the first `rows` samples alone, for passes that keep nothing: what it holds is shared."""
        part = KVCache(len(self._buffers), self.capacity)
        part.length = self.length
        part._buffers = [None if pair is None else (pair[0][:rows], pair[1][:rows]) for pair in self._buffers]
        return part

    def advance(self, tokens: int) -> None:
        """Keep the first `tokens` of those that the last pass has written."""
        self.length += tokens
