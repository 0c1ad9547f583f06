"""MaskGIT's generators, in Flax: ``maskgit_imagenet256_checkpoint`` and that of 512 pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from math import isqrt
from typing import TYPE_CHECKING, Any

from torch import Tensor

from zellige.convert.adapter import Adapter, State, count
from zellige.convert.flax import from_flax, to_flax
from zellige.generate.masked import MaskedConfig

if TYPE_CHECKING:
    from zellige.core.contract import Model


class MaskGITAdapter(Adapter):
    """Kernels of attention have an axis for heads: (in, heads, channels of a head), at the output (heads, …, out).

    How many rows of the embedding are codes, and how many classes, no tensor tells: there are 1,000 classes.
    """

    system = "maskgit"
    untold = (
        *(f.name for f in fields(MaskedConfig) if f.name not in ("codebook", "classes", "layout")),
        "dropout",
        "attention_dropout",
    )

    def matches(self, state: State) -> bool:
        return {_WORDS, "params.MlmLayer_0.mlm_bias.bias"} <= state.keys()

    def config(self, state: State) -> dict[str, Any]:
        rows, dim = state[_WORDS].shape
        length = len(state[_POSITIONS]) - 1
        side, classes = isqrt(length), min(_CLASSES, rows - 2)
        return {
            "layout": ((side, side),) if side * side == length else ((length,),),
            "codebook": (rows - 1 - classes,),
            "classes": classes,
            "dim": dim,
            "depth": count(state, "params.TransformerLayer_{}.Mlp_0.layer_output.kernel"),
            "heads": state[f"{_ATTENTION.format(0)}.query.kernel"].shape[1],
            "hidden": state["params.TransformerLayer_0.Mlp_0.intermediate_output.kernel"].shape[1],
        }

    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from _MODULES
        for i in range(config.depth):
            for official, ours in _BLOCK:
                yield f"params.TransformerLayer_{i}.{official}", f"transformer.blocks.{i}.{ours}"

    def tensors(self, config: Any) -> Iterable[tuple[str, str]]:
        return ((f"{_PLACES}.weight", "positions"), ("params.MlmLayer_0.mlm_bias.bias", "bias"))

    def joined(self, config: Any) -> Iterable[tuple[str, Mapping[str, int]]]:
        for i in range(config.depth):
            parts = {f"{_ATTENTION.format(i)}.{name}": 1 for name in ("query", "key", "value")}
            yield f"transformer.blocks.{i}.attention.qkv", parts

    def convert(self, state: State, config: Any) -> dict[str, Tensor]:
        flat = {}
        for key, value in state.items():
            if "self_attention.out." in key and value.ndim == 3:
                value = value.flatten(0, 1)
            elif "self_attention." in key and value.ndim > 1:
                value = value.flatten(-2)
            flat[key] = value
        return super().convert(from_flax(flat), config)

    def _official_tensors(self, model: Model) -> dict[str, Tensor]:
        tensors, heads = super()._official_tensors(model), model.config.heads
        tables = {
            key.replace(".weight", ".embedding"): tensors.pop(key) for key in list(tensors) if "_embeddings." in key
        }
        official = to_flax(tensors)
        for key, value in official.items():
            if "self_attention.out.kernel" in key:
                official[key] = value.unflatten(0, (heads, -1))
            elif "self_attention." in key and "out." not in key:
                official[key] = value.unflatten(-1, (heads, -1))
        return official | tables


_CLASSES = 1000
_PLACES = "params.Embed_0.position_embeddings"
_POSITIONS, _WORDS = f"{_PLACES}.embedding", "params.Embed_0.word_embeddings.embedding"
_ATTENTION = "params.TransformerLayer_{}.Attention_0.self_attention"
_MODULES = (
    ("params.Embed_0.word_embeddings", "embedding"),
    ("params.Embed_0.embeddings_ln", "norm"),
    ("params.MlmLayer_0.mlm_dense", "head"),
    ("params.MlmLayer_0.mlm_ln", "head_norm"),
)
_BLOCK = (
    ("Attention_0.self_attention.out", "attention.out"),
    ("Attention_0.attention_output_ln", "norm1"),
    ("Mlp_0.intermediate_output", "mlp.up"),
    ("Mlp_0.layer_output", "mlp.down"),
    ("Mlp_0.layer_output_ln", "norm2"),
)
