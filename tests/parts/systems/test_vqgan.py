"""`vqgan` with every quantizer: the same encoder and decoder, whatever stands between them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.core.registry import build
from zellige.core.tokens import Layout, Tokens, layout_size

SMALL = {"channels": 32, "multipliers": (1, 1), "blocks": 1, "decoder_blocks": 1, "latent": 32, "attention": False}
QUANTIZERS: list[tuple[str, int, dict[str, Any]]] = [
    ("vq", 8, {"codes": 64}),
    ("vq", 8, {"codes": 64, "normalize": True, "kmeans_start": True, "revive_below": 0.05}),
    ("ema", 8, {"codes": 64}),
    ("fsq", 3, {"levels": [8, 5, 5]}),
    ("lfq", 6, {}),
    ("bsq", 6, {}),
    ("product", 8, {"of": "vq", "groups": 2, "codes": 16}),
    ("residual", 8, {"of": "ema", "depth": 3, "codes": 16}),
    ("multiscale", 8, {"codes": 32, "scales": [[1, 1], [2, 2], [4, 4], [8, 8]]}),
    ("gaussian", 8, {}),
]


@pytest.mark.parametrize(("quantizer", "dim", "settings"), QUANTIZERS)
def test_trains_encodes_and_decodes(quantizer: str, dim: int, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build("vqgan/f16", **SMALL, quantizer=quantizer, dim=dim, quantizer_settings=settings)
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    result = model(x)
    assert result.output.shape == x.shape
    (result.output.mean() + sum(result.losses.values())).backward()
    assert model.encoder.conv_in.weight.grad.abs().sum() > 0
    tokens = model.eval().encode(x)
    assert tokens.codebook == model.codebook
    assert tokens.num_tokens == layout_size(tokens.layout)
    whole, single = model.decode(tokens), model.decode(tokens[1])
    assert whole.shape == x.shape
    assert torch.allclose(whole[1:], single, atol=1e-4)


def test_continuous_tokens_hold_latents() -> None:
    model = build("vqgan/f16", **SMALL, quantizer="gaussian", quantizer_settings={}, dim=8).eval()
    tokens = model.encode(torch.zeros(1, 3, 16, 16))
    assert tokens.latents.shape == (1, 64, 8)
    assert tokens.codebook == ()


def test_widths_that_do_not_meet_are_refused() -> None:
    with pytest.raises(UsageError, match="without projection the quantizer sees latent=32"):
        build("vqgan/f16", **SMALL, projection=False, dim=8)


def test_an_odd_size_is_padded() -> None:
    model = build("vqgan/f16", **{**SMALL, "channels": 64}, dim=8).eval()
    assert model.encode(torch.zeros(1, 3, 1, 1)).layout == ((1, 1),)
    assert model.encode(torch.zeros(1, 3, 7, 30)).layout == ((4, 15),)


@pytest.mark.parametrize("layout", [((64,),), ((1, 1), (3, 3)), ((2, 4, 8),)])
def test_tokens_of_another_layout_are_refused(layout: Layout) -> None:
    model = build("vqgan/f16", **SMALL, quantizer="fsq", dim=3, quantizer_settings={"levels": [8, 5, 5]})
    tokens = Tokens(torch.zeros(1, layout_size(layout), dtype=torch.long), layout, (200,))
    with pytest.raises(UsageError, match="decodes grids"):
        model.decode(tokens)
