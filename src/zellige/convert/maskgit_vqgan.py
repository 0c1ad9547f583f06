"""The MaskGIT VQGAN in its PyTorch ports.

Two layouts of names are published: bytedance/1d-tokenizer (``maskgit-vqgan-imagenet-f16-256.bin``:
``encoder.mid.0``, ``upsample_conv``), and the taming-like one of MAGE, ENAT and DiGIT
(``vqgan_jax_strongaug.ckpt``: ``encoder.mid.block_1``, ``upsample.conv``).
"""

from __future__ import annotations

from typing import Any

from zellige.convert.adapter import Adapter, State, count
from zellige.convert.vqgan import Pairs, residual, same


class MaskGITVQGANAdapter(Adapter):
    """1d-tokenizer names. ``decoder.up`` counts from high resolution, our levels in order of use."""

    system = "maskgit-vqgan"
    ignored = ("loss.",)
    middle, first_middle = "mid.{}", 0
    upsample = "upsample_conv"

    def matches(self, state: State) -> bool:
        parts = {"encoder", "decoder", "quantize", "loss"}
        signature = f"encoder.{self.middle}.conv1.weight".format(self.first_middle)
        # Other VQGANs have the same names, but biases everywhere.
        biased = "encoder.conv_in.bias" in state
        return signature in state and not biased and {key.split(".")[0] for key in state} <= parts

    def config(self, state: State) -> dict[str, Any]:
        channels = state["encoder.conv_in.weight"].shape[0]
        first = "encoder.down.{}.block.0.conv1.weight"
        codes, dim = state["quantize.embedding.weight"].shape
        return {
            "channels": channels,
            "multipliers": tuple(state[first.format(i)].shape[0] // channels for i in range(count(state, first))),
            "blocks": count(state, "encoder.down.0.block.{}.conv1.weight"),
            "decoder_blocks": count(state, "decoder.up.0.block.{}.conv1.weight"),
            "middle_blocks": count(state, f"encoder.{self.middle}.conv1.weight", self.first_middle),
            "latent": state["encoder.conv_out.weight"].shape[0],
            "dim": dim,
            "quantizer_settings": {"codes": codes},
        }

    def modules(self, config: Any) -> Pairs:
        last = len(config.multipliers) - 1
        yield "quantize.embedding", "quantizer.embedding"
        for side in ("encoder", "decoder"):
            yield from same(*(f"{side}.{name}" for name in ("conv_in", "norm_out", "conv_out")))
            for i in range(config.middle_blocks):
                yield from residual(f"{side}.{self.middle.format(self.first_middle + i)}", f"{side}.middle.{i}")
        for i in range(last + 1):
            for j in range(config.blocks):
                yield from residual(f"encoder.down.{i}.block.{j}", f"encoder.levels.{i}.{j}")
            for j in range(config.decoder_blocks):
                yield from residual(f"decoder.up.{last - i}.block.{j}", f"decoder.levels.{i}.{j}")
            yield f"decoder.up.{last - i}.{self.upsample}", f"decoder.ups.{i}.conv"


class MAGEVQGANAdapter(MaskGITVQGANAdapter):
    """The same network under taming-like names."""

    middle, first_middle = "mid.block_{}", 1
    upsample = "upsample.conv"
