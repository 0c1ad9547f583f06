"""Generators of equal cost: training, cross-entropy at masks, what reuse of features costs, samples.

Legend: n images, L tokens of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from studies.common import Record, digest, read_record, write_record
from studies.enat.cost import STEPS, GenerationCost, encoding_anew, generation_cost, training_cost
from studies.enat.settings import ARMS, CHAINED, DECODINGS, RATIOS, Scale
from studies.measure import network
from studies.robusttok import pairs
from studies.robusttok.generation import tokenize
from studies.robusttok.settings import Setting
from zellige.codec import TokenSet
from zellige.core.hub import WEIGHTS
from zellige.core.registry import build
from zellige.core.tokens import layout_size
from zellige.evaluate.environment import environment
from zellige.evaluate.generation import evaluate_generator
from zellige.generate.images import open_generator
from zellige.generate.masked import Conditioned, MaskedGenerator
from zellige.metrics.distribution import FeatureDistances
from zellige.nn.precision import fast_dtype
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.generator import train_generator

BATCH = 32
"""Images whose tokens are predicted together."""
DRAWN = 100
"""Images that are drawn together."""


@dataclass(frozen=True)
class Material:
    """The tokens of a study.

    Attributes:
        tokenizer: folder of the model.
        tokens: set to train on; ``held_out`` to measure on.
        images: source of the held-out images.
    """

    tokenizer: Path
    tokens: Path
    held_out: Path
    images: Path


def prepare(setting: Setting, scale: Scale, data: Path, work: Path) -> Material:
    """The robust tokenizer of the first seed of `studies.robusttok`, which is trained if need be, and its tokens."""
    held_out = replace(setting.held_out, source=str(data / setting.held_out.source))
    judge = pairs.Judge(held_out.load(), network())
    folder = pairs.run(setting, "robust", 0, data, work, judge)["folder"]
    place = folder.parent
    tokens, apart = place / f"tokens-{scale.images}.parquet", place / f"held-out-{scale.probed}.parquet"
    source = data / setting.held_out.source
    if not tokens.is_file():
        tokenize(folder, [data / name for name in setting.train], scale.images, tokens)
    if not apart.is_file():
        tokenize(folder, [source], scale.probed, apart)
    return Material(folder, tokens, apart, source)


def costs(scale: Scale, tokens: TokenSet) -> dict[str, tuple[float, GenerationCost]]:
    """Operations of each arm: of a sample in a training step, and of the generation of an image."""
    found = {}
    for arm in ARMS:
        recipe = scale.recipe(arm, scale.steps, Path(), Path(), 0)
        spec = {"layout": tokens.info.layout, "codebook": tokens.info.codebook, "classes": 10}
        model = build(recipe.generator, **{**recipe.config, **spec})
        assert isinstance(model, MaskedGenerator)
        found[arm] = training_cost(model, scale.counted), generation_cost(model)
    return found


def run(scale: Scale, arm: str, steps: int, seed: int, material: Material, work: Path) -> Record:
    """Train and measure one generator, unless that is done."""
    recipe = scale.recipe(arm, steps, material.tokens, material.tokenizer, seed)
    text = recipe.model_dump_json(exclude={"tokens", "tokenizer"}, exclude_unset=True)
    folder = work / f"{arm.replace(' ', '-')}-{seed}-{digest([text, str(scale.images)])}"
    measured = folder / f"measured-{digest([repr((RATIOS, DECODINGS, scale.probed, scale.samples))])}.json"
    if not measured.is_file():
        if not (folder / WEIGHTS).is_file():
            train_generator(recipe, folder, resume=(folder / CHECKPOINT).is_file())
        write_record(measured, measure(folder, arm, seed, scale, material))
    return {"arm": arm, "seed": seed, "steps": steps, **read_record(measured)}


def measure(folder: Path, arm: str, seed: int, scale: Scale, material: Material) -> Record:
    """The figures of one generator."""
    images = open_generator(str(folder), str(material.tokenizer), precision=fast_dtype(torch.device("cpu")))
    model = images.generator
    assert isinstance(model, MaskedGenerator)
    found = TokenSet(material.held_out)
    ids, labels = found.tokens(range(len(found))).data, torch.from_numpy(found.labels)
    record: Record = {"nats": [cross_entropy(model, ids, labels, [ratio]) for ratio in RATIOS]}
    if arm in CHAINED:
        shares = [math.cos(math.pi / 2 * step / STEPS) for step in range(STEPS)]
        record["reused"] = cross_entropy(model, ids, labels, shares)
        record["anew"] = cross_entropy(model, ids, labels, shares, anew=True)
    if arm == "uniform":
        judge, record["distances"] = network(), {}
        for name, values in DECODINGS.items():
            result = evaluate_generator(
                images,
                material.images,
                batch_size=DRAWN,
                limit=scale.samples,
                names=["fd"],
                distances=FeatureDistances(judge),
                seed=seed * scale.samples,
                options={"guidance": 1.0, "temperature": 1.0, "masking": "cosine", **values},
            )
            (distance,) = (figure.on(reference=material.images.name) for figure in result.measurements)
            record["distances"][name] = {"value": distance.value, "protocol": distance.protocol.describe()}
    return record | {"environment": environment(torch.device("cpu"))}


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
