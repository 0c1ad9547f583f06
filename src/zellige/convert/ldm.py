"""Convolutional autoencoders under the names of latent diffusion: the VAE of MAR and the tokenizer of VAR.

Files: ``kl16.ckpt`` (LTH14/mar, also used by xAR and FlowAR) and ``vae_ch160v4096z32.pth`` (FoundationVision/VAR).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from zellige.convert.adapter import Adapter, State, count
from zellige.convert.vqgan import Pairs, attention, fuse_qkv, residual, same, split_qkv
from zellige.core.errors import DataError
from zellige.systems.var_vq import SCALES

if TYPE_CHECKING:
    from zellige.core.contract import Model


class LDMAdapter(Adapter):
    """What the two have in common. ``decoder.up`` counts from high resolution, our levels in order of use."""

    ignored: ClassVar[tuple[str, ...]] = ("loss.",)
    signature: ClassVar[str]

    def matches(self, state: State) -> bool:
        parts = {"encoder", "decoder", "quantize", "quant_conv", "post_quant_conv", "loss"}
        return self.signature in state and {key.split(".")[0] for key in state} <= parts

    def config(self, state: State) -> dict[str, Any]:
        channels = state["encoder.conv_in.weight"].shape[0]
        first = "encoder.down.{}.block.0.conv1.weight"
        levels = range(count(state, first))
        return {
            "channels": channels,
            "multipliers": tuple(state[first.format(i)].shape[0] // channels for i in levels),
            "blocks": count(state, "encoder.down.0.block.{}.conv1.weight"),
            "decoder_blocks": count(state, "decoder.up.0.block.{}.conv1.weight"),
            "latent": state["decoder.conv_in.weight"].shape[1],
            "dim": state["post_quant_conv.weight"].shape[1],
            "projection_kernel": state["post_quant_conv.weight"].shape[-1],
            "attention_levels": _attending(state, "encoder.down.{}.attn.0.norm.weight", levels),
            "decoder_attention_levels": _attending(state, "decoder.up.{}.attn.0.norm.weight", levels),
        }

    def modules(self, config: Any) -> Pairs:
        last = len(config.multipliers) - 1
        yield from (("quant_conv", "project_in"), ("post_quant_conv", "project_out"))
        for side in ("encoder", "decoder"):
            yield from same(*(f"{side}.{name}" for name in ("conv_in", "norm_out", "conv_out")))
            yield from residual(f"{side}.mid.block_1", f"{side}.middle.0")
            yield from attention(f"{side}.mid.attn_1", f"{side}.middle.1")
            yield from residual(f"{side}.mid.block_2", f"{side}.middle.2")
        for i in range(last + 1):
            yield f"encoder.down.{i}.downsample.conv", f"encoder.downs.{i}.conv"
            yield f"decoder.up.{i}.upsample.conv", f"decoder.ups.{last - i}.conv"
            attends = config.attends(i), config.attends(i, decoder=True)
            yield from _level(f"encoder.down.{i}", f"encoder.levels.{i}", config.blocks, attends[0])
            yield from _level(f"decoder.up.{i}", f"decoder.levels.{last - i}", config.decoder_blocks, attends[1])


def _level(official: str, ours: str, blocks: int, attends: bool) -> Pairs:
    """Blocks and attentions, which ours has one after the other in one sequence."""
    for i in range(blocks):
        yield from residual(f"{official}.block.{i}", f"{ours}.{2 * i if attends else i}")
        if attends:
            yield from attention(f"{official}.attn.{i}", f"{ours}.{2 * i + 1}")


def _attending(state: State, template: str, levels: range) -> tuple[int, ...]:
    """Levels that have attention; the lowest by itself is called −1, as in our configurations."""
    found = tuple(level for level in levels if template.format(level) in state)
    return (-1,) if found == tuple(levels)[-1:] else found


class KLVAEAdapter(LDMAdapter):
    """The variational one, without a codebook."""

    system = "kl-vae"
    signature = "encoder.mid.attn_1.q.weight"
    untold = ("latent_scale",)

    def matches(self, state: State) -> bool:
        return super().matches(state) and not any(key.startswith("quantize.") for key in state)


class VARVQAdapter(LDMAdapter):
    """The multi-scale one. Which sides its scales have is in the code of its authors, not in the file.

    `blend` names the convolutions of the quantizer: several that the scales share, as released, or
    ``quantize.quant_resi.qresi`` for a single one, or ``quantize.quant_resi.{}`` for one a scale.
    """

    system = "var-vq"
    ignored = ("loss.", "quantize.ema_vocab_hit_SV")
    signature = "encoder.mid.attn_1.qkv.weight"
    untold = ("quantizer_settings",)

    def __init__(self, blend: str = "quantize.quant_resi.qresi_ls.{}") -> None:
        self.blend = blend

    def config(self, state: State) -> dict[str, Any]:
        uses = state.get("quantize.ema_vocab_hit_SV")  # how often each scale used each code
        if uses is not None and len(uses) != len(SCALES):
            raise DataError(f"a VAR tokenizer with {len(uses)} scales does not tell their sides; the released has 10")
        settings = {
            "codes": state["quantize.embedding.weight"].shape[0],
            "scales": list(SCALES),
            "blends": count(state, f"{self.blend}.weight") if "{}" in self.blend else 1,
        }
        return {**super().config(state), "quantizer_settings": settings}

    def modules(self, config: Any) -> Pairs:
        yield from super().modules(config)
        yield "quantize.embedding", "quantizer.embedding"
        for i in range(config.quantizer_settings["blends"]):
            yield self.blend.format(i), f"quantizer.blends.{i}"

    def convert(self, state: State, config: Any) -> dict[str, Tensor]:
        return super().convert(split_qkv(state), config)

    def _official_tensors(self, model: Model) -> dict[str, Tensor]:
        return fuse_qkv(super()._official_tensors(model))
