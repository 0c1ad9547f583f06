"""LlamaGen: what its cache, its prefix and its grid must not change, and which tokens it takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zellige.core.condition import TextFeatures
from zellige.core.errors import UsageError
from zellige.core.generator import Generator
from zellige.core.registry import build
from zellige.core.tokens import Tokens, TokenSpec
from zellige.generate.guidance import Guidance
from zellige.systems.llamagen import LlamaGen, TextPrefix, default_hidden

SMALL: dict[str, Any] = {"layout": ((3, 4),), "codebook": (17,), "dim": 32, "depth": 2, "heads": 4, "hidden": 48}
TEXT: dict[str, Any] = {**SMALL, "classes": 0, "text_dim": 6, "text_tokens": 5}


def made(settings: dict[str, Any]) -> LlamaGen:
    """A model with no zero in its head."""
    torch.manual_seed(0)
    model = build("llamagen", **settings)
    assert isinstance(model, LlamaGen)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model.eval()


def stepwise(model: Any, condition: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Greedy ids of `sample`, and the guided logits (B, L, K) that they were chosen from."""
    seen: list[Tensor] = []
    combine = Guidance.combine

    def record(self: Guidance, both: Tensor, progress: float) -> Tensor:
        seen.append(combine(self, both, progress))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Guidance, "combine", record)
        ids = model.sample(condition, temperature=0, seed=0, **options).ids
    return ids, torch.stack(seen, dim=1)


@pytest.mark.parametrize("settings", [{}, {"kv_heads": 2}, {"layout": ((9,),)}], ids=["grid", "grouped", "sequence"])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_cached_sampling_has_the_logits_of_the_whole_sequence(settings: dict[str, Any], guidance: float) -> None:
    model = made({**SMALL, "classes": 3, **settings})
    labels = torch.tensor([0, 2])
    ids, cached = stepwise(model, labels, guidance=guidance)
    with torch.no_grad():
        null = model.logits(ids, torch.full_like(labels, model.classes))
        expected = null + guidance * (model.logits(ids, labels) - null)
    torch.testing.assert_close(cached, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(ids, expected.argmax(-1))


def test_cached_sampling_from_text_has_the_logits_of_the_whole_sequence_and_is_blind_to_padding() -> None:
    model = made(TEXT)
    features = torch.randn(2, 5, 6)
    mask = torch.tensor([[False, False, True, True, True], [True] * 5])
    text = TextFeatures(features, mask)
    ids, cached = stepwise(model, text, guidance=1.0)
    with torch.no_grad():
        torch.testing.assert_close(cached, model.logits(ids, text), rtol=1e-4, atol=1e-4)
    padded = TextFeatures(torch.where(mask[..., None], features, 9.0), mask)
    torch.testing.assert_close(stepwise(model, padded, guidance=1.0)[1], cached)
    guided, both = stepwise(model, text, guidance=4.0), stepwise(model, padded, guidance=4.0)
    torch.testing.assert_close(guided[1], both[1])
    assert not torch.allclose(guided[1], cached, atol=1e-3)


def test_short_texts_are_padded_on_the_left_and_long_ones_refused() -> None:
    prefix = TextPrefix(6, 5, 8, 0.0).eval()
    features = torch.randn(1, 3, 6)
    projected, mask = prefix(TextFeatures(features), 1)
    assert mask is not None
    assert mask.tolist() == [[False, False, True, True, True]]
    torch.testing.assert_close(projected[:, 2:], prefix.project(features))
    with pytest.raises(UsageError, match="up to 5 tokens; one here has 6"):
        prefix(TextFeatures(torch.randn(1, 6, 6)), 1)


def test_training_leaves_out_texts_and_classes() -> None:
    prefix = TextPrefix(6, 5, 8, dropout=1.0)
    dropped, _ = prefix(TextFeatures(torch.randn(2, 5, 6)), 2)
    torch.testing.assert_close(dropped, prefix(None, 2)[0])
    model = made({**SMALL, "classes": 3, "class_dropout": 1.0, "dropout": 0.0}).train()
    tokens = Tokens(torch.zeros(2, 12, dtype=torch.long), model.spec.layout, model.spec.codebook)
    assert model.loss(tokens, [0, 1])["cross_entropy"] == model.loss(tokens, None)["cross_entropy"]


def test_queries_and_keys_of_the_prefix_are_zero() -> None:
    model = made({**SMALL, "classes": 3})
    assert not model.rotary[0].any()
    assert model.rotary[1:].square().sum(-1).allclose(torch.ones(()))
    assert made({**SMALL, "classes": 3, "layout": ((12,),)}).rotary.shape == model.rotary.shape


def test_the_guidance_interval_ends_guidance() -> None:
    model = made({**SMALL, "classes": 3})
    _, plain = stepwise(model, [1], guidance=1.0)
    _, whole = stepwise(model, [1], guidance=6.0)
    _, part = stepwise(model, [1], guidance=6.0, interval=(0.5, 1.0))
    torch.testing.assert_close(part[:, :6], plain[:, :6])
    assert not torch.allclose(whole[:, :6], plain[:, :6], atol=1e-3)


def test_text_models_take_text() -> None:
    model = made(TEXT)
    assert model.sample(num=2, seed=0).ids.shape == (2, 12)
    with pytest.raises(UsageError, match=r"TextFeatures \(B, T, 6\)"):
        model.sample(3)
    with pytest.raises(UsageError, match="TextFeatures"):
        model.sample(TextFeatures(torch.zeros(1, 5, 7)))
    with pytest.raises(UsageError, match="classes or on text"):
        build("llamagen", **{**TEXT, "classes": 3})


@pytest.mark.parametrize("system", ["llamagen", "rar"])
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TokenSpec(((1, 1), (2, 2)), (17,)), "2 blocks: use var"),
        (TokenSpec(((4, 4),), (17, 17)), "one code at each position"),
        (TokenSpec(((4, 4),), (), 16), "16 dimensions have none: use a tokenizer with a codebook, or xar, flowar"),
    ],
)
def test_tokens_it_cannot_model(system: str, spec: TokenSpec, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(f"{system}/small", for_tokens=spec)


def test_tokens_it_can_model() -> None:
    for layout in (((5, 3),), ((7,),)):
        model = build("llamagen/small", for_tokens=TokenSpec(layout, (33,)), classes=2)
        assert isinstance(model, Generator)
        assert model.spec == TokenSpec(layout, (33,))
        assert model.sample(1, seed=0).ids is not None
    with pytest.raises(UsageError, match="1 or 2 axes"):
        build("llamagen/small", for_tokens=TokenSpec(((2, 3, 4),), (33,)))
    with pytest.raises(UsageError, match="no generator"):
        build("vqgan", for_tokens=TokenSpec(((4, 4),), (17,)))
    assert [default_hidden(dim) for dim in (768, 1024, 3200)] == [2048, 2816, 8704]
