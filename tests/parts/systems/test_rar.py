"""RAR: orders, the cache, and what training anneals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.parts.systems.test_llamagen import stepwise
from zellige.core.registry import build
from zellige.core.tokens import Tokens
from zellige.systems.rar import RAR

SMALL: dict[str, Any] = {"layout": ((3, 3),), "codebook": (17,), "classes": 3, "dim": 32, "depth": 2, "heads": 4}


@pytest.fixture
def model() -> RAR:
    """No weight at zero, nothing left out in training."""
    torch.manual_seed(0)
    model = build("rar", **SMALL, hidden=48, dropout=0.0, attention_dropout=0.0, class_dropout=0.0)
    assert isinstance(model, RAR)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model.eval()


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(torch.randint(17, (2, 9), generator=torch.Generator().manual_seed(0)), ((3, 3),), (17,))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_cached_sampling_has_the_logits_of_the_whole_sequence(model: RAR, guidance: float) -> None:
    labels = torch.tensor([0, 2])
    ids, cached = stepwise(model, labels, guidance=guidance)
    with torch.no_grad():
        null = model.logits(ids, torch.full_like(labels, 3))[:, :9]
        difference = model.logits(ids, labels)[:, :9] - null
    guide = model.settings({"guidance": guidance}).guide()
    weights = torch.tensor([guide.at(i / 9) for i in range(9)])[:, None]
    torch.testing.assert_close(cached, null + weights * difference, rtol=1e-4, atol=1e-4)


def test_a_prefix_has_the_logits_of_the_whole_and_a_later_token_no_influence(model: RAR, tokens: Tokens) -> None:
    labels, orders = torch.tensor([0, 1]), torch.stack([torch.randperm(9) for _ in range(2)])
    with torch.no_grad():
        whole = model.logits(tokens.data, labels, orders)
        part = model.logits(tokens.data[:, :4], labels, orders)
    assert whole.shape == (2, 10, 17)
    torch.testing.assert_close(part, whole[:, :5], rtol=1e-4, atol=1e-5)


def test_the_order_matters_where_the_tokens_are_the_same(model: RAR, tokens: Tokens) -> None:
    labels = torch.tensor([0, 1])
    orders = torch.stack([torch.arange(9), torch.arange(8, -1, -1)])
    with torch.no_grad():
        given, raster = model.logits(tokens.data, labels, orders), model.logits(tokens.data, labels)
    torch.testing.assert_close(given[0], raster[0])
    assert not torch.allclose(given[1, 0], raster[1, 0], atol=1e-3)  # it is told that another position comes first


def test_the_loss_in_training_is_that_of_the_drawn_orders(model: RAR, tokens: Tokens) -> None:
    labels, orders = torch.tensor([0, 1]), torch.stack([torch.randperm(9), torch.arange(9)])
    model._random_orders = lambda count: orders  # type: ignore[method-assign]
    shuffled = tokens.data.gather(1, orders)
    back = torch.empty_like(shuffled).scatter(1, orders, shuffled)
    assert torch.equal(back, tokens.data)
    expected = F.cross_entropy(model.logits(shuffled, labels, orders)[:, :9].transpose(1, 2), shuffled)
    torch.testing.assert_close(model.train().loss(tokens, labels)["cross_entropy"], expected)
    raster = F.cross_entropy(model.logits(tokens.data, labels)[:, :9].transpose(1, 2), tokens.data)
    torch.testing.assert_close(model.eval().loss(tokens, labels)["cross_entropy"], raster)


def test_random_orders_are_permutations_and_are_annealed(model: RAR) -> None:
    model.progress(0.5)
    orders = model._random_orders(200)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(9).expand(200, -1))
    assert (orders != torch.arange(9)).any(dim=1).all()
    shares = []
    for done in (0.0, 0.5, 0.625, 0.75, 1.0):
        model.progress(done)
        shares.append(model.permuted)
    assert shares == [1, 1, 0.5, 0, 0]
    model.progress(0.625)
    permuted = (model._random_orders(1000) != torch.arange(9)).any(dim=1).float().mean()
    assert permuted == pytest.approx(0.5, abs=0.06)
    model.progress(1)
    assert torch.equal(model._random_orders(5), torch.arange(9).expand(5, -1))


def test_annealing_may_be_a_step() -> None:
    model = build("rar", **SMALL, hidden=48, anneal=(0.5, 0.5))
    assert isinstance(model, RAR)
    for done, share in ((0.4, 1), (0.5, 0)):
        model.progress(done)
        assert model.permuted == share


def test_labels_of_the_caller_stay_as_they_are(model: RAR, tokens: Tokens) -> None:
    labels = torch.tensor([0, 1])
    object.__setattr__(model.config, "class_dropout", 1.0)
    model.train().loss(tokens, labels)
    assert labels.tolist() == [0, 1]
    model.progress(1)
    assert model.loss(tokens, labels)["cross_entropy"] == model.loss(tokens)["cross_entropy"]
