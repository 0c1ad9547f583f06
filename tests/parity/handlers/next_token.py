"""Next-token generators: LlamaGen and RAR, teacher-forced and sampled greedily, and the filters of sampling."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.parity.case import ATOL, RTOL, Case, Line
from tests.parity.draw import official_state
from tests.parity.inputs import setting
from tests.parity.named import check_array
from tests.parity.runner import handler
from zellige.convert.adapter import Adapter
from zellige.convert.llamagen import LlamaGenAdapter
from zellige.convert.rar import RARAdapter
from zellige.core.condition import TextFeatures
from zellige.core.generator import Generator
from zellige.core.noise import Noise
from zellige.core.registry import system_class
from zellige.generate.ar import Choose
from zellige.generate.sampling import Sampler
from zellige.systems.llamagen import LlamaGen
from zellige.systems.rar import RAR

CLEAR = 1e-3
"""From the first step of a sample with a smaller margin on, its ids may legitimately differ."""


@handler(lambda meta: meta["official"].endswith("rar.py:RAR"))
def rar(case: Case) -> None:
    config = case.meta["config"]
    length, classes = setting_of(config, "image_seq_len", 256), setting_of(config, "condition_num_classes", 1000)
    settings = {
        "layout": square(length),
        "codebook": (setting_of(config, "codebook_size", 1024),),
        "classes": classes,
        "dim": setting_of(config, "hidden_size", 768),
        "depth": setting_of(config, "num_hidden_layers", 24),
        "heads": setting_of(config, "num_attention_heads", 16),
        "hidden": setting_of(config, "intermediate_size", 3072),
    }
    model = build(case, RARAdapter(), settings)
    assert isinstance(model, RAR)
    labels = case.read("condition").long()
    if "logits" in case.arrays:
        ids = case.read("ids").long()
        orders = case.read("orders").long() if "orders" in case.arrays else torch.arange(length).expand_as(ids)
        shuffled = ids.gather(1, orders)
        if "labels" in case.arrays:
            case.check_ids("labels", shuffled)
        logits = model.logits(shuffled, labels, orders)
        case.check("logits", logits)
        if "nll" in case.arrays:
            case.check("nll", F.cross_entropy(logits[:, :-1].transpose(1, 2), shuffled, reduction="none"))
        if "logits_uncond" in case.arrays:
            case.check("logits_uncond", model.logits(shuffled, torch.full_like(labels, classes), orders))
        return
    sampling = case.meta["sampling"]
    scale = float(sampling.get("guidance_scale", 0.0))
    options = {
        "guidance": scale or 1.0,  # zero says that there is none
        "power": float(sampling.get("guidance_scale_pow", 1.0)),
        "temperature": float(sampling.get("randomize_temperature", 1.0)),
    }
    settings = model.settings({**options, "schedule": "power-cosine"})
    if "cfg_schedule" in case.arrays:
        check_array(case, "cfg_schedule", [settings.guide().at(i / length) for i in range(length)], rtol=1e-5)
    check_greedy(case, "", *greedy(model, labels, settings, length), settings.guidance)


@handler(lambda meta: "autoregressive/models/gpt.py:" in meta["official"])
def llamagen(case: Case) -> None:
    config = case.meta["config"]
    dim, text = config["dim"], config.get("model_type", "c2i") == "t2i"
    multiple = config.get("multiple_of") or 256
    settings = {
        "layout": square(config["block_size"]),
        "codebook": (config["vocab_size"],),
        "dim": dim,
        "depth": config["n_layer"],
        "heads": config["n_head"],
        "kv_heads": config.get("n_kv_head"),
        "hidden": -(-int(8 * dim / 3) // multiple) * multiple,
        "classes": 0 if text else config.get("num_classes", 1000),
        "text_dim": config.get("caption_dim", 2048) if text else 0,
        "text_tokens": config.get("cls_token_num", 120) if text else 120,
    }
    model = build(case, LlamaGenAdapter(), settings)
    assert isinstance(model, LlamaGen)
    given = case.read("condition")
    mask = case.read("emb_masks").bool() if "emb_masks" in case.arrays else None
    if "ids" in case.arrays:
        ids = case.read("ids").long()
        logits = model.logits(ids, TextFeatures(given) if text else given.long())
        nll = F.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
        for name, value in (("logits", logits), ("nll", nll), ("loss", nll.mean())):
            if name in case.arrays:
                case.check(name, value)
    if "gen_ids" in case.arrays:
        sampling = case.meta["sampling"]
        length = case.arrays["gen_ids"].shape[1]
        scale, cut = float(sampling.get("cfg_scale", 1.0)), int(sampling.get("cfg_interval", -1))
        options = {
            "guidance": scale if scale > 1 else 1.0,
            "interval": (0.0, 1.0 if cut < 0 else (cut + 1) / length),
            "temperature": max(float(sampling.get("temperature", 1.0)), 1e-5),
            "top_k": int(sampling.get("top_k") or 0),
            "top_p": float(sampling.get("top_p", 1.0)),
        }
        condition = TextFeatures(given, mask) if text else given.long()
        chosen = model.settings(options)
        check_greedy(case, "gen_", *greedy(model, condition, chosen, length), chosen.guidance)


@handler(lambda meta: meta["official"].endswith(":top_k_top_p_filtering"))
def filters(case: Case) -> None:
    logits, config = case.read("logits"), case.meta["config"]
    for i, (k, p) in enumerate(config["cases"]):
        sampler = Sampler(float(config.get("temperature", 1.0)), int(k), float(p))
        case.check(f"probs_{i}", sampler.filter(logits).softmax(-1))


def setting_of(config: dict[str, Any], name: str, default: int) -> int:
    """A number of a configuration or of a table within one of its tables."""
    for table in (config, *(value for value in config.values() if isinstance(value, dict))):
        found = setting(table, name)
        if found is not None:
            return int(found)
    return default


def square(length: int) -> tuple[tuple[int, ...]]:
    side = isqrt(length)
    return ((side, side),) if side * side == length else ((length,),)


def build(case: Case, adapter: Adapter, settings: dict[str, Any]) -> Generator:
    """Our model of the case's configuration, filled by the official names."""
    keys = case.meta.get("keys")
    if not keys:
        with torch.device("meta"):
            keys = adapter.official_shapes(system_class(adapter.system).from_config(settings))
    model = adapter.build(official_state(keys, case.meta), **settings)
    assert isinstance(model, Generator)
    return model


