"""Whether guidance makes samples show their classes, and what it costs in diversity (arXiv 2207.12598).

The judge of classes is linear on features of decoded training tokens, so that it knows images as the tokenizer makes
them. Diversity is how far samples of a class lie from their mean, as a share of what held-out images do, and the
recall of held-out images by samples. Legend: n images, D features, C classes, L tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from studies.common import Record, table
from zellige.codec import TokenSet
from zellige.core.contract import Tokenizer
from zellige.core.tokens import layout_size
from zellige.generate.images import ImageGenerator
from zellige.metrics.features import FeatureNetwork
from zellige.metrics.neighbours import precision_recall

_ITERATIONS, _DECAY = 60, 1e-3
QUICK: dict[str, Any] = {"strengths": (1.0, 4.0), "samples": 12, "known": 16, "held_out": 12}
"""A drawing in a second, whose figures say nothing."""


@dataclass(frozen=True)
class Drawing:
    """Samples at several strengths of guidance, with the schedule that the generator is configured with.

    Attributes:
        strengths: of guidance, 1 for none.
        samples: of each strength, of the classes in turn, the same seeds each time; ``batch`` are drawn at a time.
        known: training images of which the judge learns the classes.
        held_out: images that the samples are compared with.
    """

    strengths: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    samples: int = 1000
    batch: int = 100
    known: int = 10_000
    held_out: int = 512


@dataclass(frozen=True)
class ClassJudge:
    """Class scores (n, C) of features (n, D): linear, by maximum likelihood with a small decay."""

    mean: Tensor
    spread: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def learned(cls, features: Tensor, labels: Tensor) -> ClassJudge:
        """Of features and their classes (n,)."""
        mean, spread = features.mean(0), features.std(0) + 1e-6
        x = (features - mean) / spread
        weight = torch.zeros(int(labels.max()) + 1, x.shape[1], requires_grad=True)
        bias = torch.zeros(len(weight), requires_grad=True)
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            found = F.cross_entropy(F.linear(x, weight, bias), labels) + _DECAY * weight.square().sum()
            found.backward()  # type: ignore[no-untyped-call]
            return found

        optimizer.step(loss)  # type: ignore[arg-type]
        return cls(mean, spread, weight.detach(), bias.detach())

    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Share of features whose class is their label."""
        scores = F.linear((features - self.mean) / self.spread, self.weight, self.bias)
        return float((scores.argmax(1) == labels).float().mean())


def follow(
    images: ImageGenerator, train: TokenSet, held_out: TokenSet, features: FeatureNetwork, drawing: Drawing
) -> Record:
    """Accuracy, spread within classes and recall of samples at each strength, and of decoded held-out tokens."""
    judge = ClassJudge.learned(*_decoded(images.tokenizer, train, features, drawing.known))
    real, labels = _decoded(images.tokenizer, held_out, features, len(held_out))
    reference = within_classes(real, labels)
    length = layout_size(images.generator.spec.layout)
    lines = []
    for strength in drawing.strengths:
        drawn, classes = _drawn(images, features, strength, drawing)
        guide = images.generator.settings({"guidance": strength}).guide()
        lines.append(
            {
                "guidance": strength,
                "first": guide.at(0.0),
                "last": guide.at((length - 1) / length),
                "accuracy": judge.accuracy(drawn, classes),
                "spread": within_classes(drawn, classes) / reference,
                "recall": precision_recall(real, drawn).recall,
            }
        )
        print(f"guidance {strength:g}: accuracy {lines[-1]['accuracy']:.3f}", flush=True)
    return {
        "drawing": vars(drawing),
        "schedule": images.generator.settings({}).schedule,
        "features": f"{features.name}, {features.resize}, weights {features.fingerprint}",
        "held_out": {"accuracy": judge.accuracy(real, labels), "count": len(real)},
        "strengths": lines,
    }


def within_classes(features: Tensor, labels: Tensor) -> float:
    """Mean squared distance of features from the mean of their class, over classes with more than one image."""
    parts = [features[labels == label] for label in labels.unique()]
    return math.fsum(float(part.var(0).sum()) * len(part) for part in parts if len(part) > 1) / len(features)


def guidance_table(record: Record) -> str:
    """A row for each strength, and what is asked for."""
    found = record["guidance"]
    lines, count = found["strengths"], found["drawing"]["samples"]
    rows = [
        (
            f"guidance {line['guidance']:g}",
            f"{line['first']:.3g} → {line['last']:.4g}",
            f"{line['accuracy']:.1%}",
            f"{line['spread']:.1%}",
            f"{line['recall']:.3f}",
        )
        for line in lines
    ]
    none, most = lines[0], lines[-1]
    deviation = math.sqrt(sum(line["accuracy"] * (1 - line["accuracy"]) for line in (none, most)) / count)
    rises = most["accuracy"] - none["accuracy"]
    verdicts = (
        f"rises by {rises:.1%} ± {2 * deviation:.1%}: {_met(rises > 2 * deviation)}",
        f"falls: {_met(most['spread'] < none['spread'])}",
        f"falls: {_met(most['recall'] < none['recall'])}",
    )
    held_out = ("held-out images, decoded", "", f"{found['held_out']['accuracy']:.1%}", "100.0%", "")
    head = (f"{count:,} samples", "first and last weight", "class accuracy", "spread within a class", "recall")
    return table(head, [*rows, held_out, ("asked for", "", *verdicts)])


def _met(holds: bool) -> str:
    return "met" if holds else "not met"


@torch.no_grad()
def _decoded(tokenizer: Tokenizer, tokens: TokenSet, features: FeatureNetwork, count: int) -> tuple[Tensor, Tensor]:
    """Features (n, D) of the first `count` decoded samples of a set, and their labels (n,)."""
    rows = torch.arange(min(count, len(tokens)))
    found = [features(tokenizer.decode(tokens.tokens(part))) for part in rows.split(16)]
    return torch.cat(found), torch.from_numpy(tokens.labels[rows.numpy()])


@torch.no_grad()
def _drawn(
    images: ImageGenerator, features: FeatureNetwork, strength: float, drawing: Drawing
) -> tuple[Tensor, Tensor]:
    """Features (n, D) of samples, and their classes (n,)."""
    seeds = torch.arange(drawing.samples)
    classes = seeds % images.generator.classes
    found = [
        features(images.draw(classes[part], part.tolist(), guidance=strength)) for part in seeds.split(drawing.batch)
    ]
    return torch.cat(found), classes
