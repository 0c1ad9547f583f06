"""The names of a convolutional tokenizer in diffusers (`VQModel`, `AutoencoderKL`) against ours."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from zellige.systems.vqgan import VQGAN


def load_from_vqmodel(ours: VQGAN, theirs: nn.Module) -> VQGAN:
    """`ours` with the weights of `theirs`, whose attention has linear layers where ours has 1×1 convolutions."""
    source = theirs.state_dict()
    names = {our: their for their, our in _modules(ours)}
    state = {}
    for key, value in ours.state_dict().items():
        module, _, leaf = key.rpartition(".")
        state[key] = source[f"{names[module]}.{leaf}"].view_as(value)
    ours.load_state_dict(state)
    return ours.eval()


def load_into_autoencoder(theirs: nn.Module, ours: VQGAN) -> None:
    """The decoder of `theirs` with the weights of `ours`."""
    names = {our: their for their, our in _modules(ours)}
    target = theirs.state_dict()
    for key, value in ours.state_dict().items():
        module, _, leaf = key.rpartition(".")
        their = f"{names[module]}.{leaf}"
        if their.startswith("decoder."):
            target[their].copy_(value.view_as(target[their]))


def _modules(ours: VQGAN) -> Iterator[tuple[str, str]]:
    """Pairs of their module and ours."""
    yield from (("quant_conv", "project_in"), ("post_quant_conv", "project_out"))
    yield "quantize.embedding", "quantizer.embedding"
    for side, blocks, resampler in (("encoder", "down_blocks", "downs"), ("decoder", "up_blocks", "ups")):
        yield from ((f"{side}.conv_in",) * 2, (f"{side}.conv_out",) * 2, (f"{side}.conv_norm_out", f"{side}.norm_out"))
        yield from _residual(f"{side}.mid_block.resnets.0", f"{side}.middle.0")
        yield from _attention(f"{side}.mid_block.attentions.0", f"{side}.middle.1")
        yield from _residual(f"{side}.mid_block.resnets.1", f"{side}.middle.2")
        levels = len(ours.config.multipliers)
        lowest = levels - 1 if side == "encoder" else 0
        for i in range(levels):
            their, our = f"{side}.{blocks}.{i}", f"{side}.levels.{i}"
            for j in range(ours.config.blocks if side == "encoder" else ours.config.decoder_blocks):
                yield from _residual(f"{their}.resnets.{j}", f"{our}.{2 * j if i == lowest else j}")
                if i == lowest:
                    yield from _attention(f"{their}.attentions.{j}", f"{our}.{2 * j + 1}")
            yield f"{their}.{resampler[:-1]}samplers.0.conv", f"{side}.{resampler}.{i}.conv"


def _residual(their: str, our: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{their}.{leaf}", f"{our}.{leaf}") for leaf in ("norm1", "conv1", "norm2", "conv2"))
    yield f"{their}.conv_shortcut", f"{our}.shortcut"


def _attention(their: str, our: str) -> Iterator[tuple[str, str]]:
    pairs = (("group_norm", "norm"), ("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "out"))
    yield from ((f"{their}.{t}", f"{our}.{o}") for t, o in pairs)
