"""Autoencoders under the names of latent diffusion: VAR's multi-scale tokenizer, and the KL-16 VAE of MAR and xAR."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from tests.parity.case import Case
from tests.parity.handlers.vqgan import build_vqgan
from tests.parity.inputs import images, setting
from tests.parity.runner import Meta, handler
from zellige.convert.ldm import KLVAEAdapter, VARVQAdapter
from zellige.nn.conv import to_grid, to_sequence
from zellige.quantize.gaussian import GaussianQuantizer

BLENDS = {0: "quantize.quant_resi.{}", 1: "quantize.quant_resi.qresi"}
"""Names of the quantizer's convolutions by how many serve all scales (0: one for each), if not several."""


@handler(lambda meta: meta["official"].endswith("vqvae.VQVAE"))
def var_vqvae(case: Case) -> None:
    config = case.meta["config"]
    shared, scales = setting(config, "share_quant_resi"), setting(config, "patch_nums", "v_patch_nums")
    shared = 4 if shared is None else shared
    settings = _settings(case.meta, "z_channels")
    settings["quantizer_settings"] = {
        "codes": setting(config, "vocab_size", "vocab"),
        "scales": scales,
        "blends": shared or len(scales),
        "blend_ratio": 0.5 if setting(config, "quant_resi") is None else setting(config, "quant_resi"),
        **({"search": "cosine"} if setting(config, "using_znorm") else {}),
    }
    model = build_vqgan(case, VARVQAdapter(*(BLENDS[shared],) if shared in BLENDS else ()), settings)
    side = scales[-1]
    x = _enlarged(case, side * model.stride)

    f = model.latents(x if x is not None else images(case, unit=False, shape=(1, 3, *(side * model.stride,) * 2)))
    if "f" in case.arrays:
        case.check("f", f)
    ids = case.read("idx").long()
    if "margins" in case.meta:  # of each scale; where one may differ, so may all that follow it
        margins = np.minimum.accumulate(case.meta["margins"])
        case.arrays["idx_margin"] = np.tile(np.repeat(margins, [n * n for n in scales]), len(ids))
    case.check_ids("idx", model.quantizer.encode(to_sequence(f)))
    if "decoded" in case.arrays:
        case.check("decoded", model.pixels(model.quantizer.lookup(ids), (side, side)))


@handler(lambda meta: meta["official"].endswith("vae.AutoencoderKL"))
def kl_vae(case: Case) -> None:
    settings = _settings(case.meta, "embed_dim")
    if not case.meta.get("keys"):  # the official encoder attends where a 256×256 image has come down to 16×16
        settings["attention_levels"] = (4,) if len(settings["multipliers"]) > 4 else ()
    model = build_vqgan(case, KLVAEAdapter(), settings)
    stored = case.read("mean")
    z = model.latents(images(case, unit=False, shape=(len(stored), 3, *(n * model.stride for n in stored.shape[-2:]))))
    grid = tuple(z.shape[-2:])
    assert isinstance(model.quantizer, GaussianQuantizer)
    mean, log_variance = model.quantizer.moments(to_sequence(z))
    case.check("mean", to_grid(mean, grid))
    if "logvar" in case.arrays:
        case.check("logvar", to_grid(log_variance, grid))
    if "decoded" in case.arrays:
        case.check("decoded", model.pixels(to_sequence(stored), grid))


def _settings(meta: Meta, latent: str) -> dict[str, Any]:
    """What the case's configuration says, in our words; `latent` is the official name of the latent's width."""
    config = meta["config"]
    blocks, width = setting(config, "num_res_blocks"), setting(config, latent)
    found = {
        "channels": setting(config, "ch"),
        "multipliers": setting(config, "ch_mult"),
        "blocks": blocks,
        "decoder_blocks": None if blocks is None else blocks + 1,
        "latent": width,
        "dim": width,
        "projection_kernel": setting(config, "quant_conv_ks"),
    }
    return {key: tuple(v) if isinstance(v, list) else v for key, v in found.items() if v is not None}


def _enlarged(case: Case, size: int) -> Tensor | None:
    """Images that a case stores small: ``seed32`` is to be enlarged, and its contrast lowered to 0.6."""
    name = next((name for name in case.arrays if re.fullmatch(r"seed\d+", name)), None)
    if name is None:
        return None
    large = F.interpolate(case.read(name), (size, size), mode="bicubic", align_corners=False)
    return (0.6 * large).clamp(-1, 1)
