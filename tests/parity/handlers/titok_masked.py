"""TiTok's generators: logits with and without class, and sampling with stored noise."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from tests.parity.case import Case
from tests.parity.draw import official_state
from tests.parity.handlers.masked import StoredNoise, check_inputs, stored_sampler, watched
from tests.parity.runner import handler
from zellige.convert.titok_maskgit import TiTokBERTAdapter, TiTokUViTAdapter
from zellige.generate.masked import unmask
from zellige.systems.titok_maskgit import TiTokMaskGIT


@handler(lambda meta: meta["official"].endswith(("maskgit.ImageBert", "maskgit.UViTBert")))
def titok_generator(case: Case) -> None:
    model = build_generator(case)
    ids, labels = case.read("input_ids").long(), case.read("condition").long()
    masked = ids == model.codes
    for name, given in (("cond", labels), ("uncond", torch.full_like(labels, model.classes))):
        logits = model.logits(ids, masked, given)
        if stored := case.find(f"logits_{name}_sub", f"logits_{name}"):
            case.check(stored, logits)
        if f"{name}_argmax" in case.arrays:
            case.check_ids(f"{name}_argmax", logits.argmax(-1))


@handler(lambda meta: meta["official"].endswith("maskgit.ImageBert.generate"))
def titok_sampling(case: Case) -> None:
    model, labels = build_generator(case), case.read("condition").long()
    for mode, options in case.meta["modes"].items():
        decay, scale = options.get("guidance_decay", "constant"), float(options.get("guidance_scale", 3.0))
        steps, temperature = options.get("num_sample_steps", 8), float(options.get("randomize_temperature", 4.5))
        settings = model.settings(
            {
                "guidance": scale if decay == "power-cosine" else 1 + scale,
                "schedule": decay,
                "power": float(options.get("guidance_scale_pow", 3.0)),
                "steps": steps,
                "choice_temperature": temperature,
                "anneal_logits": bool(options.get("softmax_temperature_annealing", False)),
            }
        )
        plain, doubled = torch.zeros(len(labels), model.length, dtype=torch.long), labels
        if settings.guide().active:
            doubled = torch.cat([labels, torch.full_like(labels, model.classes)])
        seen: list[tuple[Tensor, Tensor]] = []
        predict = watched(lambda ids, masked, given=doubled: model.logits(ids, masked, given), seen)
        noises = ([gumbel(case.read(f"{mode}.noise_{kind}.{i}")) for i in range(steps)] for kind in ("logits", "conf"))
        sampler, noise = stored_sampler(next(noises), temperature), StoredNoise(next(noises))
        ids = unmask(predict, plain, plain == 0, settings.unmasking(), settings.guide(), sampler, noise)
        check_inputs(case, f"{mode}.ids_in", seen, model.codes)
        case.check_ids(f"{mode}.ids_out", ids)


def gumbel(uniform: Tensor) -> Tensor:
    return -(-uniform.clamp(min=1e-20).log()).clamp(min=1e-20).log()


def build_generator(case: Case) -> TiTokMaskGIT:
    """A note may say that the weight of the head is multiplied by a number."""
    config = case.meta["config"]["model"]
    numbers, skip = config["generator"], config["generator"].get("model_type", "ViT") == "UViT"
    adapter = TiTokUViTAdapter() if skip else TiTokBERTAdapter()
    settings: dict[str, Any] = {
        "layout": ((numbers["image_seq_len"],),),
        "codebook": (config["vq_model"]["codebook_size"],),
        "classes": numbers["condition_num_classes"],
        "network": "skip" if skip else "bert",
        "dim": numbers.get("hidden_size", 768),
        "depth": numbers.get("num_hidden_layers", 24),
        "heads": numbers.get("num_attention_heads", 16),
        "hidden": numbers.get("intermediate_size", 3072),
    }
    keys = case.meta.get("keys")
    if not keys:
        with torch.device("meta"):
            keys = adapter.official_shapes(TiTokMaskGIT.from_config(settings))
    state = official_state(keys, case.meta)
    if found := re.search(r"lm_head\.weight is multiplied by ([\d.]*\d)", case.meta.get("note", "")):
        state[next(key for key in state if key.endswith("lm_head.weight"))] *= float(found[1])
    model = adapter.build(state, **settings)
    assert isinstance(model, TiTokMaskGIT)
    return model
