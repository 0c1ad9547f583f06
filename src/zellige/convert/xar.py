"""xAR's generators (OliverRensu/xAR): files ``xAR-*.pth``, the averaged weights alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from math import isqrt
from typing import Any

from torch import Tensor

from zellige.convert.adapter import Adapter, State
from zellige.convert.staged import STAGE_TABLES, is_computed, shift_first, stage_modules, stage_settings
from zellige.generate.latents import LatentGeneratorConfig

_CELL = 8
"""Tokens a side of the released cells."""


class XARAdapter(Adapter):
    """Gates come first and shifts last in the official modulations. Grids are squares of cells of 8×8."""

    system = "xar"
    untold = (
        *(f.name for f in fields(LatentGeneratorConfig) if f.name not in ("classes", "layout", "latent_dim")),
        "stochastic",
        "noisy_context",
        "dropout",
    )

    def matches(self, state: State) -> bool:
        return {"z_proj.weight", "time_embed.mlp.0.weight", "encoder_pos_embed_learned"} <= state.keys()

    def holds(self, key: str) -> bool:
        return not is_computed(key)

    def config(self, state: State) -> dict[str, Any]:
        length = state["encoder_pos_embed_learned"].shape[1]
        side = isqrt(length)
        if side * side != length or (side > _CELL and side % _CELL):
            raise ValueError(f"{length} tokens are no square of cells of {_CELL}×{_CELL}")
        return {
            "layout": ((side, side),),
            "latent_dim": state["z_proj.weight"].shape[1],
            "classes": state["class_emb.weight"].shape[0] - 1,
            "divisions": max(1, side // _CELL),
            **stage_settings(state),
        }

    def modules(self, config: Any) -> Iterable[tuple[str, str]]:
        yield from _MODULES
        yield from stage_modules(config.depths)

    def tensors(self, config: Any) -> Iterable[tuple[str, str]]:
        return STAGE_TABLES

    def rearranged(self, name: str, value: Tensor) -> Tensor:
        return shift_first(value, 6) if ".modulation." in name else value


_MODULES = (
    ("z_proj", "embed"),
    ("class_emb", "condition.table"),
    ("time_embed.mlp.0", "time.mlp.up"),
    ("time_embed.mlp.2", "time.mlp.down"),
    ("pred", "head"),
)
