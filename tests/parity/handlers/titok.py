"""The tokenizers of TiTok and TA-TiTok, of codes or of Gaussians, painted by a teacher or as pixels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.case import Case
from tests.parity.draw import official_state
from tests.parity.inputs import images
from tests.parity.runner import Meta, handler
from zellige.convert.titok import TiTokAdapter
from zellige.quantize.gaussian import GaussianQuantizer
from zellige.systems.titok import TiTok

SIZES = {"small": (512, 8), "base": (768, 12), "large": (1024, 24)}
"""Width and depth of the official models by name."""


@handler(lambda meta: meta["official"].endswith(("titok.TiTok", "tatitok.TATiTok")))
def titok(case: Case) -> None:
    model = _build(case)
    latents = case.read("z").transpose(1, 3).flatten(1, 2)  # (B, D, 1, N)
    size = model.config.image_size
    z = model.latents(images(case, unit=True, shape=(len(latents), 3, size, size)))
    case.check("z", _as_official(z))
    if isinstance(model.quantizer, GaussianQuantizer):
        z_q = _check_moments(case, model.quantizer, latents)
    else:
        stored = case.read("indices").long().flatten(1)
        case.check_ids("indices", model.quantizer.encode(z))
        z_q = model.quantizer.lookup(stored)
        if "z_quantized" in case.arrays:
            case.check("z_quantized", _as_official(z_q))
    _check_pixels(case, model, z_q)


def _check_moments(case: Case, quantizer: GaussianQuantizer, latents: Tensor) -> Tensor:
    """Returns the means, which the official code decodes in these cases."""
    mean, log_variance = quantizer.moments(latents)
    for name, value in (("mean", mean), ("logvar", log_variance)):
        if name in case.arrays:
            case.check(name, _as_official(value))
    if "kl" in case.arrays:  # nats a token
        case.check("kl", ((mean.square() + log_variance.exp() - 1 - log_variance) / 2).sum(-1))
    return mean


def _check_pixels(case: Case, model: TiTok, z_q: Tensor) -> None:
    features = model.features(z_q, _caption(case, model, len(z_q)))
    if model.config.head == "codes":
        logits = model.painter.logits(features)
        if name := case.find("proxy_logits_sub", "proxy_logits"):
            case.check(name, logits)
        if "proxy_argmax" in case.arrays:
            case.check_ids("proxy_argmax", logits.argmax(1))
        pixels = model.painter.paint(logits)
    else:
        pixels = model.smooth(features)
    for name, value in (("decoded_sub", pixels), ("decoded", pixels)):
        if name in case.arrays:
            case.check(name, value)
    if "decoded_mean" in case.arrays:
        case.check("decoded_mean", pixels.mean())
        case.check("decoded_std", pixels.std())


def _caption(case: Case, model: TiTok, batch: int) -> Tensor | None:
    """Normal noise, whose seed is in the note."""
    if not model.config.caption:
        return None
    seed = re.search(r"text guidance PCG64\((\d+)\)", case.meta.get("note", ""))
    if seed is None:
        raise ValueError("the case does not say with which seed its caption was drawn")
    shape = batch, model.config.caption, model.config.caption_dim
    return torch.from_numpy(np.random.Generator(np.random.PCG64(int(seed[1]))).standard_normal(shape)).float()


def _build(case: Case) -> TiTok:
    adapter, settings, keys = TiTokAdapter(), _settings(case.meta), case.meta.get("keys")
    if not keys:
        with torch.device("meta"):
            keys = adapter.official_shapes(TiTok.from_config(settings))
    model = adapter.build(official_state(keys, case.meta), **settings)
    assert isinstance(model, TiTok)
    return model


def _settings(meta: Meta) -> dict[str, Any]:
    """What the case's configuration says, in our words."""
    config = meta["config"]["model"]["vq_model"]
    legacy, gaussian = config.get("is_legacy", True), config.get("quantize_mode", "vq") == "vae"
    width, depth = SIZES[config["vit_enc_model_size"]]
    decoder_width, decoder_depth = SIZES[config["vit_dec_model_size"]]
    quantizer: dict[str, Any] = {} if gaussian else {"codes": config["codebook_size"]}
    if not gaussian and config.get("use_l2_norm"):
        quantizer["normalize"] = True
    return {
        "image_size": meta["config"]["dataset"]["preprocessing"]["crop_size"],
        "patch": config["vit_enc_patch_size"],
        "width": width,
        "depth": depth,
        "decoder_width": decoder_width,
        "decoder_depth": decoder_depth,
        "latents": config["num_latent_tokens"],
        "dim": config["token_size"],
        "quantizer": "gaussian" if gaussian else "vq",
        "quantizer_settings": quantizer,
        "head": "codes" if legacy else "pixels",
        "scrambled": legacy,
        "caption": 77 if meta["official"].endswith("TATiTok") else 0,
    }


def _as_official(z: Tensor) -> Tensor:
    """(B, N, D) to (B, D, 1, N)."""
    return z.transpose(1, 2)[:, :, None]
