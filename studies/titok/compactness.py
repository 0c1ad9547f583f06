"""Errors of tokenizers of few tokens, and of one with a grid. Legend: n images, S pixels a side."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from studies.common import Record
from studies.measure import BATCH, load_model, network
from studies.runs import kept, trained_tokenizer
from studies.titok.settings import GRID, TOKENS, Scale
from zellige.core.contract import Tokenizer
from zellige.core.pixels import from_uint8
from zellige.metrics import CodebookUsage
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import FeatureNetwork


def study(scale: Scale, seeds: int, data: Path, work: Path) -> Record:
    """All tokenizers on photographs."""
    held_out = replace(scale.photos.held_out, source=str(data / scale.photos.held_out.source))
    images, features, runs = held_out.load(), network(), []
    for seed in range(seeds):
        for arm in (*TOKENS, GRID):
            folder = trained_tokenizer(scale.compared(data, arm, seed), work, f"photos-{arm}")

            def measured(folder: Path = folder) -> Record:
                model = load_model(folder)
                size = sum(p.numel() for p in model.parameters())
                return {"parameters": size, "bits": bits(model, images), **errors(model, images, features)}

            runs.append({"arm": str(arm), "seed": seed, **kept(folder / "measured.json", measured)})
            print(f"{arm} tokens, seed {seed}: MSE {runs[-1]['mse']:.4f}", flush=True)
    return {"images": len(images), "features": f"{features.name}, {features.resize}", "runs": runs}


@torch.inference_mode()
def errors(tokenizer: Tokenizer, images: np.ndarray, features: FeatureNetwork) -> Record:
    """Mean squared error of reconstructions of uint8 (n, S, S, 3), in [-1, 1], their distance, and the codes in use."""
    distances, usage, squares = FeatureDistances(features), CodebookUsage(tokenizer.codebook), []
    for start in range(0, len(images), BATCH):
        x = from_uint8(images[start : start + BATCH])
        tokens = tokenizer.encode(x)
        output = tokenizer.decode(tokens)
        usage.update(tokens)
        distances.update(x, output)
        squares += (output.clamp(-1, 1) - x).square().mean((1, 2, 3)).tolist()
    (distance,) = distances.compute()
    used = sum(len(counts) for counts in usage.frequencies()) / sum(tokenizer.codebook)
    return {"mse": math.fsum(squares) / len(squares), "distance": distance.value, "used": used}


@torch.inference_mode()
def bits(tokenizer: Tokenizer, images: np.ndarray) -> int:
    """Of the tokens of one image, at a fixed number of bits each."""
    tokens = tokenizer.encode(from_uint8(images[:1]))
    return tokens.data.numel() * math.ceil(math.log2(tokenizer.codebook[0]))
