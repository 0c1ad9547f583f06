"""Blocks of vision transformers, and encoders and decoders made of them."""

from __future__ import annotations

import pytest
import torch

from zellige.core.errors import UsageError
from zellige.decoders.query import QueryDecoder
from zellige.encoders.query import QueryEncoder
from zellige.nn.positions import resample_positions
from zellige.nn.vit import Attention, DropPath, ViTTrunk, unpatchify


def trunk(*, patch: int | None = None, layer_scale: float = 1.0) -> ViTTrunk:
    torch.manual_seed(0)
    return ViTTrunk(32, 2, 2, grid=4, patch=patch, layer_scale=layer_scale).eval()


def test_layer_scale_of_zero_leaves_tokens_alone() -> None:
    network = trunk(layer_scale=0.0)
    x = torch.randn(2, 5, 32)
    assert torch.equal(network(x), network.norm(x))


def test_dropped_paths_are_whole_samples_and_keep_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(4000, 3, 2)
    out = drop(x)
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(out[:, 0, 0], out[:, 2, 1])
    assert out.mean() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(drop.eval()(x), x)
    with pytest.raises(UsageError, match=r"\[0, 1\)"):
        DropPath(1.0)


def test_drop_path_grows_with_depth() -> None:
    rates = [
        block.drop_path.rate for block in ViTTrunk(8, 3, 1, grid=2, patch=None, layer_scale=1.0, drop_path=0.2).blocks
    ]
    assert rates == pytest.approx([0.0, 0.1, 0.2])


def test_positions_keep_class_token_and_constants() -> None:
    table = torch.ones(1, 17, 3)
    table[:, 0] = 7.0
    resized = resample_positions(table, 3)
    assert resized.shape == (1, 10, 3)
    torch.testing.assert_close(resized[:, 1:], torch.ones(1, 9, 3))
    assert torch.equal(resized[:, 0], table[:, 0])
    assert resample_positions(table, 4) is table


def test_unpatchify_puts_pixels_where_they_belong() -> None:
    image = torch.randn(2, 3, 8, 8)
    patches = image.unfold(2, 4, 4).unfold(3, 4, 4)  # (B, 3, 2, 2, 4, 4)
    assert torch.equal(unpatchify(patches.permute(0, 2, 3, 4, 5, 1).reshape(2, 4, 48), 2, 4), image)


@pytest.mark.parametrize(("positions", "tokens"), [("shared", 9), ("own", 7)])
def test_learned_tokens_encode_and_decode(positions: str, tokens: int) -> None:
    encoder = QueryEncoder(trunk(patch=8), 32, tokens=tokens, branches=2, positions=positions)
    decoder = QueryDecoder(trunk(), 32, tokens=tokens, patch=8, positions=positions)
    x = torch.randn(2, 3, 32, 32)
    latents = encoder(x)
    assert latents.shape == (2, 2 * tokens, 32)
    out = decoder(latents[:, :tokens])
    assert out.shape == x.shape
    out.square().sum().backward()
    unreached = [n for m in (encoder, decoder) for n, p in m.named_parameters() if p.grad is None or not p.grad.any()]
    assert not unreached


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="square"):
        QueryEncoder(trunk(patch=8), 32, tokens=7)
    with pytest.raises(UsageError, match="shared"):
        QueryDecoder(trunk(), 32, tokens=9, patch=8, positions="share")
    with pytest.raises(UsageError, match="heads"):
        Attention(32, 5)
