"""Tokens like those of a photograph, and entropy tables that were fitted to others of the kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from zellige.codec import EncodedImage, EntropyModel
from zellige.codec.tables import fit_tables
from zellige.core.tokens import Tokens

RADICES = (8, 8, 8, 5, 5, 5)
CODEBOOK = 64000
FINGERPRINT = "00112233445566ff"


def draw_tokens(seed: int, height: int, width: int, samples: int = 1) -> Tokens:
    """Smooth random fields, one a digit, as ids (B, h·w) of an FSQ with 64,000 codes."""
    random = np.random.default_rng(seed)
    ids, scale = np.zeros((samples, height, width), np.int64), 1
    for radix in RADICES:
        field = random.normal(size=(samples, height + 4, width + 4))
        for _ in range(4):
            field = (field[:, 1:] + field[:, :-1]) / 2
            field = (field[:, :, 1:] + field[:, :, :-1]) / 2
        digits = np.clip(np.rint(field * radix + (radix - 1) / 2), 0, radix - 1).astype(np.int64)
        ids += scale * digits
        scale *= radix
    return Tokens(torch.from_numpy(ids.reshape(samples, -1)), ((height, width),), (CODEBOOK,))


@pytest.fixture(scope="session")
def smooth_tokens() -> Callable[..., Tokens]:
    return draw_tokens


@pytest.fixture(scope="session")
def tables() -> EntropyModel:
    return fit_tables([draw_tokens(seed, 32, 32, samples=8) for seed in range(3)], [RADICES], FINGERPRINT)


@pytest.fixture
def image() -> Callable[..., EncodedImage]:
    """Make an `EncodedImage`: of smooth tokens for a grid, or of tokens given."""

    def make(height: int = 4, width: int = 6, tokens: Tokens | None = None) -> EncodedImage:
        tokens = tokens or draw_tokens(99, height, width)
        return EncodedImage(tokens, 8 * width - 3, 8 * height - 1, "toy/f8", FINGERPRINT)

    return make
