"""The handlers of MaskGen on other configurations than the stored ones, with other seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.parity.draw import official_state
from tests.parity.runner import run
from tests.parity.test_masked_handlers import write
from zellige.convert.maskgen import MaskGenAdapter
from zellige.convert.maskgen_kl import MaskGenKLAdapter
from zellige.core.condition import TextFeatures
from zellige.systems.maskgen import MaskGen
from zellige.systems.maskgen_kl import MaskGenKL

SETTINGS: dict[str, Any] = {
    "layout": ((6,),),
    "codebook": (23,),
    "dim": 32,
    "depth": 2,
    "heads": 4,
    "hidden": 128,
    "text_dim": 12,
    "spare": 6,
}


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).standard_normal(shape)).float()


@pytest.mark.parametrize("keys", ["told", "not told"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("waves", [8, 0])
@pytest.mark.parametrize("change", [0.0, 0.01])
@torch.no_grad()
def test_maskgen(keys: str, tied: bool, waves: int, change: float, tmp_path: Path) -> None:
    numbers = {"decoder_embed_dim": 32, "decoder_depth": 2, "decoder_num_heads": 4, "condition_num_classes": 5}
    numbers |= {"micro_condition": waves > 0, "micro_condition_embed_dim": 8, "weight_tying": tied}
    codes = {"codebook_size": 23, "num_latent_tokens": 6, "text_embed_dim": 12}
    note = "small; condition PCG64(5).standard_normal((2,9,12)), pooled PCG64(6).standard_normal((2,1,12))"
    meta: dict[str, Any] = {"official": "modeling.maskgen.MaskGen_VQ", "note": note}
    meta["config"] = {"model": {"vq_model": codes, "maskgen": numbers}}
    adapter = MaskGenAdapter()
    with torch.device("meta"):
        shapes = adapter.official_shapes(MaskGen.from_config({**SETTINGS, "tied": tied, "score_waves": waves}))
    shapes |= {f"blocks.1.attn.add_q_proj.{leaf}": (32, 32)[:n] for leaf, n in (("weight", 2), ("bias", 1))}
    if tied:
        shapes["lm_head.weight"] = shapes["embeddings.weight"]
    model = adapter.build(official_state(shapes, meta), **SETTINGS, tied=tied, score_waves=waves)
    assert isinstance(model, MaskGen)
    if tied:  # the table was drawn under both names, the head's last
        assert torch.equal(model.embedding.weight, official_state(shapes, meta)["lm_head.weight"])
    ids, scores = torch.tensor([[23, 1, 2, 23, 4, 22], [0, 23, 23, 23, 3, 3]]), torch.tensor([4.0, 7.5])
    text = TextFeatures(normal(5, 2, 9, 12), pooled=normal(6, 2, 1, 12)[:, 0], scores=scores)
    logits = model.logits(ids, ids == 23, text) + change
    case = {**meta, "keys": shapes} if keys == "told" else meta
    ok, lines = run(write(tmp_path / "case.npz", case, input_ids=ids, aesthetic=scores, logits=logits))
    assert ok == (change == 0), lines
    assert len(lines) == 1


@pytest.mark.parametrize("waves", [8, 0])
@pytest.mark.parametrize("change", [0.0, 0.01])
@torch.no_grad()
def test_maskgen_kl(waves: int, change: float, tmp_path: Path) -> None:
    sizes = {"dim": 32, "depth": 1, "heads": 4, "hidden": 128, "text_dim": 12, "score_waves": waves}
    settings = {**sizes, "layout": ((6,),), "codebook": (), "latent_dim": 4, "head_width": 16, "head_depth": 1}
    numbers = {"decoder_embed_dim": 32, "decoder_depth": 1, "decoder_num_heads": 4, "micro_condition": waves > 0}
    texts = {"condition": (5, 2, 77, 12), "pooled": (6, 2, 1, 12), "null": (7, 1, 77, 12), "null_pooled": (8, 1, 1, 12)}
    drawn = {name: normal(*numbers) for name, numbers in texts.items()}
    note = ", ".join(f"{name} PCG64({seed}).standard_normal({shape})" for name, (seed, *shape) in texts.items())
    meta: dict[str, Any] = {"official": "modeling.maskgen.MaskGen_KL", "note": note.replace("[", "(").replace("]", ")")}
    meta["config"] = {"model": {"vq_model": {"scale_factor": 0.5}, "maskgen": numbers}}
    adapter = MaskGenKLAdapter()
    with torch.device("meta"):
        meta["keys"] = adapter.official_shapes(MaskGenKL.from_config(settings))
    model = adapter.build(official_state(meta["keys"], meta), "the case", heads=4, latent_scale=0.5)
    assert isinstance(model, MaskGenKL)
    latents, mask, scores = normal(9, 2, 6, 4), torch.arange(12).view(2, 6) % 3 == 0, torch.tensor([4.0, 7.5])
    text = TextFeatures(drawn["condition"], pooled=drawn["pooled"][:, 0], scores=scores)
    vectors = model.vectors(latents, mask, text)
    noisy, steps = normal(10, 12, 4), torch.arange(12) * 90
    arrays = {
        "aesthetic": scores,
        "latents": latents,
        "mask": mask,
        "vectors": vectors,
        "head.x": noisy,
        "head.t": steps,
    }
    arrays["head.output"] = model.head(noisy[None], steps[None], vectors.flatten(0, 1)[None])[0] + change
    ok, lines = run(write(tmp_path / "case.npz", meta, **arrays))
    assert ok == (change == 0), lines
    assert len(lines) == 2
