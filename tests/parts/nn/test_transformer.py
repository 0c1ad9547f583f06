"""The transformer: what its tokens see, with and without cache, and the options of its blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zellige.core.errors import UsageError
from zellige.nn.attention import Attention, CrossAttention, block_causal_mask, causal_mask
from zellige.nn.cache import KVCache
from zellige.nn.mlp import MLP
from zellige.nn.modulation import AdaptiveNorm, ClassEmbedding, init_normal, modulate
from zellige.nn.rope import rotary_table
from zellige.nn.transformer import Block, Transformer, TransformerConfig

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "llama": {"norm": "rms", "qkv_bias": False, "bias": False, "activation": "silu", "gated": True, "kv_heads": 2},
    "adaptive": {"affine": False, "adaptive": True, "qk_norm": "layer"},
    "cosine": {"affine": False, "adaptive": True, "qkv_bias": "qv", "qk_norm": "cosine", "activation": "gelu-tanh"},
    "rms": {"norm": "rms", "affine": False, "adaptive": True, "condition": 5, "gated": True, "qk_norm": "rms"},
    "bert": {"post_norm": True, "activation": "gelu-tanh"},
}
variants = pytest.mark.parametrize("variant", VARIANTS)


def made(variant: str, depth: int = 2) -> tuple[Transformer, Tensor | None]:
    """A transformer with no zero in its weights, and a condition for two samples."""
    torch.manual_seed(0)
    config = TransformerConfig(16, depth, 4, **VARIANTS[variant])
    model = Transformer(config)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    condition = torch.randn(2, config.condition or 16) if config.adaptive else None
    return model.eval(), condition


def tokens(count: int = 6) -> Tensor:
    return torch.randn(2, count, 16, generator=torch.Generator().manual_seed(1))


@variants
def test_a_cache_changes_nothing(variant: str) -> None:
    model, condition = made(variant)
    x, table = tokens(), rotary_table(torch.arange(6), 4)
    whole = model(x, condition, causal=True, rotary=table)
    cache = model.cache(6)
    parts = []
    for start, stop in ((0, 2), (2, 3), (3, 6)):
        parts.append(model(x[:, start:stop], condition, causal=True, rotary=table[start:stop], cache=cache))
        cache.advance(stop - start)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-5)


@variants
def test_a_causal_token_sees_no_later_one(variant: str) -> None:
    model, condition = made(variant)
    x = tokens()
    changed = torch.cat([x[:, :3], -x[:, 3:]], dim=1)
    before, after = model(x, condition, causal=True), model(changed, condition, causal=True)
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, 3:], after[:, 3:], atol=1e-2)
    assert not torch.allclose(model(x, condition)[:, :3], model(changed, condition)[:, :3], atol=1e-3)


def test_blocks_of_tokens_see_themselves_and_earlier_blocks_through_a_cache_too() -> None:
    model, _ = made("plain")
    x, sizes = tokens(), [1, 2, 3]
    mask = block_causal_mask(sizes)
    assert mask.int().tolist() == [[1, 0, 0, 0, 0, 0]] + [[1, 1, 1, 0, 0, 0]] * 2 + [[1] * 6] * 3
    whole = model(x, mask=mask)
    cache, parts = model.cache(6), []
    for part in x.split(sizes, dim=1):
        parts.append(model(part, cache=cache))
        cache.advance(part.shape[1])
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-5)


def test_a_pass_that_is_not_kept_is_no_context() -> None:
    model, _ = made("plain")
    x, noisy = tokens(4), tokens(2) * 3
    cache = model.cache(6)
    model(x, cache=cache)
    cache.advance(4)
    model(noisy, cache=cache)  # not kept
    again = model(tokens(2), cache=cache)
    fresh = model.cache(6)
    model(x, cache=fresh)
    fresh.advance(4)
    assert torch.equal(again, model(tokens(2), cache=fresh))


def test_a_full_cache_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 tokens for a cache of 2"):
        KVCache(1, 2).extend(0, torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 3, 4))


@variants
def test_checkpointing_gives_the_same_gradients(variant: str) -> None:
    model, condition = made(variant)
    gradients = []
    for checkpointing in (False, True):
        model.checkpointing = checkpointing
        model.zero_grad()
        model(tokens(), condition, causal=True).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        assert kept.any()
        torch.testing.assert_close(kept, recomputed)


@variants
def test_bfloat16_runs_by_autocast_and_by_weights(variant: str) -> None:
    model, condition = made(variant, depth=1)
    table = rotary_table(torch.arange(6), 4)
    expected = model(tokens(), condition, causal=True, rotary=table)
    with torch.autocast("cpu", torch.bfloat16):
        cache = model.cache(6)
        mixed = model(tokens(), condition, causal=True, rotary=table, cache=cache)
    half = model.bfloat16()(
        tokens().bfloat16(), None if condition is None else condition.bfloat16(), causal=True, rotary=table
    )
    assert half.dtype == torch.bfloat16
    for got in (mixed, half):
        assert torch.nn.functional.cosine_similarity(got.float().flatten(), expected.flatten(), dim=0) > 0.99


def test_a_condition_for_each_token_is_that_of_its_token() -> None:
    model, condition = made("adaptive")
    assert condition is not None
    each = condition[:, None].expand(-1, 6, -1)
    torch.testing.assert_close(model(tokens(), each), model(tokens(), condition))
    other = torch.cat([each[:, :5], -each[:, 5:]], dim=1)
    out = model(tokens(), other, causal=True)
    torch.testing.assert_close(out[:, :5], model(tokens(), each, causal=True)[:, :5])
    assert not torch.allclose(out[:, 5], model(tokens(), each, causal=True)[:, 5])


def test_fresh_adaptive_blocks_are_the_identity() -> None:
    block = Block(TransformerConfig(16, 1, 4, adaptive=True))
    init_normal(block)
    assert torch.equal(block(tokens(), torch.randn(2, 16)), tokens())


def test_cosine_attention_is_blind_to_the_length_of_its_tokens() -> None:
    attention = Attention(16, 4, qkv_bias=False, qk_norm="cosine").eval()
    q, k, v = attention.project(tokens())
    q2, k2, _ = attention.project(3 * tokens())
    torch.testing.assert_close((q, k), (q2, k2))
    torch.testing.assert_close(q.norm(dim=-1), torch.full(q.shape[:-1], 4.0))
    assert v.shape == (2, 4, 6, 4)


def test_context_is_seen_like_tokens() -> None:
    attention = Attention(16, 4).eval()
    x = tokens()
    _, k, v = attention.project(x[:, :2])
    torch.testing.assert_close(attention(x[:, 2:], context=(k, v)), attention(x)[:, 2:], rtol=1e-5, atol=1e-5)


def test_cross_attention_sees_the_context_alone_and_obeys_its_mask() -> None:
    attention = CrossAttention(16, 4, 8, bias=False).eval()
    context = torch.randn(2, 5, 8)
    alone = attention(tokens(), context[:, :3])
    mask = torch.tensor([[True] * 3 + [False] * 2])
    torch.testing.assert_close(attention(tokens(), context, mask=mask), alone, rtol=1e-5, atol=1e-6)
    table = rotary_table(torch.arange(6), 4)
    turned = attention(tokens(), context, rotary=table, context_rotary=table[:5])
    assert not torch.allclose(turned, attention(tokens(), context), atol=1e-4)


def test_small_parts() -> None:
    assert causal_mask(2, 1).tolist() == [[True, True, False], [True, True, True]]
    assert MLP(4, 8, 3)(torch.zeros(2, 4)).shape == (2, 3)
    assert torch.equal(modulate(torch.ones(2), torch.ones(2), torch.ones(2)), torch.full((2,), 3.0))
    assert AdaptiveNorm(8, 3, norm="rms")(torch.randn(2, 5, 8), torch.randn(2, 5, 3)).shape == (2, 5, 8)
    embedding = ClassEmbedding(3, 4, dropout=1.0)
    labels = torch.tensor([0, 1])
    assert torch.equal(embedding(labels), embedding.table.weight[[3, 3]])
    assert torch.equal(embedding.eval()(labels), embedding.table.weight[:2])
    assert labels.tolist() == [0, 1]


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="10 channels do not divide into 4 heads"):
        Attention(10, 4)
    with pytest.raises(UsageError, match="norm of queries and keys 'cosin'"):
        Attention(16, 4, qk_norm="cosin")
    with pytest.raises(UsageError, match="activation"):
        MLP(4, 4, activation="relu6")
    with pytest.raises(UsageError, match="post_norm"):
        Block(TransformerConfig(16, 1, 4, adaptive=True, post_norm=True))
    with pytest.raises(UsageError, match="do not divide"):
        CrossAttention(10, 4, 8)
