"""MaskGen with continuous tokens (bytedance/1d-tokenizer): ``generator_maskgen_kl_*``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from zellige.convert.adapter import Adapter, State, count
from zellige.convert.maskgen import joint_joined, joint_modules, swapped, without_unread
from zellige.core.contract import Model
from zellige.generate.texts import TextConfig

_BLOCKS = "decoder_blocks"
_HEAD = "diffloss.net"


class MaskGenKLAdapter(Adapter):
    """The blocks are those of MaskGen-VQ by another name; the head is that of MAR."""

    system = "maskgen-kl"
    untold = (
        *(f.name for f in fields(TextConfig) if f.name not in ("codebook", "layout", "text_dim", "score_waves")),
        "heads",
        "latent_scale",
        "steps",
        "masking",
        "diffusion_steps",
        "clip",
        "repeats",
    )

    def matches(self, state: State) -> bool:
        return {"text_pooled_emb.weight", "z_proj_ln.weight", f"{_HEAD}.input_proj.weight"} <= state.keys()

    def config(self, state: State) -> dict[str, Any]:
        (dim, text_dim), head = state["text_emb.weight"].shape, state[f"{_HEAD}.input_proj.weight"]
        return {
            "layout": ((state["decoder_pos_embed_learned"].shape[1],),),
            "codebook": (),
            "classes": 0,
            "latent_dim": head.shape[1],
            "dim": dim,
            "depth": count(state, f"{_BLOCKS}.{{}}.attn.to_q.weight"),
            "hidden": len(state[f"{_BLOCKS}.0.ff.net.0.proj.weight"]),
            "text_dim": text_dim,
            "score_waves": state["text_pooled_emb.weight"].shape[1] - text_dim,
            "head_width": len(head),
            "head_depth": count(state, f"{_HEAD}.res_blocks.{{}}.in_ln.weight"),
        }

    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from (("z_proj", "embed"), ("z_proj_ln", "embed_norm"), ("decoder_norm.linear", "norm.modulation.linear"))
        yield from (("text_emb", "text_in"), ("text_pooled_emb", "condition"))
        yield from joint_modules(_BLOCKS, config.depth)
        for official, ours in (("time_embed.mlp.0", "time.mlp.up"), ("time_embed.mlp.2", "time.mlp.down")):
            yield f"{_HEAD}.{official}", f"head.{ours}"
        for official, ours in (("cond_embed", "condition"), ("input_proj", "input"), ("final_layer.linear", "output")):
            yield f"{_HEAD}.{official}", f"head.{ours}"
        yield f"{_HEAD}.final_layer.adaLN_modulation.1", "head.norm.modulation.linear"
        for i in range(config.head_depth):
            yield f"{_HEAD}.res_blocks.{i}.in_ln", f"head.blocks.{i}.norm"
            yield f"{_HEAD}.res_blocks.{i}.mlp.0", f"head.blocks.{i}.mlp.up"
            yield f"{_HEAD}.res_blocks.{i}.mlp.2", f"head.blocks.{i}.mlp.down"
            yield f"{_HEAD}.res_blocks.{i}.adaLN_modulation.1", f"head.blocks.{i}.modulation.linear"

    def tensors(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from (("decoder_pos_embed_learned", "positions"), ("diffusion_pos_embed_learned", "head_positions"))
        yield "mask_token", "mask"

    def joined(self, config: Any) -> Iterable[tuple[str, Mapping[str, int]]]:
        return joint_joined(_BLOCKS, config.depth)

    def rearranged(self, name: str, value: Tensor) -> Tensor:
        """Scale and shift of the norms of the transformer that have no gate are the other way round there."""
        return swapped(value) if "norm.modulation.linear." in name and not name.startswith("head.") else value

    def differences(self, state: State, model: Model) -> str:
        return super().differences(without_unread(state, _BLOCKS), model)

    def convert(self, state: State, config: Any) -> dict[str, Tensor]:
        unknown = torch.full((config.text_tokens, config.text_dim), torch.nan)
        return {**super().convert(state, config), "null": unknown, "null_pooled": unknown[0]}

    def build(self, state: State, source: str = "this state dict", **settings: Any) -> Model:
        return super().build(without_unread(state, _BLOCKS), source, **settings)

    def _official_tensors(self, model: Model) -> dict[str, Tensor]:
        tensors, last = super()._official_tensors(model), f"{_BLOCKS}.{model.config.depth - 1}.norm1_context.linear."
        return {k: swapped(v) if k.startswith(("decoder_norm.linear", last)) else v for k, v in tensors.items()}
