"""Generators of equal cost: training, cross-entropy at masks, what reuse of features costs, samples.

Legend: n images, L tokens of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from studies.common import Record, digest
from studies.enat.cost import STEPS, GenerationCost, encoding_anew, generation_cost, training_cost
from studies.enat.settings import ARMS, CHAINED, DECODINGS, RATIOS, Scale
from studies.measure import network
from studies.patches import PatchCodes
from studies.runs import kept, trained_generator
from zellige.codec import TokenSet
from zellige.core.hub import load
from zellige.core.pixels import from_uint8
from zellige.core.registry import build
from zellige.core.tokens import layout_size
from zellige.data import open_images
from zellige.evaluate.environment import environment
from zellige.generate.masked import Conditioned, MaskedGenerator
from zellige.metrics.distribution import FeatureDistances

BATCH = 32
"""Images whose tokens are predicted together."""
DRAWN = 100
"""Images that are drawn together."""
TRAIN, TEST = "cifar10-train.parquet", "cifar10-test.parquet"


@dataclass(frozen=True)
class Material:
    """The tokens of a study: `codes` make them, a set to train on, one to measure on, and the images of that."""

    codes: PatchCodes
    tokens: TokenSet
    held_out: TokenSet
    images: Path


def prepare(scale: Scale, data: Path, work: Path) -> Material:
    """Centres of patches, and the tokens of both sets."""
    train, test = data / TRAIN, data / TEST
    codes = PatchCodes.of(train, scale.patch, scale.codes)
    name = f"{scale.patch}-{scale.codes}"
    tokens = codes.token_set(train, scale.images, work / f"{train.stem}-{name}-{scale.images}.parquet")
    held_out = codes.token_set(test, scale.probed, work / f"{test.stem}-{name}-{scale.probed}.parquet")
    return Material(codes, tokens, held_out, test)


def costs(scale: Scale, tokens: TokenSet) -> dict[str, tuple[float, GenerationCost]]:
    """Operations of each arm: of a sample in a training step, and of the generation of an image."""
    found = {}
    for arm in ARMS:
        recipe = scale.recipe(arm, scale.steps, Path(), 0)
        spec = {"layout": tokens.info.layout, "codebook": tokens.info.codebook, "classes": 10}
        model = build(recipe.generator, **{**recipe.config, **spec})
        assert isinstance(model, MaskedGenerator)
        found[arm] = training_cost(model, scale.counted), generation_cost(model)
    return found


def run(scale: Scale, arm: str, steps: int, seed: int, material: Material, work: Path) -> Record:
    """Train and measure one generator, unless that is done."""
    recipe = scale.recipe(arm, steps, material.tokens.path, seed)
    folder = trained_generator(recipe, work, arm.replace(" ", "-"))
    judged = digest([repr((RATIOS, DECODINGS, scale.probed, scale.samples))])
    found = kept(folder / f"measured-{judged}.json", lambda: measure(folder, arm, seed, scale, material))
    return {"arm": arm, "seed": seed, "steps": steps, **found}


def measure(folder: Path, arm: str, seed: int, scale: Scale, material: Material) -> Record:
    """The figures of one generator."""
    model = load(str(folder), kind=MaskedGenerator)  # type: ignore[type-abstract]
    found = material.held_out
    ids, labels = found.tokens(range(len(found))).data, torch.from_numpy(found.labels)
    record: Record = {"nats": [cross_entropy(model, ids, labels, [ratio]) for ratio in RATIOS]}
    if arm in CHAINED:
        shares = [math.cos(math.pi / 2 * step / STEPS) for step in range(STEPS)]
        record["reused"] = cross_entropy(model, ids, labels, shares)
        record["anew"] = cross_entropy(model, ids, labels, shares, anew=True)
    if arm == "uniform":
        record["distances"] = distances(model, material, scale.samples, seed * scale.samples)
    return record | {"environment": environment(torch.device("cpu"))}


def distances(model: MaskedGenerator, material: Material, count: int, seed: int) -> dict[str, float]:
    """Fréchet distance of `count` samples to as many held-out images of the same classes, by each of `DECODINGS`.

    ``reconstructions`` are those images through the codes: what samples cannot be expected to be nearer than.
    """
    records = list(islice(open_images(str(material.images)), count))
    real = FeatureDistances(network())
    for start in range(0, count, DRAWN):
        images = from_uint8(np.stack([record.image for record in records[start : start + DRAWN]]))
        real.update(images, material.codes.decode(material.codes.encode(images)))
    found = {"reconstructions": real.compute()[0].value}
    labels = [int(record.label or 0) for record in records]
    for name, values in DECODINGS.items():
        options = {"guidance": 1.0, "temperature": 1.0, "masking": "cosine", **values}
        drawn = FeatureDistances(real.network)
        drawn.real = real.real
        for start in range(0, count, DRAWN):
            some = labels[start : start + DRAWN]
            seeds = range(seed + start, seed + start + len(some))
            drawn.add_output(material.codes.decode(model.sample(some, num=len(some), seed=seeds, **options)))
        found[name] = drawn.compute()[0].value
    return found


def by_frequency(tokens: TokenSet, held_out: TokenSet) -> float:
    """Nats a token of held-out images, if all that is known are the frequencies of codes in the training set."""
    (codes,) = tokens.info.codebook
    counts = torch.bincount(tokens.tokens(range(len(tokens))).data.flatten(), minlength=codes) + 1.0
    ids = held_out.tokens(range(len(held_out))).data.flatten()
    return float(F.nll_loss((counts / counts.sum()).log().expand(len(ids), codes), ids))


@torch.inference_mode()
def cross_entropy(
    model: MaskedGenerator, ids: Tensor, labels: Tensor, shares: list[float], *, anew: bool = False
) -> float:
    """Nats a masked token of ids (n, L) with labels (n,).

    Args:
        shares: falling, of the tokens that are masked in one step after the other, rounded down as in sampling. The
            masks are nested, and the same for all models. Steps that see no token do not count.
        anew: encode all that is seen in every step, in place of reusing what the step before has kept.
    """
    model.eval()
    generator = torch.Generator().manual_seed(0)
    length, total, count = layout_size(model.spec.layout), 0.0, 0
    for start in range(0, len(ids), BATCH):
        x, y = ids[start : start + BATCH], labels[start : start + BATCH]
        ranks = torch.rand(x.shape, generator=generator).argsort(1).argsort(1)
        predict: Conditioned = encoding_anew(model) if anew else model.predictor()
        for share in shares:
            masked = ranks < int(length * share)
            logits = predict(x, masked, y)
            if not bool(masked.all()):
                total += float(F.cross_entropy(logits[masked], x[masked], reduction="sum"))
                count += int(masked.sum())
    return total / count
