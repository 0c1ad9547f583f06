"""VAR's generators (FoundationVision/VAR): files ``var_d*.pth``, which hold no part of the tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from zellige.convert.adapter import Adapter, State, count
from zellige.core.registry import system_class
from zellige.generate.config import GeneratorConfig


class VARAdapter(Adapter):
    """Gates come first and shifts last in the official modulations, scales before shifts in the head's.

    Without a norm of queries and keys the official attention is a quarter as sharp as usual, which goes into the
    queries. The sides of the scales are in no tensor. The codes stay at zero, by which the model knows that they are
    missing.
    """

    system = "var"
    ignored = ("lvl_1L", "attn_bias_for_masking")
    untold = (
        *(f.name for f in fields(GeneratorConfig) if f.name not in ("codebook", "classes")),
        "quantizer_settings",
    )

    def matches(self, state: State) -> bool:
        return {"pos_1LC", "pos_start", "word_embed.weight", "blocks.0.attn.mat_qkv.weight"} <= state.keys()

    def holds(self, key: str) -> bool:
        return super().holds(key) and not key.endswith("zero_k_bias")

    def config(self, state: State) -> dict[str, Any]:
        dim, code_dim = state["word_embed.weight"].shape
        unit = "blocks.0.attn.scale_mul_1H11" in state
        return {
            "codebook": (state["head.weight"].shape[0],),
            "classes": state["class_emb.weight"].shape[0] - 1,
            "dim": dim,
            "depth": count(state, "blocks.{}.attn.mat_qkv.weight"),
            "heads": state["blocks.0.attn.scale_mul_1H11"].shape[1] if unit else max(1, dim // 64),
            "qk_norm": "cosine" if unit else "none",
            "shared_modulation": "shared_ada_lin.1.weight" in state,
            "code_dim": code_dim,
        }

    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from _MODULES
        for i in range(config.depth):
            for official, ours in _BLOCK:
                yield f"blocks.{i}.{official}", f"transformer.blocks.{i}.{ours}"

    def tensors(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from (("pos_start", "start"), ("pos_1LC", "positions"))
        for i in range(config.depth):
            for official, ours in _TENSORS:
                yield f"blocks.{i}.{official}", f"transformer.blocks.{i}.{ours}"

    def rearranged(self, name: str, value: Tensor) -> Tensor:
        if name.startswith("norm.modulation"):
            return torch.cat(value.chunk(2)[::-1])
        if name.endswith("modulation.offset"):
            return value[:, :, _ORDER]
        if "modulation.linear" in name:
            return value.unflatten(0, (6, -1))[_ORDER].flatten(0, 1)
        return value

    def convert(self, state: State, config: Any) -> dict[str, Tensor]:
        converted = super().convert(state, config)
        if config.qk_norm == "none":
            sharpness = torch.ones(3 * config.dim, 1)
            sharpness[: config.dim] = 0.25
            for i in range(config.depth):
                attention = f"transformer.blocks.{i}.attention"
                converted[f"{attention}.qkv.weight"] = converted[f"{attention}.qkv.weight"] * sharpness
                converted[f"{attention}.q_bias"] = converted[f"{attention}.q_bias"] * 0.25
        with torch.device("meta"):
            whole = system_class(self.system)(config).state_dict()
        codes = {key: torch.zeros(value.shape) for key, value in whole.items() if key.startswith("quantizer.")}
        return {**converted, **codes}


_ORDER = [4, 2, 0, 5, 3, 1]
"""Official gate, gate, scale, scale, shift, shift to shift, scale, gate of attention and of the MLP."""
_MODULES = (
    ("word_embed", "embed"),
    ("class_emb", "condition.table"),
    ("lvl_embed", "levels"),
    ("shared_ada_lin.1", "modulation.linear"),
    ("head_nm.ada_lin.1", "norm.modulation.linear"),
    ("head", "head"),
)
_BLOCK = (
    ("attn.mat_qkv", "attention.qkv"),
    ("attn.proj", "attention.out"),
    ("ffn.fc1", "mlp.up"),
    ("ffn.fc2", "mlp.down"),
    ("ada_lin.1", "modulation.linear"),
)
_TENSORS = (
    ("ada_gss", "modulation.offset"),
    ("attn.q_bias", "attention.q_bias"),
    ("attn.v_bias", "attention.v_bias"),
    ("attn.scale_mul_1H11", "attention.log_temperature"),
)
