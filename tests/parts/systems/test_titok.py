"""What is special to TiTok: the slip of its first models, its two heads, its captions; and its official names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zellige.convert import find_adapter
from zellige.convert.titok import TiTokAdapter
from zellige.core.errors import UsageError
from zellige.core.registry import build, system_class
from zellige.core.tokens import Tokens

SIZES: dict[str, Any] = {
    "image_size": 32,
    "patch": 8,
    "width": 64,
    "depth": 2,
    "decoder_width": 128,
    "decoder_depth": 1,
    "latents": 6,
}
SMALL: dict[str, Any] = {
    **SIZES,
    "quantizer_settings": {"codes": 20, "normalize": True},
    "teacher_codes": 16,
    "teacher_dim": 8,
    "teacher_channels": 32,
    "teacher_multipliers": (1, 1, 1, 2),
    "teacher_blocks": 1,
}
PIXELS: dict[str, Any] = {**SIZES, "quantizer_settings": {"codes": 20}, "head": "pixels", "scrambled": False}
GAUSSIAN: dict[str, Any] = {**PIXELS, "quantizer": "gaussian", "quantizer_settings": {}}
CAPTIONED: dict[str, Any] = {**PIXELS, "caption": 5}


def images(batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_scrambling_reads_tokens_as_channels() -> None:
    plain = build("titok", **{**PIXELS, "scrambled": False}).eval()
    scrambled = build("titok", **{**PIXELS, "scrambled": True}).eval()
    scrambled.load_state_dict(plain.state_dict())
    with torch.no_grad():
        features = plain.encoder((images() + 1) / 2)
        read_again = features.flatten(1).view(2, 64, 6).transpose(1, 2)
        weight, bias = plain.project_in.weight.flatten(1), plain.project_in.bias
        assert torch.allclose(plain.latents(images()), features @ weight.T + bias, atol=1e-5)
        assert torch.allclose(scrambled.latents(images()), read_again @ weight.T + bias, atol=1e-5)


def test_sure_scores_paint_the_teachers_codes() -> None:
    painter = build("titok", **SMALL).eval().painter
    ids = torch.arange(16).view(1, 4, 4)
    with torch.no_grad():
        sure = 1e3 * torch.nn.functional.one_hot(ids, 16).permute(0, 3, 1, 2).float()
        expected = painter.painter(painter.codes(ids).permute(0, 3, 1, 2))
        assert torch.allclose(painter.paint(sure), expected, atol=1e-5)


def test_a_teacher_of_another_stride_is_refused() -> None:
    with pytest.raises(UsageError, match="teacher's codes span 4 pixels and patches 8"):
        build("titok", **{**SMALL, "teacher_multipliers": (1, 1, 1)})


def test_captions_change_the_image_and_are_asked_for() -> None:
    model = build("titok", **CAPTIONED).eval()
    tokens = model.encode(images())
    captions = torch.randn(2, 2, 5, 768, generator=torch.Generator().manual_seed(0))
    decoded = [model.decode(tokens, condition=caption) for caption in captions]
    assert decoded[0].shape == images().shape
    assert not torch.allclose(decoded[0], decoded[1])
    for condition in (None, "a cat", captions[0, :, :4], captions[0, :1]):
        with pytest.raises(UsageError, match=r"pass condition=.*\(B, 5, 768\)"):
            model.decode(tokens, condition=condition)
    with pytest.raises(UsageError, match="reads the caption"):
        model(images())
    plain = build("titok", **PIXELS).eval()
    with pytest.raises(UsageError, match="reads no caption"):
        plain.decode(plain.encode(images()), condition=captions[0])


def test_gaussian_tokens_are_latents() -> None:
    model = build("titok", **GAUSSIAN).eval()
    tokens = model.encode(images())
    assert (tokens.ids, tokens.layout, tokens.latents.shape) == (None, ((6,),), (2, 6, 12))
    assert model.decode(tokens).shape == images().shape
    losses = model.train()(images()).losses
    assert set(losses) == {"kl"}


def test_tokens_of_another_length_are_refused() -> None:
    model = build("titok", **PIXELS).eval()
    with pytest.raises(UsageError, match="layout"):
        model.decode(Tokens(torch.zeros(1, 5, dtype=torch.long), ((5,),), (20,)))


@pytest.mark.parametrize("config", [SMALL, PIXELS, GAUSSIAN, CAPTIONED], ids=["codes", "pixels", "gaussian", "caption"])
def test_official_names_and_shapes_there_and_back(config: dict[str, Any]) -> None:
    adapter = TiTokAdapter()
    shapes = adapter.official_shapes(system_class("titok").from_config(config))
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    assert isinstance(find_adapter({**state, "quantize.embed_prob": torch.zeros(20)}), TiTokAdapter)
    model = adapter.build({**state, "quantize.embed_prob": torch.zeros(20)})
    assert model.config == system_class("titok").from_config(config).config
    assert sorted(v.sum().item() for v in model.state_dict().values()) == sorted(v.sum().item() for v in state.values())
    assert shapes["encoder.class_embedding"] == (1, 64)
    assert torch.equal(model.encoder.trunk.pos_embed[0], state["encoder.positional_embedding"])
    assert len(shapes["decoder.ffn.0.weight"]) == 4  # a 1×1 convolution, whichever head


@torch.no_grad()
def test_latents_do_not_know_the_order_of_patches() -> None:
    """Patches that change places with their positions leave the tokens as they are; without these they do not."""
    model = build("titok", **PIXELS).eval()
    model.encoder.trunk.pos_embed.normal_(generator=torch.Generator().manual_seed(1))
    order = torch.tensor([*range(15, -1, -1)])
    patches = images().unfold(2, 8, 8).unfold(3, 8, 8).flatten(2, 3)[:, :, order]  # (B, 3, N, 8, 8)
    moved = patches.unflatten(2, (4, 4)).permute(0, 1, 2, 4, 3, 5).reshape(2, 3, 32, 32)
    before = model.latents(images())
    assert not torch.allclose(model.latents(moved), before, atol=1e-3)
    model.encoder.trunk.pos_embed[:, 1:] = model.encoder.trunk.pos_embed[:, 1:][:, order].clone()
    torch.testing.assert_close(model.latents(moved), before, atol=1e-5, rtol=1e-4)
