"""TiTok's generators (bytedance/1d-tokenizer): ``generator_titok_*``, BERTs of Hugging Face's names and a U-ViT."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from torch import Tensor

from zellige.convert.adapter import Adapter, State, count
from zellige.generate.masked import MaskedConfig

if TYPE_CHECKING:
    from zellige.core.contract import Model

_UNTOLD = (
    *(f.name for f in fields(MaskedConfig) if f.name not in ("codebook", "classes", "layout")),
    "heads",
    "dropout",
    "attention_dropout",
    "seen_weight",
    "anneal_logits",
)


class TiTokBERTAdapter(Adapter):
    """Queries, keys and values are apart."""

    system = "titok-maskgit"
    ignored = ("model.embeddings.position_ids",)
    untold = _UNTOLD

    def matches(self, state: State) -> bool:
        return {_WORDS, "model.lm_head.weight", "model.encoder.layer.0.output.dense.weight"} <= state.keys()

    def config(self, state: State) -> dict[str, Any]:
        return {
            **_sizes(state, "model.lm_head.weight", _WORDS, len(state[_PLACES])),
            "network": "bert",
            "depth": count(state, "model.encoder.layer.{}.output.dense.weight"),
            "hidden": len(state["model.encoder.layer.0.intermediate.dense.weight"]),
        }

    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from (("model.embeddings.word_embeddings", "embedding"), ("model.embeddings.LayerNorm", "norm_in"))
        yield "model.lm_head", "head"
        for i in range(config.depth):
            for official, ours in _BERT_BLOCK:
                yield f"model.encoder.layer.{i}.{official}", f"trunk.blocks.{i}.{ours}"

    def tensors(self, config: Any) -> Iterable[tuple[str, str]]:
        return ((_PLACES, "positions"), ("model.embeddings.token_type_embeddings.weight", "kinds"))

    def joined(self, config: Any) -> Iterable[tuple[str, Mapping[str, int]]]:
        for i in range(config.depth):
            parts = {f"model.encoder.layer.{i}.attention.self.{name}": 1 for name in ("query", "key", "value")}
            yield f"trunk.blocks.{i}.attention.qkv", parts


class TiTokUViTAdapter(Adapter):
    """Blocks of the way down and of the way up, and the one between them."""

    system = "titok-maskgit"
    untold = _UNTOLD

    def matches(self, state: State) -> bool:
        return {"pos_embed", "mid_block.attn.qkv.weight", "lm_head.weight"} <= state.keys()

    def config(self, state: State) -> dict[str, Any]:
        return {
            **_sizes(state, "lm_head.weight", "embeddings.weight", state["pos_embed"].shape[1]),
            "network": "skip",
            "depth": 2 * count(state, "out_blocks.{}.skip_linear.weight"),
            "hidden": len(state["mid_block.mlp.fc1.weight"]),
        }

    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from (("embeddings", "embedding"), ("norm", "norm_out"), ("lm_head", "head"))
        blocks = [("mid_block", "trunk.middle")]
        for i in range(config.depth // 2):
            blocks += [(f"in_blocks.{i}", f"trunk.down.{i}"), (f"out_blocks.{i}", f"trunk.up.{i}")]
            yield f"out_blocks.{i}.skip_linear", f"trunk.skips.{i}"
        for official, ours in blocks:
            for theirs, name in _UVIT_BLOCK:
                yield f"{official}.{theirs}", f"{ours}.{name}"

    def tensors(self, config: Any) -> Iterable[tuple[str, str]]:
        return (("pos_embed", "positions"),)

    def rearranged(self, name: str, value: Tensor) -> Tensor:
        return value.flatten(0, 1) if name == "positions" else value

    def _official_tensors(self, model: Model) -> dict[str, Tensor]:
        tensors = super()._official_tensors(model)
        return {**tensors, "pos_embed": tensors["pos_embed"][None]}


_WORDS = "model.embeddings.word_embeddings.weight"
_PLACES = "model.embeddings.position_embeddings.weight"
_BERT_BLOCK = (
    ("attention.output.dense", "attention.out"),
    ("attention.output.LayerNorm", "norm1"),
    ("intermediate.dense", "mlp.up"),
    ("output.dense", "mlp.down"),
    ("output.LayerNorm", "norm2"),
)
_UVIT_BLOCK = (
    ("norm1", "norm1"),
    ("attn.qkv", "attention.qkv"),
    ("attn.proj", "attention.out"),
    ("norm2", "norm2"),
    ("mlp.fc1", "mlp.up"),
    ("mlp.fc2", "mlp.down"),
)


def _sizes(state: State, head: str, words: str, positions: int) -> dict[str, Any]:
    """Beside the codes the embedding has a mask, the classes and no class."""
    (codes, dim), rows = state[head].shape, len(state[words])
    return {"layout": ((positions - 1,),), "codebook": (codes,), "classes": rows - codes - 2, "dim": dim}
