"""MaskGen: what its logits depend on, the empty text, and the guidance of the released sampler."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.condition import TextFeatures
from zellige.core.errors import UsageError
from zellige.core.registry import build
from zellige.core.tokens import Tokens
from zellige.systems.maskgen import MaskGen

SMALL: dict[str, Any] = {"layout": ((8,),), "codebook": (17,), "dim": 32, "depth": 2, "heads": 4, "hidden": 48}
TEXT: dict[str, Any] = {"text_dim": 6, "text_tokens": 7, "score_waves": 8}


def made(**settings: Any) -> MaskGen:
    torch.manual_seed(0)
    model = build("maskgen", **{**SMALL, **TEXT, **settings})
    assert isinstance(model, MaskGen)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model.eval()


def texts(count: int = 2, tokens: int = 7, seed: int = 0) -> TextFeatures:
    generator = torch.Generator().manual_seed(seed)
    features, pooled = (torch.randn(*shape, generator=generator) for shape in ((count, tokens, 6), (count, 6)))
    return TextFeatures(features, pooled=pooled, scores=torch.full((count,), 6.5))


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(17, (2, 8), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("settings", [{"tied": True}, {"tied": False}, {"spare": 4}])
@torch.no_grad()
def test_what_lies_under_a_mask_has_no_influence_and_all_else_has(settings: dict, ids: Tensor) -> None:
    model, text, masked = made(**settings), texts(), (torch.arange(8) < 5).expand(2, -1)
    logits = model.logits(ids, masked, text)
    assert logits.shape == (2, 8, 17)
    assert torch.equal(model.logits(torch.where(masked, (ids + 1) % 17, ids), masked, text), logits)
    shown = torch.where(torch.arange(8) == 7, (ids + 1) % 17, ids)
    assert text.pooled is not None
    assert text.scores is not None
    for seen, given in (
        (shown, text),
        (ids, replace(text, features=text.features + 1)),
        (ids, replace(text, pooled=text.pooled + 1)),
        (ids, replace(text, scores=text.scores + 1)),
    ):
        assert (model.logits(seen, masked, given) - logits).abs().amax(dim=(1, 2)).min() > 1e-3
    assert torch.equal(model.logits(ids, masked, replace(text, scores=None)), logits)  # 6.5 is the score by default


@torch.no_grad()
def test_padding_of_texts_has_no_influence() -> None:
    model, text = made(), texts(tokens=5)
    mask = (torch.arange(7) < 5).expand(2, -1)
    padded = replace(text, features=F.pad(text.features, (0, 0, 0, 2), value=9.0), mask=mask)
    assert torch.equal(model.sample(text, seed=0).data, model.sample(padded, seed=0).data)
    with pytest.raises(UsageError, match="up to 7 tokens; one here has 8"):
        model.sample(texts(tokens=8))


def test_without_a_text_it_is_the_empty_one() -> None:
    model, empty = made(), replace(texts(1, tokens=3, seed=5), scores=None)
    before = model.sample(num=6, seed=0).data
    model.set_null(empty)
    assert model.null_mask.tolist() == [True] * 3 + [False] * 4
    after = model.sample(num=6, seed=0, guidance=1.0).data
    assert not torch.equal(before, after)
    six = empty.each(lambda part: part.expand(6, *part.shape[1:]))
    assert torch.equal(model.sample(six, seed=0, guidance=1.0).data, after)
    assert torch.equal(model.sample(six, seed=0, guidance=30.0).data, after)  # both halves of guidance are the same


def test_unknown_empty_texts_are_asked_for() -> None:
    model = made()
    model.null.fill_(torch.nan)
    assert len(model.sample(texts(), seed=0, guidance=1.0)) == 2
    for text in (texts(), None):
        with pytest.raises(UsageError, match="set_null"):
            model.sample(text, seed=0)
    model.set_null(texts(1))
    assert len(model.sample(texts(), seed=0)) == 2


def test_training_leaves_texts_out_and_weighs_seen_tokens_a_tenth(ids: Tensor) -> None:
    model, tokens = made(class_dropout=1.0).train(), Tokens(ids, ((8,),), (17,))
    masked = (torch.arange(8) < torch.tensor([[3], [6]])).expand(2, -1)
    model.masks = lambda done: masked  # type: ignore[method-assign]
    loss = model.loss(tokens, texts())["cross_entropy"]
    torch.testing.assert_close(model.loss(tokens, texts(seed=1))["cross_entropy"], loss)
    torch.testing.assert_close(model.loss(tokens)["cross_entropy"], loss)
    assert not torch.allclose(model.eval().loss(tokens, texts())["cross_entropy"], loss)
    null = TextFeatures(torch.zeros(2, 7, 6), pooled=torch.zeros(2, 6))
    logits = model.logits(ids, masked, null)
    losses = F.cross_entropy(logits.transpose(1, 2), ids, reduction="none", label_smoothing=0.1)
    weights = torch.where(masked, 1.0, 0.1)
    torch.testing.assert_close(loss, (losses * weights).sum() / weights.sum())


def test_training_masks_by_the_schedule() -> None:
    done = torch.linspace(0, 1, 41)
    counts = (8 * torch.acos(done) * 2 / torch.pi).round().clamp(min=1)
    assert made().masks(done).sum(1).tolist() == counts.tolist()


def test_guidance_is_that_of_the_released_sampler() -> None:
    """There c + t · (c - u) with t = 1 + (12 - 1) · (1 - cos πr) / 2 and r = (i + 1) / S; 1 + t is ours."""
    guide = made(steps=16).config.guide()
    for step in range(16):
        there = 1 + 11 * (1 - math.cos(math.pi * (step + 1) / 16)) / 2
        assert guide.at(step / 16) == pytest.approx(1 + there)
    assert not replace(made().config, guidance=1.0).guide().active


def test_scores_come_with_the_text_or_with_the_call() -> None:
    model, text = made(temperature=0.0, choice_temperature=0.0), texts(8)
    plain = replace(text, scores=None)
    drawn = model.sample(text, seed=0).data
    assert torch.equal(model.sample(text, seed=0, score=1.0).data, drawn)
    assert torch.equal(model.sample(plain, seed=0).data, drawn)
    assert not torch.equal(model.sample(plain, seed=0, score=1.0).data, drawn)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"classes": 3}, "conditioned on text"), ({"text_dim": 0}, "conditioned on text"), ({"score_waves": 3}, "even")],
)
def test_what_cannot_be_built(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(**settings)
