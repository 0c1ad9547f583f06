"""ENAT's generators (LeapLabTHU/ENAT): files ``nnet_ema.pth``, ``nnet_ema_512.pth``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from math import isqrt
from typing import TYPE_CHECKING, Any

from torch import Tensor

from zellige.convert.adapter import Adapter, State, count
from zellige.generate.masked import MaskedConfig

if TYPE_CHECKING:
    from zellige.core.contract import Model


class ENATAdapter(Adapter):
    """``prev_embedder`` is in the files and in no computation. No tensor tells how the blocks divide."""

    system = "enat"
    ignored = ("prev_embedder.",)
    untold = (
        *(f.name for f in fields(MaskedConfig) if f.name not in ("codebook", "classes", "layout")),
        "encoder_depth",
        "decoder_depth",
        "heads",
        "dropout",
        "ratios",
        "reuse",
    )

    def matches(self, state: State) -> bool:
        return {"x_embedder.word_embeddings.weight", "prev_proj.norm.weight", "mlm_layer.bias"} <= state.keys()

    def config(self, state: State) -> dict[str, Any]:
        rows, dim = state["x_embedder.word_embeddings.weight"].shape
        length = len(state["x_embedder.position_embeddings.weight"])
        side, blocks = isqrt(length), count(state, "blocks.{}.attn.q.weight")
        return {
            "layout": ((side, side),) if side * side == length else ((length,),),
            "codebook": (rows - 1,),
            "classes": len(state["y_embedder.embedding_table.weight"]) - 1,
            "dim": dim,
            "encoder_depth": blocks - _DECODER,
            "decoder_depth": _DECODER,
            "heads": max(1, dim // _HEAD),
        }

    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from _MODULES
        for official, ours in _blocks(config):
            for theirs, name in _BLOCK:
                yield f"{official}.{theirs}", f"{ours}.{name}"

    def tensors(self, config: Any) -> Iterable[tuple[str, str]]:
        return (("x_embedder.position_embeddings.weight", "positions"), (_BIAS, "bias"))

    def joined(self, config: Any) -> Iterable[tuple[str, Mapping[str, int]]]:
        for official, ours in _blocks(config):
            yield f"{ours}.attention.qkv", {f"{official}.attn.q": 1, f"{official}.attn.kv.B": 2}

    def rearranged(self, name: str, value: Tensor) -> Tensor:
        return value.flatten() if name == "bias" else value

    def _official_tensors(self, model: Model) -> dict[str, Tensor]:
        tensors = super()._official_tensors(model)
        return {**tensors, _BIAS: tensors[_BIAS][None, None]}


_DECODER, _HEAD = 2, 64
"""Decoder blocks of the released models, and channels of a head."""
_BIAS = "mlm_layer.bias"
_MODULES = (
    ("x_embedder.word_embeddings", "embedding"),
    ("x_embedder.LayerNorm", "norm_in"),
    ("y_embedder.embedding_table", "condition.table"),
    ("prev_proj.norm", "reuse_norm"),
    ("prev_proj.mlp.fc1", "reuse_mlp.up"),
    ("prev_proj.mlp.fc2", "reuse_mlp.down"),
    ("norm", "norm"),
    ("mlm_layer.fc", "head"),
    ("mlm_layer.ln", "head_norm"),
)
_BLOCK = (
    ("attn.kv.A", "context"),
    ("attn.proj", "attention.out"),
    ("mlp.fc1", "mlp.up"),
    ("mlp.fc2", "mlp.down"),
    ("adaLN_modulation.1", "modulation.linear"),
)


def _blocks(config: Any) -> Iterable[tuple[str, str]]:
    """Official blocks, which are numbered through, and ours."""
    for i in range(config.encoder_depth + config.decoder_depth):
        side, first = ("encoder", 0) if i < config.encoder_depth else ("decoder", config.encoder_depth)
        yield f"blocks.{i}", f"{side}.{i - first}"
