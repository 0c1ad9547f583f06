"""The tokenizers of RobustTok and XQ-GAN (`xqgan_model.VQModel`), with whichever quantizer a case has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.parity.case import Case
from tests.parity.draw import official_state
from tests.parity.inputs import images, setting
from tests.parity.runner import Meta, handler
from zellige.convert.robusttok import RobustTokAdapter, semantic_model
from zellige.core.registry import system_class
from zellige.nn.conv import to_grid
from zellige.systems.robusttok import RobustTok


@handler(lambda meta: "xqgan_model.py" in meta["official"])
def robusttok(case: Case) -> None:
    adapter, settings = RobustTokAdapter(), _settings(case.meta)
    keys = case.meta.get("keys")
    if not keys:
        with torch.device("meta"):
            keys = adapter.official_shapes(system_class("robusttok").from_config(settings))
    state = official_state(keys, case.meta)
    for name in case.meta.get("kept_buffers", ()):
        if name.endswith(".scaler"):  # what a sign is worth at each scale
            state[name] = torch.full(keys[name], settings["dim"] ** -0.5)
    model = adapter.build(state, **settings)
    assert isinstance(model, RobustTok)
    x = images(case, unit=False, shape=(1, 3, model.config.image_size, model.config.image_size))
    z = model.latents(x)
    if name := case.find("latent"):
        case.check(name, _as_stored(z, model, case.arrays[name].shape))
    ids = _check_branches(case, model, z)
    # From the stored ids, so that one legitimate difference of an id does not change the pixels.
    if "recon" in case.arrays:
        case.check("recon", model.pixels(model.quantizer.lookup(ids)).clamp(-1, 1))
    if "rand_indices" in case.arrays:
        given = _given(case, model, len(x))
        case.check("rand_decoded", model.pixels(model.quantizer.lookup(given)).clamp(-1, 1))
    if "sem_feat" in case.arrays:
        feature = semantic_model(state)(x)
        case.check("sem_feat", feature)
        if "sem_proj" in case.arrays:
            case.check("sem_proj", model.project_in(feature[..., None, None]).flatten(1))


def _settings(meta: Meta) -> dict[str, Any]:
    """What the case's configuration says, in our words; shapes tell the rest."""
    config = meta["config"]
    codes, scales = setting(config, "codebook_size"), setting(config, "v_patch_nums")
    quantizer: dict[str, Any] = {"codes": codes, "normalize": setting(config, "codebook_l2_norm") is not False}
    found: dict[str, Any] = {
        "dim": setting(config, "codebook_embed_dim"),
        "branches": setting(config, "product_quant"),
        "latents": setting(config, "num_latent_tokens"),
        "positions": "shared" if setting(config, "abs_pos_embed") else "own",
        "quantizer": "vq",
    }
    if scales is not None and len(scales) > 1:
        search = "sign" if setting(config, "lfq") else "cosine"
        quantizer = {"codes": codes, "scales": scales, "search": search}
        found["quantizer"] = "multiscale"
    return {key: value for key, value in found.items() if value is not None} | {"quantizer_settings": quantizer}


def _as_stored(z: Tensor, model: RobustTok, shape: tuple[int, ...]) -> Tensor:
    """Latents (B, n, P·D) as (B, D, P·n, 1), or (B, D, h, w) for one branch."""
    parts = torch.cat(z.chunk(model.config.branches, dim=2), dim=1)
    return parts.transpose(1, 2).reshape(shape)


def _check_branches(case: Case, model: RobustTok, z: Tensor) -> Tensor:
    """Check codes and vectors of each branch; the stored codes (B, L) or (B, L, P)."""
    found, stored = model.quantizer.encode(z), []
    for branch in range(model.config.branches):
        suffix = "" if model.config.branches == 1 else f"_{branch}"
        name = f"indices{suffix}"
        case.check_ids(name, found if suffix == "" else found[..., branch])
        stored.append(case.read(name).long().reshape(len(z), -1))
    ids = stored[0] if len(stored) == 1 else torch.stack(stored, dim=-1)
    vectors = to_grid(model.quantizer.lookup(ids), model.grid).chunk(len(stored), dim=1)
    for branch, vector in enumerate(vectors):
        for name in ("fhat" if len(stored) == 1 else f"fhat_{branch}", f"f_hat_{branch}"):
            if name in case.arrays:
                case.check(name, vector)
    return ids


def _given(case: Case, model: RobustTok, batch: int) -> Tensor:
    """The codes that a case asks to decode."""
    ids = case.read("rand_indices").long()
    branches = model.config.branches
    if branches == 1:
        return ids.reshape(batch, -1)
    return (
        ids.reshape(branches, batch, -1).permute(1, 2, 0)
        if ids.shape[-1] != branches
        else ids.view(batch, -1, branches)
    )
