"""FlowAR (OliverRen/FlowAR): files ``FlowAR-*.pth``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from torch import Tensor

from zellige.convert.adapter import Adapter, State, count
from zellige.convert.staged import (
    GATED_BLOCK,
    STAGE_TABLES,
    is_computed,
    shift_first,
    stage_modules,
    stage_settings,
)
from zellige.core.tokens import layout_size
from zellige.generate.latents import LatentGeneratorConfig
from zellige.generate.scales import halvings


class FlowARAdapter(Adapter):
    """Gates come first and shifts last in the official modulations. Grids are squares of 2ⁿ latents a side."""

    system = "flowar"
    untold = (
        *(f.name for f in fields(LatentGeneratorConfig) if f.name not in ("classes", "layout", "latent_dim")),
        "dropout",
    )

    def matches(self, state: State) -> bool:
        return {"diffusion_pos_embed_learned", "z_proj.weight", "flownet.input_proj.weight"} <= state.keys()

    def holds(self, key: str) -> bool:
        return not is_computed(key)

    def config(self, state: State) -> dict[str, Any]:
        sides = (2**n for n in range(12))
        length = state["diffusion_pos_embed_learned"].shape[1]
        side = next((side for side in sides if layout_size(halvings((side, side))) == length), 0)
        if not side:
            raise ValueError(f"{length} positions are no scales that double up to a square")
        return {
            **stage_settings(state),
            "layout": ((side, side),),
            "classes": state["class_emb.weight"].shape[0] - 1,
            "latent_dim": state["z_proj.weight"].shape[1],
            "head_width": state["flownet.input_proj.weight"].shape[0],
            "head_depth": count(state, "flownet.res_blocks.{}.attn.qkv.weight"),
            "cross": "flownet.res_blocks.0.crossattn.q.weight" in state,
        }

    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from _MODULES
        yield from stage_modules(config.depths)
        head = (*GATED_BLOCK, *(_CROSS if config.cross else (("ada_lin", "modulation.linear"),)))
        for i in range(config.head_depth):
            for official, part in head:
                yield f"flownet.res_blocks.{i}.{official}", f"head.blocks.{i}.{part}"

    def tensors(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from STAGE_TABLES
        yield "diffusion_pos_embed_learned", "places"

    def rearranged(self, name: str, value: Tensor) -> Tensor:
        if "blocks." not in name or ".modulation" not in name:
            return value
        return shift_first(value, 3 if "modulation1" in name or "modulation2" in name else 6)


_MODULES = (
    ("class_emb", "condition.table"),
    ("z_proj", "embed"),
    ("flownet.time_embed.mlp.0", "head.time.mlp.up"),
    ("flownet.time_embed.mlp.2", "head.time.mlp.down"),
    ("flownet.cond_embed", "head.condition"),
    ("flownet.input_proj", "head.input"),
    ("flownet.final_layer.linear", "head.output"),
    ("flownet.final_layer.adaLN_modulation.1", "head.norm.modulation.linear"),
)
_CROSS = (
    ("crossattn.q", "cross.q"),
    ("crossattn.kv", "cross.kv"),
    ("crossattn.proj", "cross.out"),
    ("norm2_1", "norm2"),
    ("norm2_2", "context_norm"),
    ("ada_lin_attn", "modulation1.linear"),
    ("ada_lin_mlp", "modulation2.linear"),
)
