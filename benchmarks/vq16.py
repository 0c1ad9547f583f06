"""Row 5: the network of VQ-16, 256×256, one image at a time, against diffusers' `VQModel` with the same weights.

Most of the gain over the default call is the type and the layout, which a user of diffusers could set too; the
line with bfloat16 is the one between equals.
"""

from __future__ import annotations

import torch
from diffusers import VQModel
from torch import Tensor

import zellige
from benchmarks.harness import Bench, Peer, require
from benchmarks.vqmodel import load_from_vqmodel
from zellige.core.tokens import Tokens

BLOCKS = 4
"""Levels without attention."""


def vqmodel(channels: int = 128) -> VQModel:
    """diffusers' network of the shape of VQ-16, `channels` wide at full resolution."""
    return VQModel(
        down_block_types=("DownEncoderBlock2D",) * BLOCKS + ("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * BLOCKS,
        block_out_channels=tuple(channels * m for m in (1, 1, 2, 2, 4)),
        layers_per_block=2,
        latent_channels=256,
        num_vq_embeddings=16384,
        vq_embed_dim=8,
    ).eval()


def run(bench: Bench) -> None:
    """Require equal results in float32, then compare ours as the command line runs it: bfloat16, channels last."""
    torch.manual_seed(0)
    theirs = vqmodel()
    ours = load_from_vqmodel(zellige.build("vqgan/f16"), theirs)
    half = vqmodel().bfloat16()
    half.load_state_dict(theirs.state_dict())
    x = torch.rand(1, 3, 256, 256) * 2 - 1
    with torch.inference_mode():
        latents, their_latents = ours.latents(x), theirs.encode(x).latents
        close(latents, their_latents, "latents")
        tokens = ours.encode(x)
        image = theirs.decode(their_latents).sample
        close(ours.decode(tokens), image.clamp(-1, 1), "pixels")
        fast = ours.to(memory_format=torch.channels_last)
        x_fast = x.contiguous(memory_format=torch.channels_last)
        x_half, latents_half = x.bfloat16(), their_latents.bfloat16()
        calls = {
            "encode": (
                lambda: encode(fast, x_fast),
                lambda: theirs.encode(x),
                lambda: half.encode(x_half),
            ),
            "decode": (
                lambda: decode(fast, tokens),
                lambda: theirs.decode(their_latents),
                lambda: half.decode(latents_half),
            ),
        }
        for job, (our, default, bf16) in calls.items():
            bench.compare(
                f"{job} 256×256",
                ("vqgan/f16, bfloat16 autocast, channels last", our),
                [
                    Peer("diffusers VQModel, default", default, target=4),
                    Peer("diffusers VQModel, bfloat16", bf16, target=1.3),
                ],
                equal="latents and pixels to 1e-3 in float32",
            )


def encode(model: zellige.Tokenizer, x: Tensor) -> Tokens:
    """Ids of pixels, as `zellige encode` gets them."""
    with torch.autocast("cpu", torch.bfloat16):
        return model.encode(x)


def decode(model: zellige.Tokenizer, tokens: Tokens) -> Tensor:
    """Pixels of ids, as `zellige decode` gets them."""
    with torch.autocast("cpu", torch.bfloat16):
        return model.decode(tokens)


def close(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Require a largest difference of 1e-3 of the largest value."""
    error = (ours - theirs).abs().max() / theirs.abs().max()
    require(bool(error < 1e-3), f"{what} differ by {error:.1e} of the largest")
