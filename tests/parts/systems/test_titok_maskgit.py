"""TiTok's generators: rows of the embedding, both networks, and the masks and weights of training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from zellige.core.errors import UsageError
from zellige.core.registry import build
from zellige.core.tokens import Tokens
from zellige.systems.titok_maskgit import NETWORKS, TiTokMaskGIT

SMALL: dict[str, Any] = {"layout": ((8,),), "codebook": (17,), "classes": 3, "dim": 32, "depth": 2, "heads": 4}
LABELS = torch.tensor([0, 2])


@pytest.fixture(params=NETWORKS)
def model(request: pytest.FixtureRequest) -> TiTokMaskGIT:
    torch.manual_seed(0)
    quiet = {"dropout": 0.0, "attention_dropout": 0.0, "class_dropout": 0.0}
    model = build("titok-maskgit", **SMALL, hidden=48, network=request.param, **quiet)
    assert isinstance(model, TiTokMaskGIT)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model.eval()


@pytest.fixture
def ids() -> Tensor:
    return torch.randint(17, (2, 8), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_what_lies_under_a_mask_has_no_influence_and_all_else_has(model: TiTokMaskGIT, ids: Tensor) -> None:
    masked = (torch.arange(8) < 5).expand(2, -1)
    logits = model.logits(ids, masked, LABELS)
    assert logits.shape == (2, 8, 17)
    assert torch.equal(model.logits(torch.where(masked, (ids + 1) % 17, ids), masked, LABELS), logits)
    shown = torch.where(torch.arange(8) == 7, (ids + 1) % 17, ids)
    null = torch.full_like(LABELS, 3)
    for other in (model.logits(shown, masked, LABELS), model.logits(ids, masked, null)):
        assert (other - logits).abs().amax(dim=(1, 2)).min() > 1e-3


def test_the_loss_weighs_seen_tokens_a_tenth(model: TiTokMaskGIT, ids: Tensor) -> None:
    masked = (torch.arange(8) < torch.tensor([[3], [6]])).expand(2, -1)
    model.masks = lambda done: masked  # type: ignore[method-assign]
    loss = model.train().loss(Tokens(ids, ((8,),), (17,)), LABELS)["cross_entropy"]
    losses = F.cross_entropy(
        model.logits(ids, masked, LABELS).transpose(1, 2), ids, reduction="none", label_smoothing=0.1
    )
    weights = torch.where(masked, 1.0, 0.1)
    torch.testing.assert_close(loss, (losses * weights).sum() / weights.sum())


def test_training_masks_by_the_schedule(model: TiTokMaskGIT) -> None:
    done = torch.linspace(0, 1, 41)
    counts = (8 * torch.acos(done) * 2 / torch.pi).round().clamp(min=1)
    assert model.masks(done).sum(1).tolist() == counts.tolist()


def test_samples_do_not_depend_on_the_batch_with_rising_guidance(model: TiTokMaskGIT) -> None:
    together = model.sample([0, 1, 2], seed=4, guidance=6.0, temperature=3.0).data
    assert torch.equal(model.sample(1, seed=5, guidance=6.0, temperature=3.0).data, together[1:2])
    calm = model.sample([0, 1, 2], seed=4, guidance=6.0, temperature=3.0, anneal_logits=False).data
    assert not torch.equal(calm, together)


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(UsageError, match="did you mean bert"):
        build("titok-maskgit", **SMALL, network="brt")
