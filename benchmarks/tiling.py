"""Row 6: decoding 1024×1024 in tiles: what it saves in memory, what it costs in time, what seams it leaves.

The bundled tokenizer is local, so its tiles are exact. A VQ-16 of a quarter of the width is not (group norm,
attention): ours blends its tiles, and so does diffusers' `AutoencoderKL` with the same decoder weights.
"""

from __future__ import annotations

import copy

import torch
from diffusers import AutoencoderKL
from torch import Tensor

import zellige
from benchmarks.harness import Bench, Peer, require
from benchmarks.machine import peak_extra
from benchmarks.vqmodel import load_into_autoencoder
from zellige.core.tiling import decode_tokens
from zellige.core.tokens import Tokens
from zellige.systems.vqgan import VQGAN

SIDE, TILE = 1024, 256
CHANNELS = 32
ROUNDING = 1e-5


def run(bench: Bench) -> None:
    """First the bundled tokenizer, tiled against whole; then the network that cannot be exact, against the peer."""
    torch.manual_seed(0)
    with torch.inference_mode():
        _exact(bench)
        _blended(bench)


def _exact(bench: Bench) -> None:
    model = zellige.load("zellige-photo", quiet=True)
    tokens = _tokens(model)
    job = f"zellige-photo, decode {SIDE}×{SIDE}, tiles of {TILE}"
    seam = (_tiled(model, tokens) - _whole(model, tokens)).abs().max().item()
    require(seam <= ROUNDING, f"tiles differ from the whole by {seam}")
    bench.fact(job, "largest difference from the whole image", f"{seam:.1e}", "0 up to rounding (1e-5)", True)
    _memory(bench, job, lambda: _tiled(model, tokens), lambda: _whole(model, tokens))
    ours = ("decode_tokens", lambda: _tiled(model, tokens))
    bench.compare(job, ours, [Peer("the whole image at once", lambda: _whole(model, tokens))], equal="pixels to 1e-5")


def _require_same_decoder(ours: VQGAN, theirs: AutoencoderKL, latents: Tensor) -> None:
    """In float64: in float32 theirs strays by some 1e-3 from itself in float64 on large grids, ours by 1e-4."""
    exact = latents.double()
    ours, theirs = copy.deepcopy(ours).double(), copy.deepcopy(theirs).double()
    difference = (ours.decoder(exact) - theirs.decode(exact).sample).abs().max()
    require(bool(difference < 1e-9), f"the decoders differ by {difference:.1e}")


def _blended(bench: Bench) -> None:
    model = zellige.build("vqgan/f16", channels=CHANNELS).eval()
    theirs = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4 + ("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 4,
        block_out_channels=tuple(CHANNELS * m for m in (1, 1, 2, 2, 4)),
        layers_per_block=2,
        latent_channels=256,
        sample_size=TILE,
        use_post_quant_conv=False,  # its 1×1 convolution has another width; ours is applied outside
    ).eval()
    load_into_autoencoder(theirs, model)
    tokens = _tokens(model)
    latents = model.project_out(model.quantizer.lookup(tokens.data).transpose(1, 2).unflatten(2, tokens.layout[0]))
    whole = _whole(model, tokens)
    _require_same_decoder(model, theirs, latents[..., :16, :16])
    theirs.enable_tiling()
    job = f"VQ-16 of {CHANNELS} channels, decode {SIDE}×{SIDE}, tiles of {TILE}"
    for name, image in (("ours", _tiled(model, tokens)), ("diffusers", theirs.decode(latents).sample.clamp(-1, 1))):
        difference = (image - whole).abs()
        bench.fact(
            job, f"difference from the whole image, {name}", f"{difference.mean():.1e} mean, {_seam(image, whole)}"
        )
    _memory(bench, job, lambda: _tiled(model, tokens), lambda: _whole(model, tokens))
    bench.compare(
        job,
        ("decode_tokens", lambda: _tiled(model, tokens)),
        [Peer("diffusers AutoencoderKL.enable_tiling", lambda: theirs.decode(latents))],
        equal="decoders to 1e-9 in float64",
        memory=True,
    )


def _tokens(model: zellige.Tokenizer) -> Tokens:
    grid = (SIDE // model.stride,) * 2
    return Tokens(torch.randint(model.codebook[0], (1, grid[0] * grid[1])), (grid,), model.codebook)


def _tiled(model: zellige.Tokenizer, tokens: Tokens) -> Tensor:
    return decode_tokens(model, tokens, tile=TILE, whole=0)


def _whole(model: zellige.Tokenizer, tokens: Tokens) -> Tensor:
    return decode_tokens(model, tokens, whole=SIDE * SIDE)


def _memory(bench: Bench, job: str, tiled: object, whole: object) -> None:
    tiles, image = peak_extra(tiled), peak_extra(whole)
    bench.fact(job, "peak memory in tiles, and whole", f"{tiles:.0f} MB, {image:.0f} MB", "less", tiles < image)


def _seam(image: Tensor, whole: Tensor) -> str:
    """Mean jump between neighbouring columns at the tiles' borders, over that everywhere else, of the difference."""
    jumps = (image - whole).diff(dim=-1).abs().mean((0, 1, 2))
    borders = torch.arange(TILE - 1, SIDE - 1, TILE)
    others = torch.ones_like(jumps, dtype=torch.bool)
    others[borders] = False
    return f"jump at borders {jumps[borders].mean() / jumps[others].mean():.2f} of that elsewhere"
