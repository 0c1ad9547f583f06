"""MaskGIT: what stands for a mask and for no class, and the masks of its training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.errors import UsageError
from zellige.core.registry import build
from zellige.core.tokens import Tokens, TokenSpec
from zellige.systems.maskgit import MaskGIT

SMALL: dict[str, Any] = {"layout": ((3, 3),), "codebook": (17,), "classes": 3, "dim": 32, "depth": 2, "heads": 4}


@pytest.fixture
def model() -> MaskGIT:
    torch.manual_seed(0)
    model = build("maskgit", **SMALL, hidden=48, dropout=0.0, attention_dropout=0.0, class_dropout=0.0)
    assert isinstance(model, MaskGIT)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model.eval()


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(torch.randint(17, (4, 9), generator=torch.Generator().manual_seed(0)), ((3, 3),), (17,))


def test_what_lies_under_a_mask_has_no_influence_and_all_else_has(model: MaskGIT, tokens: Tokens) -> None:
    labels, masked = torch.tensor([0, 1, 2, 3]), torch.zeros(4, 9, dtype=torch.bool)
    masked[:, 4:] = True
    hidden, shown = tokens.data.clone(), tokens.data.clone()
    hidden[:, 4:] = (hidden[:, 4:] + 1) % 17
    shown[:, 0] = (shown[:, 0] + 1) % 17
    with torch.no_grad():
        logits = model.logits(tokens.data, masked, labels)
        assert logits.shape == (4, 9, 17)
        assert torch.equal(model.logits(hidden, masked, labels), logits)
        for other in (model.logits(shown, masked, labels), model.logits(tokens.data, masked, (labels + 1) % 4)):
            assert (other - logits).abs().amax(dim=(1, 2)).min() > 1e-3


def test_no_class_is_a_mask_in_its_place(model: MaskGIT, tokens: Tokens) -> None:
    masked = torch.ones(1, 9, dtype=torch.bool)
    everything = torch.full((1, 10), model.mask)
    with torch.no_grad():
        torch.testing.assert_close(
            model.logits(tokens.data[:1], masked, torch.tensor([3])), model.scores(everything)[:, 1:, :17]
        )


def test_training_masks_by_the_schedule(model: MaskGIT) -> None:
    done = torch.linspace(0, 1, 50)
    counts = [max(1, math.ceil(9 * math.cos(math.pi / 2 * r) - 1e-6)) for r in done.tolist()]
    assert model.masks(done).sum(1).tolist() == counts


def test_the_loss_is_that_of_the_masks_drawn(model: MaskGIT, tokens: Tokens) -> None:
    labels, masked = torch.tensor([0, 1, 2, 0]), torch.zeros(4, 9, dtype=torch.bool)
    masked[:, :3] = True
    masked[0, 5] = True
    shares: list[Tensor] = []

    def masks(done: Tensor) -> Tensor:
        shares.append(done)
        return masked

    model.masks = masks  # type: ignore[method-assign]
    loss = model.train().loss(tokens, labels)["cross_entropy"]
    logits = model.logits(tokens.data, masked, labels).transpose(1, 2)
    losses = F.cross_entropy(logits, tokens.data, reduction="none", label_smoothing=0.1)
    expected = torch.stack([row[mask].mean() for row, mask in zip(losses, masked, strict=True)]).mean()
    torch.testing.assert_close(loss, expected)
    assert shares[0].shape == (4,)


def test_classes_are_left_out_in_training_alone(model: MaskGIT, tokens: Tokens) -> None:
    object.__setattr__(model.config, "class_dropout", 1.0)
    fixed = torch.ones(4, 9, dtype=torch.bool)
    model.masks = lambda done: fixed  # type: ignore[method-assign]
    assert model.train().loss(tokens, [0, 1, 2, 0]) == model.loss(tokens)
    assert model.eval().loss(tokens, [0, 1, 2, 0]) != model.loss(tokens)


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_any_number_of_steps(model: MaskGIT, steps: int) -> None:
    passes = 0
    scores = model.scores

    def counted(sequence: Tensor) -> Tensor:
        nonlocal passes
        passes += 1
        return scores(sequence)

    model.scores = counted  # type: ignore[method-assign]
    model.sample([0, 1], seed=0, steps=steps)
    assert passes == steps


def test_wrong_sampling_and_tokens_are_refused(model: MaskGIT) -> None:
    with pytest.raises(UsageError, match="from 1 up"):
        model.sample(0, steps=0)
    with pytest.raises(UsageError, match="masking schedule"):
        model.sample(0, masking="cosines")
    with pytest.raises(UsageError, match="one code at each position"):
        MaskGIT.settings_for(TokenSpec(((3, 3),), (4, 4)))
