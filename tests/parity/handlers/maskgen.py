"""MaskGen: logits of masked tokens, given drawn features of a text and an aesthetic score."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.case import Case
from tests.parity.draw import official_state
from tests.parity.runner import handler
from zellige.convert.maskgen import MaskGenAdapter
from zellige.core.condition import TextFeatures
from zellige.systems.maskgen import MaskGen

DRAWN = r"{} PCG64\((\d+)\)(?:\.standard_normal\(\(([\d, ]+)\)\))?"
"""How a note says that an input is normal noise: the seed, and where it is told the shape."""


@handler(lambda meta: meta["official"].endswith("maskgen.MaskGen_VQ"))
def maskgen_generator(case: Case) -> None:
    model, ids = build_generator(case), case.read("input_ids").long()
    scores = case.read("aesthetic").float().flatten() if "aesthetic" in case.arrays else None
    features = drawn(case, "condition", (len(ids), model.config.text_tokens, model.text_dim))
    pooled = drawn(case, "pooled", (len(ids), 1, model.text_dim)).flatten(1)
    masked = ids == model.codes
    logits = model.logits(ids, masked, TextFeatures(features, pooled=pooled, scores=scores))
    if stored := case.find("logits_sub", "logits"):
        case.check(stored, logits)
    if name := case.find("argmax", "logits_argmax"):
        case.check_ids(name, logits.argmax(-1))


def drawn(case: Case, name: str, shape: tuple[int, ...]) -> Tensor:
    """An input that the case holds, or that its note says how to draw."""
    if stored := case.find(name, f"condition_{name}"):
        return case.read(stored).float()
    found = re.search(DRAWN.format(name), case.meta.get("note", ""))
    if found is None:
        raise ValueError(f"the case does not say with which seed its {name} was drawn")
    if found[2]:
        shape = tuple(int(size) for size in found[2].split(",") if size.strip())
    return torch.from_numpy(np.random.Generator(np.random.PCG64(int(found[1]))).standard_normal(shape)).float()


def build_generator(case: Case) -> MaskGen:
    config = case.meta["config"]["model"]
    codes, numbers = config["vq_model"], config["maskgen"]
    dim, text_dim = numbers["decoder_embed_dim"], codes.get("text_embed_dim", 768)
    settings: dict[str, Any] = {
        "layout": ((codes["num_latent_tokens"],),),
        "codebook": (codes["codebook_size"],),
        "dim": dim,
        "depth": numbers["decoder_depth"],
        "heads": numbers["decoder_num_heads"],
        "hidden": 4 * dim,
        "text_dim": text_dim,
        "score_waves": numbers.get("micro_condition_embed_dim", 256) if numbers.get("micro_condition") else 0,
        "score": numbers.get("sample_aesthetic_score", 6.0),
        "tied": numbers.get("weight_tying", True),
        "spare": numbers.get("condition_num_classes", 1000) + 1,
    }
    adapter, keys = MaskGenAdapter(), case.meta.get("keys")
    if not keys:
        with torch.device("meta"):
            keys = adapter.official_shapes(MaskGen.from_config(settings))
        if settings["tied"]:
            keys["lm_head.weight"] = keys["embeddings.weight"]
    model = adapter.build(official_state(keys, case.meta), **settings)
    assert isinstance(model, MaskGen)
    return model
