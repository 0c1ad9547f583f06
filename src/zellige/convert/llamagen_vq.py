"""LlamaGen's VQ-16 and VQ-8 tokenizers (FoundationVision/LlamaGen): files ``vq_ds*.pt``."""

from __future__ import annotations

from typing import Any

from zellige.convert.adapter import Adapter, State, count
from zellige.convert.vqgan import Pairs, attention, residual, same


class LlamaGenVQAdapter(Adapter):
    """``encoder.conv_blocks`` counts from high resolution, ``decoder.conv_blocks`` from low."""

    system = "llamagen-vq"
    ignored = ("quantize.codebook_used", "quantize.ema", "loss.")

    def matches(self, state: State) -> bool:
        parts = {"encoder", "decoder", "quantize", "quant_conv", "post_quant_conv", "loss"}
        return "encoder.conv_blocks.0.res.0.conv1.weight" in state and {k.split(".")[0] for k in state} <= parts

    def config(self, state: State) -> dict[str, Any]:
        channels = state["encoder.conv_in.weight"].shape[0]
        first = "encoder.conv_blocks.{}.res.0.conv1.weight"
        levels = range(count(state, first))
        codes, dim = state["quantize.embedding.weight"].shape
        return {
            "channels": channels,
            "multipliers": tuple(state[first.format(i)].shape[0] // channels for i in levels),
            "blocks": count(state, "encoder.conv_blocks.0.res.{}.conv1.weight"),
            "decoder_blocks": count(state, "decoder.conv_blocks.0.res.{}.conv1.weight"),
            "latent": state["encoder.conv_out.weight"].shape[0],
            "dim": dim,
            "quantizer_settings": {"codes": codes, "normalize": True},
        }

    def modules(self, config: Any) -> Pairs:
        last = len(config.multipliers) - 1
        yield from same(*(f"{side}.{name}" for side in _SIDES for name in ("conv_in", "norm_out", "conv_out")))
        yield from (("quant_conv", "project_in"), ("post_quant_conv", "project_out"))
        yield "quantize.embedding", "quantizer.embedding"
        for side, blocks, lowest in (("encoder", config.blocks, last), ("decoder", config.decoder_blocks, 0)):
            yield from residual(f"{side}.mid.0", f"{side}.middle.0")
            yield from attention(f"{side}.mid.1", f"{side}.middle.1")
            yield from residual(f"{side}.mid.2", f"{side}.middle.2")
            for i in range(last + 1):
                official, ours = f"{side}.conv_blocks.{i}", f"{side}.levels.{i}"
                for j in range(blocks):
                    yield from residual(f"{official}.res.{j}", f"{ours}.{2 * j if i == lowest else j}")
                    if i == lowest:
                        yield from attention(f"{official}.attn.{j}", f"{ours}.{2 * j + 1}")
                yield f"{official}.{_RESAMPLE[side]}.conv", f"{side}.{_RESAMPLE[side].removesuffix('sample')}s.{i}.conv"


_SIDES = ("encoder", "decoder")
_RESAMPLE = {"encoder": "downsample", "decoder": "upsample"}
