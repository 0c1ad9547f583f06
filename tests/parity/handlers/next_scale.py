"""VAR: teacher-forced logits, and sampling that takes the likeliest codes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.parity.case import Case, Line
from tests.parity.draw import official_state
from tests.parity.handlers.multiscale import official_name
from tests.parity.handlers.next_token import CLEAR
from tests.parity.inputs import setting
from tests.parity.runner import handler
from zellige.convert.var import VARAdapter
from zellige.core.noise import Noise
from zellige.core.registry import system_class
from zellige.generate.ar import Choose
from zellige.nn.conv import to_grid
from zellige.systems.var import VAR
from zellige.systems.var_vq import SCALES


@handler(lambda meta: str(meta.get("official")).endswith("models.var.VAR"))
def var(case: Case) -> None:
    model = build(case)
    labels, scales = case.read("y").long(), model.config.layout
    if "idx" in case.arrays:
        case.check("logits", model.logits(case.read("idx").long(), labels))
    if "greedy" in case.arrays:
        forced = torch.from_numpy(case.arrays["greedy"]).long()
        chosen, lead = greedy(model, labels, 1 + float(case.meta.get("cfg", 0.0)), forced)
        clear = lead > CLEAR
        case.seen.add("greedy")
        wrong = int(((chosen != forced) & clear).sum())
        case.lines.append(Line("greedy", wrong == 0 and bool(clear.any()), f"{wrong} of {int(clear.sum())} ids differ"))
        if "fhat" in case.arrays:
            case.check("fhat", to_grid(model.quantizer.partial_sums(forced)[-1], scales[-1]))


def build(case: Case) -> VAR:
    """Our model of the case's configuration with the codes of its tokenizer."""
    config, keys = case.meta["config"], dict(case.meta.get("keys") or {})
    codes = case.meta.get("quantizer_keys") or {}
    sides = setting(config, "patch_nums", "v_patch_nums") or list(SCALES)
    shared = sum(key.startswith("quant_resi.qresi_ls.") and key.endswith("weight") for key in codes)
    shared = shared or (1 if "quant_resi.qresi.weight" in codes else 0) if codes else 4
    ratio = setting(config, "quant_resi")
    settings: dict[str, Any] = {
        "layout": tuple((side, side) for side in sides),
        "codebook": (setting(config, "V", "vocab_size"),),
        "classes": setting(config, "num_classes") or (keys["class_emb.weight"][0] - 1 if keys else 1000),
        "dim": setting(config, "embed_dim"),
        "depth": setting(config, "depth"),
        "heads": setting(config, "num_heads"),
        "qk_norm": "none" if setting(config, "attn_l2_norm") is False else "cosine",
        "shared_modulation": bool(setting(config, "shared_aln")),
        "code_dim": setting(config, "Cvae", "z_channels"),
        "quantizer_settings": {"blends": shared or len(sides), "blend_ratio": 0.5 if ratio is None else ratio},
    }
    adapter = VARAdapter()
    if not keys:
        with torch.device("meta"):
            keys = dict(adapter.official_shapes(system_class("var").from_config(settings)))
    model = adapter.build(official_state(keys, case.meta), **settings)
    assert isinstance(model, VAR)
    names = {key: f"quantize.{official_name(key, shared)}" for key in model.quantizer.state_dict()}
    shapes = {names[key]: tuple(value.shape) for key, value in model.quantizer.state_dict().items()}
    state = official_state(shapes, case.meta)
    model.quantizer.load_state_dict({key: state[name] for key, name in names.items()})
    return model


def greedy(model: VAR, labels: Tensor, scale: float, forced: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest ids (B, L) and their lead over the next, each scale after those `forced` before it.

    So one id of no clear lead, which may fall either way, does not decide about all that follow.
    """
    best, lead = [], []
    given = iter(forced.split(model.sizes, dim=1))

    def choose(logits: Tensor, noise: Noise) -> Tensor:
        first, second = logits.topk(2).values.unbind(-1)
        best.append(logits.argmax(-1))
        lead.append(first - second)
        return next(given)

    class Settings(type(model.config)):  # type: ignore[misc]
        def sampler(self) -> Choose:
            return choose

    settings = Settings(**{**vars(model.config), "guidance": scale, "schedule": "linear"})
    model._sample(labels, Noise(range(len(labels))), settings)
    return torch.cat(best, 1), torch.cat(lead, 1)
