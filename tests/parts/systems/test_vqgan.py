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


def test_attention_may_be_at_any_level_of_either_side() -> None:
    small = {**SMALL, "attention": True, "multipliers": (1, 1, 1)}
    model = build("vqgan/f16", **small, dim=8, attention_levels=[0, 2], decoder_attention_levels=[])
    assert [len(level) for level in model.encoder.levels] == [2, 1, 2]
    assert [len(level) for level in model.decoder.levels] == [1, 1, 1]


def test_continuous_tokens_are_scaled_and_scaled_back() -> None:
    settings = {**SMALL, "quantizer": "gaussian", "quantizer_settings": {}, "dim": 8}
    plain, scaled = (build("vqgan/f16", **settings, latent_scale=scale).eval() for scale in (1, 0.5))
    scaled.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    assert torch.allclose(scaled.encode(x).latents, plain.encode(x).latents / 2)
    assert torch.allclose(scaled.decode(scaled.encode(x)), plain.decode(plain.encode(x)), atol=1e-5)
    with pytest.raises(UsageError, match="latent_scale is for continuous tokens"):
        build("vqgan/f16", **SMALL, dim=8, latent_scale=0.5)


def test_a_wider_projection_sees_further() -> None:
    small = {**SMALL, "norm": "channel", "dim": 8}
    narrow, wide = (build("vqgan/f16", **small, projection_kernel=kernel) for kernel in (1, 3))
    assert wide.receptive_field == (narrow.receptive_field[0] + wide.stride, narrow.receptive_field[1] + 1)
    assert wide.eval().encode(torch.zeros(1, 3, 8, 8)).layout == ((4, 4),)
