"""LlamaGen's generators (FoundationVision/LlamaGen): files ``c2i_*.pt`` and ``t2i_*.pt``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from zellige.convert.adapter import Adapter, State, count
from zellige.generate.config import GeneratorConfig
from zellige.systems.llamagen import default_hidden

_HEADS = {768: 12, 1024: 16, 1280: 20, 1536: 24, 2048: 32, 2560: 40, 3200: 32, 4096: 32}
"""Heads by width in the released code; no tensor tells them."""


class LlamaGenAdapter(Adapter):
    """Some files carry the position table ``freqs_cis``, which is computed here."""

    system = "llamagen"
    ignored = ("freqs_cis",)
    untold = (
        *(f.name for f in fields(GeneratorConfig) if f.name not in ("codebook", "classes")),
        "heads",
        "kv_heads",
        "dropout",
    )

    def matches(self, state: State) -> bool:
        return {"tok_embeddings.weight", "output.weight", "layers.0.attention.wqkv.weight"} <= state.keys()

    def config(self, state: State) -> dict[str, Any]:
        codes, dim = state["tok_embeddings.weight"].shape
        hidden, heads = state["layers.0.feed_forward.w1.weight"].shape[0], _HEADS.get(dim, max(1, dim // 64))
        found = {
            "codebook": (codes,),
            "dim": dim,
            "depth": count(state, "layers.{}.attention.wqkv.weight"),
            "heads": heads,
            "hidden": None if hidden == default_hidden(dim) else hidden,
        }
        shared = (state["layers.0.attention.wqkv.weight"].shape[0] - dim) // (2 * (dim // heads))
        if shared != heads:
            found["kv_heads"] = shared
        if "cls_embedding.uncond_embedding" in state:
            tokens, features = state["cls_embedding.uncond_embedding"].shape
            return found | {"classes": 0, "text_dim": features, "text_tokens": tokens}
        return found | {"classes": state["cls_embedding.embedding_table.weight"].shape[0] - 1}

    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from (("tok_embeddings", "embedding"), ("norm", "norm"), ("output", "head"))
        if config.text_dim:
            yield "cls_embedding.cap_proj.fc1", "condition.project.up"
            yield "cls_embedding.cap_proj.fc2", "condition.project.down"
        else:
            yield "cls_embedding.embedding_table", "condition.table"
        for i in range(config.depth):
            for official, ours in _BLOCK:
                yield f"layers.{i}.{official}", f"transformer.blocks.{i}.{ours}"

    def tensors(self, config: Any) -> Iterable[tuple[str, str]]:
        return [("cls_embedding.uncond_embedding", "condition.null")] if config.text_dim else []


_BLOCK = (
    ("attention_norm", "norm1"),
    ("attention.wqkv", "attention.qkv"),
    ("attention.wo", "attention.out"),
    ("ffn_norm", "norm2"),
    ("feed_forward.w1", "mlp.gate"),
    ("feed_forward.w3", "mlp.up"),
    ("feed_forward.w2", "mlp.down"),
)
