"""The multi-scale residual quantizer of VAR (`VectorQuantizer2`)."""

from __future__ import annotations

import re

import torch

from tests.parity.case import Case
from tests.parity.draw import official_state
from tests.parity.inputs import setting
from tests.parity.runner import handler
from zellige.generate.scales import views
from zellige.nn.conv import to_grid, to_sequence
from zellige.quantize.multiscale import MultiScaleResidualQuantizer


@handler(lambda meta: meta["official"].endswith("quant.VectorQuantizer2"))
def var_quantizer(case: Case) -> None:
    quantizer = _build(case)
    scales = quantizer.scales
    z = to_sequence(case.read("f"))
    ids = case.read("idx").long()
    case.check_ids("idx", quantizer.encode(z))

    sums = [to_grid(total, scales[-1]) for total in quantizer.partial_sums(ids)]
    for name in case.arrays:
        if found := re.fullmatch(r"fhat_(\d+)", name):
            case.check(name, sums[int(found[1])])
    if "var_input" in case.arrays:
        case.check("var_input", views(sums, scales))
    if "vq_loss" in case.arrays:
        case.check("vq_loss", sum(quantizer(z).losses.values(), torch.zeros(())))


def _build(case: Case) -> MultiScaleResidualQuantizer:
    config = case.meta["config"]
    if setting(config, "using_znorm"):
        raise ValueError("our quantizer has no cosine search over scales")
    dim, shared = setting(config, "Cvae", "z_channels"), setting(config, "share_quant_resi")
    scales = setting(config, "patch_nums", "v_patch_nums")
    quantizer = MultiScaleResidualQuantizer(
        dim=dim,
        codes=setting(config, "vocab", "vocab_size"),
        scales=scales,
        beta=setting(config, "beta") or 0.25,
        blends=shared or len(scales),
        blend_ratio=setting(config, "quant_resi") if setting(config, "quant_resi") is not None else 0.5,
    )
    names = {key: official_name(key, shared) for key in quantizer.state_dict()}
    shapes = {names[key]: tuple(value.shape) for key, value in quantizer.state_dict().items()}
    state = official_state(shapes, case.meta)
    quantizer.load_state_dict({key: state[name] for key, name in names.items()})
    return quantizer.eval()


def official_name(key: str, shared: int) -> str:
    """Convolutions are called by how many serve all scales: one, several, or (0) one for each."""
    prefix = {0: "quant_resi.", 1: "quant_resi.qresi."}.get(shared, "quant_resi.qresi_ls.")
    return key.replace("blends.0." if shared == 1 else "blends.", prefix)