def greedy(model: Any, condition: Any, settings: Any, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids (B, n), and of the filtered log-probabilities the best and its lead, when always the best id is taken."""
    best, lead = [], []

    class Likeliest(Sampler):
        def __call__(self, logits: Tensor, noise: Noise) -> Tensor:
            first, second = self.filter(logits).log_softmax(-1).topk(2).values.unbind(-1)
            best.append(first)
            lead.append(first - second)
            return logits.argmax(-1)

    class Settings(type(settings)):  # type: ignore[misc]
        def sampler(self) -> Choose:
            return Likeliest(self.temperature, self.top_k, self.top_p)

    model.length = length  # a case may hold the first steps alone
    ids = model._sample(condition, Noise(range(len(condition))), Settings(**vars(settings)))
    return ids, torch.stack(best, 1), torch.stack(lead, 1)


def check_greedy(case: Case, prefix: str, ids: Tensor, best: Tensor, lead: Tensor, scale: float) -> None:
    """Compare the steps of each sample up to the first that has no clear margin; guidance multiplies what differs."""
    names = {f"{prefix}{name}": value for name, value in (("margin", lead), ("best_logprob", best))}
    stored = case.arrays[f"{prefix}margin"]
    same = np.cumsum(stored < CLEAR, axis=1) == 0
    case.seen.add(f"{prefix}ids")
    wrong = int(((ids.numpy() != case.arrays[f"{prefix}ids"]) & same).sum())
    case.lines.append(Line(f"{prefix}ids", wrong == 0 and bool(same.any()), f"{wrong} of {int(same.sum())} ids differ"))
    for name, value in names.items():
        if name in case.arrays:
            case.seen.add(name)
            want, got = case.arrays[name][same].astype(np.float64), value.double().numpy()[same]
            with np.errstate(invalid="ignore"):  # both are infinite where one code is left
                error = np.where(want == got, 0.0, np.abs(got - want))
            ok = bool(np.all(error <= ATOL * max(1.0, scale) + RTOL * np.abs(want)))
            case.lines.append(Line(name, ok, f"max abs error {error.max(initial=0.0):.2e}"))
