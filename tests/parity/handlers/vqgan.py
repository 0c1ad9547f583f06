"""Convolutional tokenizers: LlamaGen's VQ-16 and VQ-8, and the MaskGIT VQGAN under its three layouts of names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.case import Case
from tests.parity.draw import official_state
from tests.parity.inputs import images, setting
from tests.parity.runner import Meta, handler
from zellige.convert.adapter import Adapter
from zellige.convert.llamagen_vq import LlamaGenVQAdapter
from zellige.convert.maskgit_flax import FlaxMaskGITVQGANAdapter
from zellige.convert.maskgit_vqgan import MAGEVQGANAdapter, MaskGITVQGANAdapter
from zellige.core.registry import system_class
from zellige.nn.conv import to_sequence
from zellige.systems.vqgan import VQGAN


@handler(lambda meta: "tokenizer_image/vq_model.py" in meta["official"])
def llamagen_vq(case: Case) -> None:
    settings = _settings(case.meta)
    if case.meta["official"].endswith("VQ-8"):
        settings.setdefault("multipliers", (1, 2, 2, 4))
    if "blocks" in settings:
        settings["decoder_blocks"] = settings["blocks"] + 1
    if "quantizer_settings" in settings:
        settings["quantizer_settings"]["normalize"] = bool(
            setting(case.meta["config"], "codebook_l2_norm") in (None, True)
        )
    check_codes(case, build_vqgan(case, LlamaGenVQAdapter(), settings))


@handler(lambda meta: _is_maskgit(meta["official"]))
def maskgit_vqgan(case: Case) -> None:
    settings = _settings(case.meta)
    mage = "taming" in case.meta["official"]
    if "blocks" in settings:
        settings["decoder_blocks"] = settings["blocks"]
        if not mage:  # the taming port has two middle blocks whatever the levels have
            settings["middle_blocks"] = settings["blocks"]
    check_codes(case, build_vqgan(case, MAGEVQGANAdapter() if mage else MaskGITVQGANAdapter(), settings))


@handler(lambda meta: meta["official"] == "maskgit.nets.vqgan_tokenizer.VQVAE")
def flax_maskgit_vqgan(case: Case) -> None:
    """The original, whose images and latents are channels-last."""
    config = case.meta["config"]
    if setting(config, "norm") not in (None, "GN") or setting(config, "act") not in (None, "swish"):
        raise ValueError("the released tokenizers have group norms and swish, and so has ours")
    for name, value in case.arrays.items():
        case.arrays[name] = np.moveaxis(value, -1, 1) if value.ndim == 4 else value
    settings = _settings(case.meta)
    if "blocks" in settings:
        settings["decoder_blocks"] = settings["middle_blocks"] = settings["blocks"]
    if "dim" in settings:
        settings["latent"] = settings["dim"]
    check_codes(case, build_vqgan(case, FlaxMaskGITVQGANAdapter(), settings))


def _is_maskgit(official: str) -> bool:
    return any(name in official for name in ("maskgit_vqgan", "PretrainedTokenizer", "MAGE VQGAN", "vq-f16-jax"))


def _settings(meta: Meta) -> dict[str, Any]:
    """What the case's configuration says, in our words."""
    config = meta["config"]
    codes = setting(config, "codebook_size", "codebook", "n_embed", "K")
    found = {
        "channels": setting(config, "ch", "hidden_channels", "filters"),
        "multipliers": setting(config, "ch_mult", "channel_mult", "encoder_ch_mult", "channel_multipliers"),
        "blocks": setting(config, "num_res_blocks"),
        "latent": setting(config, "z_channels", "z"),
        "dim": setting(config, "codebook_embed_dim", "embed_dim", "embedding_dim", "dim", "z"),
        "quantizer_settings": None if codes is None else {"codes": codes},
    }
    return {key: tuple(v) if isinstance(v, list) else v for key, v in found.items() if v is not None}


def build_vqgan(case: Case, adapter: Adapter, settings: dict[str, Any]) -> VQGAN:
    """Our model of the case's configuration, filled by the official names."""
    keys = case.meta.get("keys")
    if not keys:
        with torch.device("meta"):
            keys = adapter.official_shapes(system_class(adapter.system).from_config(settings))
    model = adapter.build(official_state(keys, case.meta), **settings)
    assert isinstance(model, VQGAN)
    return model


def check_codes(case: Case, model: VQGAN) -> None:
    """Latents, ids, reconstructions and the decoding of given ids, whichever the case holds."""
    unit = model.config.pixel_range == "unit"
    latent = case.find("latent", "latents", "h", "h_sub")
    ids = case.find("indices", "idx", "codes")
    assert ids is not None, "the case holds no ids under a known name"
    stored = case.read(ids).long()
    grid = case.arrays[latent].shape[-2:] if latent is not None else (round(stored[0].numel() ** 0.5),) * 2
    count = grid[0] * grid[1]
    x = images(case, unit=unit, shape=(stored.numel() // count, 3, grid[0] * model.stride, grid[1] * model.stride))

    z = model.latents(x)
    sequence = to_sequence(z)
    if latent is not None:
        case.check(latent, z)
    case.check_ids(ids, model.quantizer.encode(sequence))
    if loss := case.find("quant_loss"):
        case.check(loss, _taming_loss(sequence, model.quantizer.lookup(stored.reshape(-1, count))))

    def decode(ids: Tensor) -> Tensor:
        pixels = model.pixels(model.quantizer.lookup(ids.reshape(-1, count)), grid)
        return (pixels + 1) / 2 if unit else pixels

    # From the stored ids, so that one legitimate difference of an id does not change the pixels.
    decoded = decode(stored)
    raw = case.find("decoded_raw", "decoded_raw_sub")
    if raw is not None:
        case.check(raw, decoded)
        decoded = decoded.clamp(0 if unit else -1, 1)
    if output := case.find("decoded", "decoded_sub"):
        case.check(output, decoded)
    if given := case.find("rand_indices"):
        case.check(case.find("rand_decoded") or given, decode(case.read(given).long()))


def _taming_loss(z: Tensor, z_q: Tensor, beta: float = 0.25) -> Tensor:
    """Codebook and commitment loss of the official class, in its historical order of the weights."""
    error = (z_q - z).square().mean()
    return error + beta * error
