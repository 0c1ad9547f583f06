"""ENAT: who sees whom, features that are reused, and the masks of its training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zellige.core.registry import build
from zellige.core.tokens import Tokens
from zellige.systems.enat import ENAT

SMALL: dict[str, Any] = {"layout": ((4, 4),), "codebook": (17,), "classes": 3, "dim": 32, "heads": 4}
LABELS = torch.tensor([0, 2])


@pytest.fixture
def model() -> ENAT:
    torch.manual_seed(0)
    model = build("enat", **SMALL, encoder_depth=2, decoder_depth=2, dropout=0.0, class_dropout=0.0)
    assert isinstance(model, ENAT)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model.eval()


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(17, (2, 16), generator=torch.Generator().manual_seed(0))


def first_masked(count: int) -> Tensor:
    return (torch.arange(16) < count).expand(2, -1)


@torch.no_grad()
def test_tokens_that_are_seen_do_not_see_masks(model: ENAT, ids: Tensor) -> None:
    masked = first_masked(10)
    features = model.features(ids, masked, LABELS)
    other = ids.clone()
    other[:, :10] = (other[:, :10] + 1) % 17
    assert torch.equal(model.features(other, masked, LABELS).x, features.x)
    positions = model.positions.clone()
    model.positions[:10] = positions[:10].flip(0)
    moved = model.features(ids, masked, LABELS)
    torch.testing.assert_close(moved.x[:, 10:], features.x[:, 10:])
    torch.testing.assert_close(moved.x[:, :10].flip(1), features.x[:, :10])  # masks differ by position alone
    assert not torch.allclose(moved.x[:, :10], features.x[:, :10])


@torch.no_grad()
def test_masks_see_the_tokens_and_one_another(model: ENAT, ids: Tensor) -> None:
    masked = first_masked(10)
    features = model.features(ids, masked, LABELS).x
    seen = ids.clone()
    seen[:, 15] = (seen[:, 15] + 1) % 17
    assert (model.features(seen, masked, LABELS).x - features).abs().amax(-1).min() > 1e-4
    model.positions[0] += torch.randn(32)
    assert (model.features(ids, masked, LABELS).x - features)[:, 1:10].abs().amax(-1).min() > 1e-4


@torch.no_grad()
def test_only_new_tokens_are_encoded(model: ENAT, ids: Tensor) -> None:
    sizes: list[tuple[str, int]] = []
    for name, blocks in (("encoder", model.encoder), ("decoder", model.decoder)):
        blocks[0].register_forward_pre_hook(lambda _, args, name=name: sizes.append((name, args[0].shape[1])))
    before = None
    for count in (16, 12, 5):
        before = model.features(ids, first_masked(count), LABELS, before)
    model.features(ids, first_masked(5), LABELS)
    assert sizes == [
        ("decoder", 16),
        ("encoder", 4),
        ("decoder", 12),
        ("encoder", 7),
        ("decoder", 5),
        ("encoder", 11),
        ("decoder", 5),
    ]


@torch.no_grad()
def test_older_tokens_are_projected_once_more_at_each_step(model: ENAT, ids: Tensor) -> None:
    first = model.features(ids, first_masked(12), LABELS)
    second = model.features(ids, first_masked(5), LABELS, first)
    third = model.features(ids, first_masked(2), LABELS, second)
    for old, new, known in ((first, second, 12), (second, third, 5)):
        expected = old.x + model.reuse_mlp(model.reuse_norm(old.x))
        torch.testing.assert_close(new.x[:, known:], expected[:, known:])
    # A pass that has seen nothing leaves nothing to reuse.
    nothing = model.features(ids, first_masked(16), LABELS)
    fresh = model.features(ids, first_masked(12), LABELS)
    torch.testing.assert_close(model.features(ids, first_masked(12), LABELS, nothing).x, fresh.x)


def test_the_loss_with_and_without_reuse(model: ENAT, ids: Tensor) -> None:
    masked, before = first_masked(8), first_masked(12)
    for given in (None, before):
        earlier = None if given is None else model.features(ids, given, LABELS)
        logits = model.logits(model.features(ids, masked, LABELS, earlier))
        expected = F.cross_entropy(logits[masked], ids[masked], label_smoothing=0.1)
        torch.testing.assert_close(model.masked_loss(ids, LABELS, masked, given), expected)


def test_reused_features_and_the_tied_head_pass_no_gradient(model: ENAT, ids: Tensor) -> None:
    model.masked_loss(ids, LABELS, first_masked(8), first_masked(12)).backward()
    assert model.encoder[0].context.weight.grad.any()
    assert not model.embedding.weight.grad[torch.tensor([i for i in range(17) if i not in ids[:, 8:12]])].any()


def test_training_draws_masks_and_what_was_seen_before(model: ENAT, ids: Tensor) -> None:
    counts = []
    for _ in range(100):
        masked = model.masks(2)
        counts.append(masked.sum(1).unique().item())
        more = model.hidden_more(masked)
        assert len(more.sum(1).unique()) == 1
        assert not (masked & ~more).any()
    assert {min(counts) >= 1, max(counts) <= 15} == {True}
    assert sum(counts) / 100 == pytest.approx(16 * 12 / 15, abs=1)


def test_dropout_is_off_in_the_pass_before_and_on_again_after(model: ENAT, ids: Tensor) -> None:
    modes: list[bool] = []
    model.dropout = nn.Dropout(0.5)
    model.dropout.register_forward_pre_hook(lambda part, _: modes.append(part.training))
    object.__setattr__(model.config, "reuse", 1.0)
    model.train().loss(Tokens(ids, ((4, 4),), (17,)), LABELS)
    assert modes == [False, True]


def test_more_steps_than_tokens(model: ENAT) -> None:
    tokens = model.sample([0, 1, 2], seed=0, steps=40)
    assert torch.equal(tokens[1].data, model.sample(1, seed=1, steps=40).data)
