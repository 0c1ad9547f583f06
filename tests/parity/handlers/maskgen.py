"""MaskGen, given drawn features of a text and an aesthetic score: logits of masked tokens, or for continuous ones the
vectors of the transformer, noise by the head, the loss of given masks, steps and noise, and samples of given noise.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from tests.parity.case import Case
from tests.parity.draw import official_state
from tests.parity.named import check_array
from tests.parity.runner import handler
from zellige.convert.maskgen import MaskGenAdapter
from zellige.convert.maskgen_kl import MaskGenKLAdapter
from zellige.core.condition import TextFeatures
from zellige.core.noise import Noise
from zellige.core.tokens import Tokens
from zellige.generate.diffusion import cosine_signal, diffusion_loss
from zellige.nn.conv import to_grid
from zellige.systems.maskgen import MaskGen
from zellige.systems.maskgen_kl import MaskGenKL

DRAWN = r"(?<!\w){} PCG64\((\d+)\)(?:\.standard_normal\(\(([\d, ]+)\)\))?"
"""How a note says that an input is normal noise: the seed, and where it is told the shape."""

RTOL, ATOL = 1e-4, 1e-4
"""Of one pass of the networks and of the loss: waves of scores have angles of hundreds, and differ by 2e-5."""

SAMPLED = 1e-4
"""Largest error of a sample, as a share of its largest number: the first steps multiply errors by hundreds."""


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


@handler(lambda meta: meta["official"].endswith("maskgen.MaskGen_KL"))
def maskgen_kl_generator(case: Case) -> None:
    model, text = build_kl_generator(case)
    if "vectors" in case.arrays:
        vectors = model.vectors(case.read("latents"), case.read("mask").bool(), scored(text, case, "aesthetic"))
        check_array(case, "vectors", vectors, rtol=RTOL, atol=ATOL)
        noisy, steps = case.read("head.x")[None], case.read("head.t").long()[None]
        output = model.head(noisy, steps, vectors.flatten(0, 1)[None])[0]
        check_array(case, "head.output", output, rtol=RTOL, atol=ATOL)
    if "train.loss" in case.arrays:
        check_training(case, model, scored(text, case, "train.aesthetic"))
    for name, options in case.meta.get("samples", {}).items():
        check_sample(case, model, scored(text, case, f"{name}.aesthetic"), name, options)


def check_training(case: Case, model: MaskGenKL, text: TextFeatures) -> None:
    """The official loss is computed everywhere, then averaged over what is masked; ours is of that alone."""
    latents, order, uniform = case.read("train.latents"), case.read("train.order").long(), case.read("train.uniform")
    steps, noise, repeats = case.read("train.t").long(), case.read("train.noise"), model.config.repeats

    def drawn_before(*size: Any, **_: Any) -> Tensor:
        """The share of the schedule, a scalar, or of each sample numbers in the order in which it is masked."""
        return uniform.flatten()[0] if size == ((),) else order.argsort(1) / order.shape[1]

    with patch.object(torch, "rand", drawn_before):
        masked = model.masks(torch.rand(()), len(latents))
    case.check_ids("train.mask", masked)
    scaled = model.config.latent_scale * latents
    given = model.vectors(scaled, masked, text).flatten(0, 1).repeat(repeats, 1)[None]
    data = scaled.flatten(0, 1).repeat(repeats, 1)[None]
    each = diffusion_loss(partial(model.head, condition=given), data, steps[None], noise[None])[0]
    check_array(case, "train.each", each, rtol=RTOL, atol=ATOL)
    chosen = masked.flatten().repeat(repeats)
    with (
        patch.object(torch, "rand", drawn_before),
        patch.object(torch, "randint", lambda *_, **__: steps[chosen][None]),
        patch.object(torch, "randn_like", lambda _: noise[chosen][None]),
    ):
        loss = model._loss(Tokens(None, model.config.layout, latents=latents), text)["diffusion"]
    check_array(case, "train.loss", loss[None], rtol=RTOL)


def check_sample(case: Case, model: MaskGenKL, text: TextFeatures, name: str, options: dict[str, Any]) -> None:
    """A sample of the official order and noise. Where the head is no denoiser all of it is large: so is its error."""
    order, steps = case.read(f"{name}.order").long(), int(options["num_sampling_steps"])
    settings = model.settings(
        {
            "guidance": float(options["cfg"]),
            "schedule": options["cfg_schedule"],
            "temperature": float(options["temperature"]),
            "steps": int(options["num_iter"]),
            "diffusion_steps": steps,
        }
    )
    generator = np.random.Generator(np.random.PCG64(int(options["noise_seed"])))
    shape = (steps, *order.shape, model.config.latent_dim)
    draws, head = torch.from_numpy(generator.standard_normal(shape)).float(), model.head
    model.head = Tempered(head) if options["tempered"] else head  # type: ignore[assignment]
    drawn = model._sample(text, Filling(order, draws), settings)
    model.head = head
    size = float(np.abs(case.arrays[f"{name}.output"]).max())
    check_array(case, f"{name}.output", to_grid(drawn, (1, order.shape[1])), rtol=0.0, atol=SAMPLED * size)


class Filling(Noise):
    """Draws that fill latents in an official order.

    Args:
        order: (B, L) places of latents, those that are filled last first.
        draws: (S, B, L, D) for latents as they are filled: the start of each, then the noise of its steps but the last.
    """

    def __init__(self, order: Tensor, draws: Tensor) -> None:
        super().__init__(range(len(order)))
        self.order, self.draws, self.given = order, draws, 0

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return (self.order.argsort(1) / self.order.shape[1]).to(dtype)

    def normal(self, *shape: int) -> Tensor:
        drawn = self.draws[self.given, :, : shape[0]]
        self.given += 1
        if self.given == len(self.draws):
            self.draws, self.given = self.draws[:, :, shape[0] :], 0
        return drawn


class Tempered(nn.Module):
    """A head that removes the noise of data of variance 1, but for what the given head says, which changes them by ~1.

    Drawn weights make no denoiser: what they predict is multiplied by 10⁴ on the way, and hides the noise of the steps.
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head, self.signal = head, cosine_signal()

    def forward(self, x: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        error, place = self.head(x, steps, condition).chunk(2, dim=-1)
        signal = self.signal[steps][..., None]
        return torch.cat([(1 - signal).sqrt().float() * x + signal.sqrt().float() * error, place], dim=-1)


def scored(text: TextFeatures, case: Case, name: str) -> TextFeatures:
    """The texts with a score each."""
    return TextFeatures(text.features, pooled=text.pooled, scores=case.read(name).float().flatten())


def build_kl_generator(case: Case) -> tuple[MaskGenKL, TextFeatures]:
    """The model, which knows the empty text, and the texts of the case."""
    config, keys = case.meta["config"]["model"], case.meta["keys"]
    latents, numbers = config["vq_model"], config["maskgen"]
    count, text_dim = len(case.arrays["aesthetic"]), keys["text_emb.weight"][1]
    features, pooled = drawn(case, "condition", (count, 77, text_dim)), drawn(case, "pooled", (count, 1, text_dim))
    settings: dict[str, Any] = {
        "heads": numbers["decoder_num_heads"],
        "latent_scale": latents["scale_factor"],
        "repeats": numbers.get("diffusion_batch_mul", 4),
        "text_tokens": features.shape[1],
    }
    model = MaskGenKLAdapter().build(official_state(keys, case.meta), "the case", **settings)
    assert isinstance(model, MaskGenKL)
    null, null_pooled = drawn(case, "null", (1, *features.shape[1:])), drawn(case, "null_pooled", (1, 1, text_dim))
    model.set_null(TextFeatures(null, pooled=null_pooled.flatten(1)))
    return model, TextFeatures(features, pooled=pooled.flatten(1))
