"""RAR generators (bytedance/1d-tokenizer, and RobustTok's in the same layout): files ``rar_*.bin``, ``rar-*.bin``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from zellige.convert.adapter import Adapter, State, count
from zellige.generate.config import GeneratorConfig


class RARAdapter(Adapter):
    """The head's modulation is stored scale first, ours shift first."""

    system = "rar"
    untold = (
        *(f.name for f in fields(GeneratorConfig) if f.name not in ("codebook", "classes", "layout")),
        "dropout",
        "attention_dropout",
        "anneal",
    )

    def matches(self, state: State) -> bool:
        return {"target_aware_pos_embed", "timesteps_embeddings", "adaln_before_head.adaLN_modulation.1.weight"} <= (
            state.keys()
        )

    def config(self, state: State) -> dict[str, Any]:
        codes, dim = state["lm_head.weight"].shape
        length = state["pos_embed"].shape[1] - _EXTRA_POSITIONS
        if length < 1:
            raise ValueError(f"a position table of {length + _EXTRA_POSITIONS} rows is too short")
        side = isqrt(length)
        return {
            "layout": ((side, side),) if side * side == length else ((length,),),
            "codebook": (codes,),
            "classes": state["embeddings.weight"].shape[0] - codes - 2,
            "dim": dim,
            "depth": count(state, "blocks.{}.attn.qkv.weight"),
            "heads": dim // state["blocks.0.attn.q_norm.weight"].shape[0],
            "hidden": state["blocks.0.mlp.fc1.weight"].shape[0],
            "extra_positions": _EXTRA_POSITIONS,
            "extra_steps": state["timesteps_embeddings"].shape[1] - length,
        }

    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from (("embeddings", "embedding"), ("lm_head", "head"))
        yield "adaln_before_head.adaLN_modulation.1", _HEAD_MODULATION
        for i in range(config.depth):
            for official, ours in _BLOCK:
                yield f"blocks.{i}.{official}", f"transformer.blocks.{i}.{ours}"

    def tensors(self, config: Any) -> Iterable[tuple[str, str]]:
        return _TABLES

    def rearranged(self, name: str, value: Tensor) -> Tensor:
        if not name.startswith(_HEAD_MODULATION):
            return value
        scale, shift = value.chunk(2)
        return torch.cat([shift, scale])


_EXTRA_POSITIONS = 1024
_HEAD_MODULATION = "norm.modulation.linear"
_TABLES = (
    ("cls_token", "cls_token"),
    ("pos_embed", "positions"),
    ("target_aware_pos_embed", "targets"),
    ("timesteps_embeddings", "steps"),
)
_BLOCK = (
    ("norm1", "norm1"),
    ("attn.qkv", "attention.qkv"),
    ("attn.q_norm", "attention.q_norm"),
    ("attn.k_norm", "attention.k_norm"),
    ("attn.proj", "attention.out"),
    ("norm2", "norm2"),
    ("mlp.fc1", "mlp.up"),
    ("mlp.fc2", "mlp.down"),
    ("adaLN_modulation.1", "modulation.linear"),
)
