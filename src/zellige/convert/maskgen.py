"""MaskGen with vector-quantized tokens (bytedance/1d-tokenizer): ``generator_maskgen_vq_*``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zellige.convert.adapter import Adapter, State, count
from zellige.generate.masked import MaskedConfig

if TYPE_CHECKING:
    from zellige.core.contract import Model

Pairs = Iterable[tuple[str, str]]


class MaskGenAdapter(Adapter):
    """Where the head is the embedding, files have the table under one of two names, or under both.

    The queries of the text in the last block are in the files and in no computation. What CLIP makes of the empty
    text is in no file: it is left without a number, see `MaskGen.set_null`.
    """

    system = "maskgen"
    untold = (
        *(f.name for f in fields(MaskedConfig) if f.name not in ("codebook", "layout")),
        "heads",
        "text_tokens",
        "score",
        "seen_weight",
    )

    def matches(self, state: State) -> bool:
        return {"text_embed_proj.weight", "cond_pooled_proj.weight", "blocks.0.attn.add_k_proj.weight"} <= state.keys()

    def config(self, state: State) -> dict[str, Any]:
        state = _plain(state)
        (dim, text_dim), rows = state["text_embed_proj.weight"].shape, len(state[_TABLE])
        tied = _HEAD not in state
        codes = rows - 1 - _SPARE if tied else len(state[_HEAD])
        return {
            "layout": ((state["pos_embed"].shape[1],),),
            "codebook": (codes,),
            "classes": 0,
            "dim": dim,
            "depth": count(state, _BLOCKS),
            "hidden": len(state["blocks.0.ff.net.0.proj.weight"]),
            "text_dim": text_dim,
            "score_waves": state["cond_pooled_proj.weight"].shape[1] - text_dim,
            "tied": tied,
            "spare": rows - codes - 1,
        }

    def modules(self, config: Any) -> Pairs:
        yield from (("embeddings", "embedding"), ("lm_head", "head"), ("norm.linear", "norm.modulation.linear"))
        yield from (("text_embed_proj", "text_in"), ("cond_pooled_proj", "condition"))
        yield from joint_modules("blocks", config.depth)

    def tensors(self, config: Any) -> Pairs:
        return (("pos_embed", "positions"),)

    def joined(self, config: Any) -> Iterable[tuple[str, Mapping[str, int]]]:
        return joint_joined("blocks", config.depth)

    def rearranged(self, name: str, value: Tensor) -> Tensor:
        """Scale and shift of a norm without gate are the other way round there."""
        return swapped(value) if "norm.modulation.linear." in name else value

    def differences(self, state: State, model: Model) -> str:
        return super().differences(_plain(state), model)

    def convert(self, state: State, config: Any) -> dict[str, Tensor]:
        unknown = torch.full((config.text_tokens, config.text_dim), torch.nan)
        return {**super().convert(state, config), "null": unknown, "null_pooled": unknown[0]}

    def build(self, state: State, source: str = "this state dict", **settings: Any) -> Model:
        return super().build(_plain(state), source, **settings)

    def _official_tensors(self, model: Model) -> dict[str, Tensor]:
        tensors, last = super()._official_tensors(model), f"blocks.{model.config.depth - 1}.norm1_context.linear."
        return {key: swapped(v) if key.startswith(("norm.linear.", last)) else v for key, v in tensors.items()}


_TABLE, _HEAD, _BLOCKS = "embeddings.weight", "lm_head.weight", "blocks.{}.attn.to_q.weight"
_SPARE = 1001
"""Rows of the released tables after the mask, for classes and no class: nothing reads them."""
_QKV, _TEXT_QKV = ("to_q", "to_k", "to_v"), ("add_q_proj", "add_k_proj", "add_v_proj")
_IMAGE = (
    ("norm1.linear", "image.modulation.linear"),
    ("attn.to_out.0", "image.attention.out"),
    ("ff.net.0.proj", "image.mlp.up"),
    ("ff.net.2", "image.mlp.down"),
)
_TEXT = (
    ("norm1_context.linear", "text.modulation.linear"),
    ("attn.to_add_out", "text.attention.out"),
    ("ff_context.net.0.proj", "text.mlp.up"),
    ("ff_context.net.2", "text.mlp.down"),
)


def _plain(state: State) -> dict[str, Tensor]:
    """A state dict without what is never read, and with one table where the head has no weights of its own.

    Of two names for one tensor the head's is what an official model was given last.
    """
    plain = without_unread(state, "blocks")
    if _HEAD in plain and "lm_head.bias" not in plain:
        plain[_TABLE] = plain.pop(_HEAD)
    return plain


def joint_modules(blocks: str, depth: int) -> Pairs:
    """Official modules and ours of a `JointTransformer` in ``trunk``, its blocks called `blocks`."""
    for i in range(depth):
        for official, ours in _IMAGE if i == depth - 1 else (*_IMAGE, *_TEXT):
            yield f"{blocks}.{i}.{official}", f"trunk.blocks.{i}.{ours}"
    last = depth - 1
    yield f"{blocks}.{last}.norm1_context.linear", f"trunk.blocks.{last}.text_norm.modulation.linear"


def joint_joined(blocks: str, depth: int) -> Iterable[tuple[str, Mapping[str, int]]]:
    """The queries, keys and values of the same."""
    for i in range(depth):
        own, text = ([f"{blocks}.{i}.attn.{name}" for name in names] for names in (_QKV, _TEXT_QKV))
        yield f"trunk.blocks.{i}.image.attention.qkv", dict.fromkeys(own, 1)
        if i < depth - 1:
            yield f"trunk.blocks.{i}.text.attention.qkv", dict.fromkeys(text, 1)
        else:
            yield f"trunk.blocks.{i}.text_keys", dict.fromkeys(text[1:], 1)


def without_unread(state: State, blocks: str) -> dict[str, Tensor]:
    """A state dict without the queries of the text in the last block."""
    unread = f"{blocks}.{count(state, f'{blocks}.{{}}.attn.to_q.weight') - 1}.attn.add_q_proj."
    return {key: value for key, value in state.items() if not key.startswith(unread)}


def swapped(value: Tensor) -> Tensor:
    """Scale and shift, which official norms without gate have the other way round."""
    return torch.cat(value.chunk(2)[::-1])
