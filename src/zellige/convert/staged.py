"""Official names of `StagedTransformer`, which the authors of xAR and FlowAR call encoder and decoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from zellige.convert.adapter import State, count

STAGES = (("encoder", "first"), ("decoder", "second"))
STAGE_TABLES = (("encoder_pos_embed_learned", "trunk.places.0"), ("decoder_pos_embed_learned", "trunk.places.1"))
GATED_BLOCK = (
    ("attn.qkv", "attention.qkv"),
    ("attn.proj", "attention.out"),
    ("mlp.fc1_g", "mlp.gate"),
    ("mlp.fc1_x", "mlp.up"),
    ("mlp.fc2", "mlp.down"),
)
_HEADS = {768: 12, 1024: 16, 1280: 16, 1536: 16}
"""Heads by width in the released code; no tensor tells them where the tables of rotary positions are left out."""


def stage_modules(depths: tuple[int, int]) -> Iterable[tuple[str, str]]:
    """Pairs of an official module and ours, which is in ``trunk``."""
    yield from (("z_proj_ln", "trunk.norm_in"), ("encoder_norm", "trunk.norm_middle"))
    yield from (("decoder_embed", "trunk.middle"), ("decoder_norm", "trunk.norm_out"))
    for (official, ours), depth in zip(STAGES, depths, strict=True):
        for i in range(depth):
            for theirs, name in (*GATED_BLOCK, ("ada_lin.1", "modulation.linear")):
                yield f"{official}_blocks.{i}.{theirs}", f"trunk.{ours}.blocks.{i}.{name}"


def stage_settings(state: State) -> dict[str, Any]:
    """Width, depths, heads and channels of the MLP, read off an official state dict."""
    dim, hidden = state["encoder_blocks.0.mlp.fc2.weight"].shape
    return {
        "dim": dim,
        "depths": tuple(count(state, f"{official}_blocks.{{}}.attn.qkv.weight") for official, _ in STAGES),
        "heads": tuple(_heads(state, official) for official, _ in STAGES),
        "hidden": None if hidden == 8 * dim // 3 else hidden,
    }


def _heads(state: State, official: str) -> int:
    """Heads of a stage; its table of positions has a wave for every four channels of a head."""
    dim, waves = state["z_proj_ln.weight"].shape[0], state.get(f"{official}_blocks.0.attn.rope.freqs")
    return _HEADS.get(dim, max(1, dim // 64)) if waves is None else max(1, dim // (4 * len(waves)))


def shift_first(value: Tensor, parts: int) -> Tensor:
    """Rows of a modulation as ours: shift, scale, gate of each branch; in files gates are first and shifts last."""
    order = {6: [4, 2, 0, 5, 3, 1], 3: [2, 1, 0]}[parts]
    return value.unflatten(0, (parts, -1))[order].flatten(0, 1)


def is_computed(key: str) -> bool:
    """Whether an official key is that of a mask or of a table of positions, which are computed here."""
    return key == "mask" or ".rope." in key
