"""Token-Shuffle: windows see those before them alone, the cache changes nothing, and s = 1 is the plain model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.parts.systems.test_llamagen import stepwise
from zellige.core.condition import TextFeatures
from zellige.core.errors import UsageError
from zellige.core.registry import build
from zellige.core.tokens import Tokens, TokenSpec
from zellige.latent.fold import Shuffle, Unshuffle
from zellige.losses.z_loss import z_loss
from zellige.nn.scan import cell_order
from zellige.systems.llamagen import LlamaGen
from zellige.systems.token_shuffle import TokenShuffle

SMALL: dict[str, Any] = {"layout": ((4, 6),), "codebook": (17,), "dim": 48, "depth": 2, "heads": 4, "hidden": 48}
CLASSES: dict[str, Any] = {**SMALL, "classes": 3}
TEXT: dict[str, Any] = {**SMALL, "classes": 0, "text_dim": 6, "text_tokens": 5}


def made(settings: dict[str, Any], system: str = "token-shuffle") -> Any:
    """A model with no zero in its head."""
    torch.manual_seed(0)
    model = build(system, **settings)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model.eval()


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [({}, 4), ({"layout": ((9,),), "side": 3}, 3), ({"fusion": "mean"}, 4), ({"side": 1}, 1)],
    ids=["grid", "sequence", "mean", "plain"],
)
def test_cached_sampling_has_the_logits_of_the_whole_sequence(settings: dict[str, Any], tokens: int) -> None:
    model = made({**CLASSES, **settings})
    labels = torch.tensor([0, 2])
    ids, seen = stepwise(model, labels, guidance=2.5)
    block, side = model.config.layout[0], model.config.side
    assert seen.shape == (2, ids.shape[1] // tokens, tokens, 17)  # so many steps
    with torch.no_grad():
        null = model.logits(ids, torch.full_like(labels, 3))
        difference = model.logits(ids, labels) - null
    order = cell_order(block, [side] * len(block))
    guide = model.settings({"guidance": 2.5}).guide()
    weights = torch.tensor([guide.at(i / seen.shape[1]) for i in range(seen.shape[1])]).repeat_interleave(tokens)
    expected = null[:, order] + weights[:, None] * difference[:, order]
    torch.testing.assert_close(seen.flatten(1, 2), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(ids[:, order], expected.argmax(-1))


def test_a_text_conditions_it_and_padding_does_not() -> None:
    model = made(TEXT)
    features, mask = torch.randn(2, 5, 6), torch.tensor([[False, False, True, True, True], [True] * 5])
    _, seen = stepwise(model, TextFeatures(features, mask), guidance=1.0)
    padded = TextFeatures(torch.where(mask[..., None], features, 9.0), mask)
    torch.testing.assert_close(stepwise(model, padded, guidance=1.0)[1], seen)
    assert not torch.allclose(stepwise(model, None, num=2, guidance=1.0)[1], seen, atol=1e-3)


def test_without_windows_it_is_the_plain_next_token_model() -> None:
    ours, plain = made({**CLASSES, "side": 1}), made(CLASSES, "llamagen")
    assert isinstance(plain, LlamaGen)
    ours.load_state_dict(plain.state_dict())
    plain.rotary = ours.rotary  # one axis, prefix included
    ids, labels = torch.randint(17, (2, 24)), torch.tensor([0, 1])
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ids, labels), plain.logits(ids, labels), rtol=0, atol=0)
    options: dict[str, Any] = {"seed": 5, "guidance": 3.0, "schedule": "constant"}
    assert torch.equal(ours.sample(labels, **options).data, plain.sample(labels, **options).data)


def test_a_token_never_changes_the_predictions_of_its_window_or_earlier_ones() -> None:
    model = made(CLASSES)
    ids, labels = torch.randint(17, (1, 24)), torch.tensor([1])
    order = cell_order((4, 6), (2, 2)).view(6, 4)
    with torch.no_grad():
        before = model.logits(ids, labels)
        for window in range(6):
            changed = ids.clone()
            changed[0, order[window, 3]] = (ids[0, order[window, 3]] + 1) % 17
            moved = (model.logits(changed, labels) - before).abs().amax(-1)[0, order].amax(-1)
            assert not moved[: window + 1].any()
            assert (moved[window + 1 :] > 0).all()


def test_tokens_of_a_window_may_differ_but_none_waits_for_another() -> None:
    """Each has logits of its own, from the one position before."""
    model = made(CLASSES)
    with torch.no_grad():
        logits = model.logits(torch.zeros(1, 24, dtype=torch.long), torch.tensor([0]))
    assert (logits[0, 0] - logits[0, 1]).abs().max() > 1e-3


@pytest.mark.parametrize(("dim", "window"), [(12, 4), (6, 1), (9, 9)])
def test_layers_keep_the_width(dim: int, window: int) -> None:
    x = torch.randn(2, 3, window, dim)
    shuffle, unshuffle = Shuffle(dim, window, 2), Unshuffle(dim, window, 1)
    assert shuffle.compress.out_features == dim // window
    assert shuffle(x).shape == (2, 3, dim)
    assert unshuffle(shuffle(x)).shape == x.shape
    assert set(dict(shuffle.named_children())) == {"compress", "blocks"}
    assert set(dict(unshuffle.named_children())) == {"blocks", "expand"}


def test_shuffle_knows_the_place_in_a_window_and_a_mean_does_not() -> None:
    x = torch.randn(2, 4, 8)
    with torch.no_grad():
        assert not torch.allclose(Shuffle(8, 4, 1)(x), Shuffle(8, 4, 1)(x.flip(1)))
        mean = Shuffle(8, 4, 1, "mean")
        torch.testing.assert_close(mean(x), mean(x.flip(1)))


def test_embeddings_may_pass_through_few_channels() -> None:
    torch.manual_seed(0)
    model = build("token-shuffle", **{**CLASSES, "dim": 256, "side": 1, "embedding_rank": 3})
    assert isinstance(model, TokenShuffle)
    with torch.no_grad():
        embedded = model._embed(torch.arange(17)[:, None])
        assert torch.linalg.matrix_rank(embedded) == 3
        assert embedded.std() == pytest.approx(float(model.embedding.weight.std()), rel=0.3)
        model.embedding.weight[5] += 1.0
        assert not torch.equal(model._embed(torch.tensor([[5]])), embedded[5:6])


def test_z_loss_is_the_square_of_the_log_partition() -> None:
    logits = torch.tensor([[0.0, 0.0], [3.0, 3.0]])
    log2 = torch.tensor(2.0).log()
    torch.testing.assert_close(z_loss(logits), (log2.square() + (3 + log2).square()) / 2)
    model: TokenShuffle = made({**CLASSES, "z_loss": 0.5})
    ids = torch.randint(17, (2, 24))
    losses = model.loss(Tokens(ids, ((4, 6),), (17,)), [0, 1])
    torch.testing.assert_close(losses["z"], 0.5 * z_loss(model.logits(ids, torch.tensor([0, 1]))))
    assert list(made(CLASSES).loss(Tokens(ids, ((4, 6),), (17,)), [0, 1])) == ["cross_entropy"]


def test_what_cannot_be_built() -> None:
    with pytest.raises(UsageError, match="5×6 tokens do not divide into windows of 2 a side; set side=1"):
        build("token-shuffle", for_tokens=TokenSpec(((5, 6),), (17,)))
    with pytest.raises(UsageError, match="no equal shares for the 4 tokens"):
        build("token-shuffle", **{**CLASSES, "dim": 54, "heads": 1})
    with pytest.raises(UsageError, match="token-shuffle predicts codes"):
        build("token-shuffle", for_tokens=TokenSpec(((4, 4),), (), 16))
    with pytest.raises(UsageError, match="fusion"):
        build("token-shuffle", **CLASSES, fusion="sum")


def test_samples_lie_where_their_windows_are() -> None:
    """Tokens whose logits tell their place in a window come out at that place of the grid."""
    model = made(CLASSES)

    def places(x: Tensor) -> Tensor:
        return torch.eye(4, 17).expand(*x.shape[:-1], 4, 17) * 100

    model._unembed = places
    ids = model.sample(0, seed=0, temperature=0, guidance=1.0).ids.view(4, 6)
    assert ids.tolist() == [[0, 1] * 3, [2, 3] * 3] * 2
