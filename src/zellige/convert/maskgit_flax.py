"""MaskGIT's own tokenizer checkpoints, in Flax: ``tokenizer_imagenet256_checkpoint`` and that of 512 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from zellige.convert.adapter import Adapter, State, count
from zellige.convert.flax import from_flax, to_flax
from zellige.convert.vqgan import Pairs

if TYPE_CHECKING:
    from zellige.core.contract import Model

_CODEBOOK = "params.quantizer.codebook"


class FlaxMaskGITVQGANAdapter(Adapter):
    """Modules are numbered by kind, in order of use.

    Encoder: ``Conv_0``, the blocks of all levels and then of the middle, ``Conv_1``. Decoder: ``Conv_0``, the
    blocks of the middle and then of all levels, a convolution after each enlargement, the last convolution.
    """

    system = "maskgit-vqgan"

    def matches(self, state: State) -> bool:
        return _CODEBOOK in state and "params.encoder.ResBlock_0.GroupNorm_0.scale" in state

    def config(self, state: State) -> dict[str, Any]:
        first = state["params.encoder.Conv_0.kernel"]
        levels = count(state, "params.decoder.Conv_{}.kernel") - 1
        blocks = count(state, "params.encoder.ResBlock_{}.Conv_0.kernel") // (levels + 1)
        widths = [state[f"params.encoder.ResBlock_{i * blocks}.Conv_0.kernel"].shape[-1] for i in range(levels)]
        codes, dim = state[_CODEBOOK].shape
        return {
            "channels": first.shape[-1],
            "multipliers": tuple(width // first.shape[-1] for width in widths),
            "blocks": blocks,
            "decoder_blocks": blocks,
            "middle_blocks": blocks,
            "latent": dim,
            "dim": dim,
            "quantizer_settings": {"codes": codes},
        }

    def modules(self, config: Any) -> Pairs:
        levels, middle = len(config.multipliers), config.middle_blocks
        yield "params.quantizer", "quantizer.embedding"
        for side in ("encoder", "decoder"):
            yield f"params.{side}.Conv_0", f"{side}.conv_in"
            yield f"params.{side}.GroupNorm_0", f"{side}.norm_out"
        yield "params.encoder.Conv_1", "encoder.conv_out"
        yield f"params.decoder.Conv_{levels}", "decoder.conv_out"
        for i in range(levels - 1):
            yield f"params.decoder.Conv_{i + 1}", f"decoder.ups.{i}.conv"
        for i in range(middle):
            yield from _block(f"params.encoder.ResBlock_{levels * config.blocks + i}", f"encoder.middle.{i}")
            yield from _block(f"params.decoder.ResBlock_{i}", f"decoder.middle.{i}")
        for i in range(levels):
            for j in range(config.blocks):
                yield from _block(f"params.encoder.ResBlock_{i * config.blocks + j}", f"encoder.levels.{i}.{j}")
            for j in range(config.decoder_blocks):
                number = middle + i * config.decoder_blocks + j
                yield from _block(f"params.decoder.ResBlock_{number}", f"decoder.levels.{i}.{j}")

    def convert(self, state: State, config: Any) -> dict[str, Tensor]:
        renamed = from_flax(state)
        renamed["params.quantizer.weight"] = renamed.pop(_CODEBOOK)
        return super().convert(renamed, config)

    def _official_tensors(self, model: Model) -> dict[str, Tensor]:
        tensors = super()._official_tensors(model)
        codebook = tensors.pop("params.quantizer.weight")
        return {**to_flax(tensors), _CODEBOOK: codebook}


def _block(official: str, ours: str) -> Pairs:
    for their, our in (("GroupNorm_0", "norm1"), ("Conv_0", "conv1"), ("GroupNorm_1", "norm2"), ("Conv_1", "conv2")):
        yield f"{official}.{their}", f"{ours}.{our}"
    yield f"{official}.Conv_2", f"{ours}.shortcut"
