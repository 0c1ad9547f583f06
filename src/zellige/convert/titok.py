"""TiTok's and TA-TiTok's tokenizers (bytedance/1d-tokenizer), whatever they are quantized by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor

from zellige.convert.adapter import Adapter, State, count
from zellige.convert.vqgan import Pairs, residual

if TYPE_CHECKING:
    from zellige.core.contract import Model

_BLOCK = {
    "ln_1": "norm1",
    "attn.out_proj": "attn.proj",
    "ln_2": "norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_TABLES = ("class_embedding", "positional_embedding", "latent_tokens")
"""Ends of official names of tables, which are ours without the first dimension, of 1."""


class TiTokAdapter(Adapter):
    """``pixel_decoder.up`` counts from high resolution, our levels in order of use."""

    system = "titok"
    ignored = ("quantize.embed_prob",)

    def matches(self, state: State) -> bool:
        return "latent_tokens" in state and "encoder.latent_token_positional_embedding" in state

    def config(self, state: State) -> dict[str, Any]:
        width, _, patch, _ = state["encoder.patch_embed.weight"].shape
        caption = state.get("decoder.text_guidance_positional_embedding")
        return {
            "image_size": math.isqrt(len(state["encoder.positional_embedding"]) - 1) * patch,
            "patch": patch,
            "width": width,
            "depth": count(state, "encoder.transformer.{}.ln_1.weight"),
            "decoder_width": state["decoder.mask_token"].shape[-1],
            "decoder_depth": count(state, "decoder.transformer.{}.ln_1.weight"),
            "latents": len(state["latent_tokens"]),
            "dim": state["decoder.decoder_embed.weight"].shape[1],
            **({} if caption is None else {"caption": len(caption), "caption_dim": _caption_dim(state)}),
            **_head(state),
            **_quantizer(state),
        }

    def modules(self, config: Any) -> Pairs:
        yield from (("encoder.patch_embed", "encoder.trunk.patch_embed.proj"), ("encoder.conv_out", "project_in"))
        yield from (("decoder.decoder_embed", "project_out"), ("quantize.embedding", "quantizer.embedding"))
        yield "decoder.text_guidance_proj", "caption_in"
        for side, depth in (("encoder", config.depth), ("decoder", config.decoder_depth)):
            yield from ((f"{side}.ln_pre", f"{side}.trunk.norm_first"), (f"{side}.ln_post", f"{side}.trunk.norm"))
            for i in range(depth):
                for official, ours in _BLOCK.items():
                    yield f"{side}.transformer.{i}.{official}", f"{side}.trunk.blocks.{i}.{ours}"
        if config.head == "pixels":
            yield from (("decoder.ffn.0", "decoder.to_pixels"), ("decoder.conv_out", "smooth"))
        else:
            yield from _painter(config.teacher.decoder_blocks, len(config.teacher.multipliers))

    def tensors(self, config: Any) -> Pairs:
        yield from (("latent_tokens", "encoder.latent_tokens"), ("decoder.mask_token", "decoder.mask_token"))
        yield "decoder.text_guidance_positional_embedding", "caption_positions"
        for side, depth in (("encoder", config.depth), ("decoder", config.decoder_depth)):
            yield f"{side}.class_embedding", f"{side}.trunk.cls_token"
            yield f"{side}.positional_embedding", f"{side}.trunk.pos_embed"
            yield f"{side}.latent_token_positional_embedding", f"{side}.latent_positions"
            for i in range(depth):
                for leaf in ("weight", "bias"):
                    official = f"{side}.transformer.{i}.attn.in_proj_{leaf}"
                    yield official, f"{side}.trunk.blocks.{i}.attn.qkv.{leaf}"

    def convert(self, state: State, config: Any) -> dict[str, Tensor]:
        shaped = {key: value[None] if _is_table(key) else value for key, value in state.items()}
        if config.head == "pixels":  # a 1×1 convolution
            shaped["decoder.ffn.0.weight"] = shaped["decoder.ffn.0.weight"].flatten(1)
        return super().convert(shaped, config)

    def _official_tensors(self, model: Model) -> dict[str, Tensor]:
        tensors = super()._official_tensors(model)
        if model.config.head == "pixels":
            tensors["decoder.ffn.0.weight"] = tensors["decoder.ffn.0.weight"][..., None, None]
        return {key: value[0] if _is_table(key) else value for key, value in tensors.items()}


def _caption_dim(state: State) -> int:
    return state["decoder.text_guidance_proj.weight"].shape[1]


def _is_table(key: str) -> bool:
    return key.endswith(_TABLES) and "text_guidance" not in key


def _quantizer(state: State) -> dict[str, Any]:
    """Only the models that predict codes scale theirs to length 1."""
    if "quantize.embedding.weight" not in state:
        return {"quantizer": "gaussian", "quantizer_settings": {}}
    settings: dict[str, Any] = {"codes": len(state["quantize.embedding.weight"])}
    return {"quantizer": "vq", "quantizer_settings": settings | ({"normalize": True} if _by_codes(state) else {})}


def _head(state: State) -> dict[str, Any]:
    if not _by_codes(state):
        return {"head": "pixels", "scrambled": False}
    codes, dim = state["pixel_quantize.embedding.weight"].shape
    channels = len(state["pixel_decoder.norm_out.weight"])
    first = "pixel_decoder.up.{}.block.0.conv1.weight"
    levels = range(count(state, first))
    return {
        "head": "codes",
        "scrambled": True,
        "teacher_codes": codes,
        "teacher_dim": dim,
        "teacher_channels": channels,
        "teacher_multipliers": tuple(len(state[first.format(i)]) // channels for i in levels),
        "teacher_blocks": count(state, "pixel_decoder.up.0.block.{}.conv1.weight"),
    }


def _by_codes(state: State) -> bool:
    return "decoder.ffn.2.weight" in state


def _painter(blocks: int, levels: int) -> Pairs:
    """The way from scores of the teacher's codes to pixels."""
    yield from (("decoder.ffn.0", "painter.scores.0"), ("decoder.ffn.2", "painter.scores.2"))
    yield "pixel_quantize.embedding", "painter.codes"
    for name in ("conv_in", "norm_out", "conv_out"):
        yield f"pixel_decoder.{name}", f"painter.painter.{name}"
    for i in range(blocks):
        yield from residual(f"pixel_decoder.mid.{i}", f"painter.painter.middle.{i}")
    for i in range(levels):
        official = f"pixel_decoder.up.{levels - 1 - i}"
        yield f"{official}.upsample_conv", f"painter.painter.ups.{i}.conv"
        for j in range(blocks):
            yield from residual(f"{official}.block.{j}", f"painter.painter.levels.{i}.{j}")
