"""Names shared by the convolutional tokenizers that descend from VQGAN.

Ours is written on the right: a level is one sequence of residual blocks, each followed by its
attention where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator

Pairs = Iterator[tuple[str, str]]


def same(*names: str) -> Pairs:
    """Modules that are called the same on both sides."""
    return ((name, name) for name in names)


def residual(official: str, ours: str) -> Pairs:
    """A residual block."""
    for leaf in ("norm1", "conv1", "norm2", "conv2"):
        yield f"{official}.{leaf}", f"{ours}.{leaf}"
    yield f"{official}.nin_shortcut", f"{ours}.shortcut"


def attention(official: str, ours: str) -> Pairs:
    """An attention block."""
    for their, our in (("norm", "norm"), ("q", "query"), ("k", "key"), ("v", "value"), ("proj_out", "out")):
        yield f"{official}.{their}", f"{ours}.{our}"
