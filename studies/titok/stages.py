"""A tokenizer in two stages, and a generator of its tokens, on handwritten digits.

Legend: n images, B of a batch, N tokens.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from studies.common import Record
from studies.digits import CLASSES, TEST, TRAIN, drawn, learned, network, write_digits
from studies.measure import BATCH, load_model
from studies.probe import ClassProbe
from studies.robusttok.generation import tokenize
from studies.runs import kept, trained_generator, trained_tokenizer
from studies.titok.settings import DRAWS, Scale
from zellige.core.contract import Tokenizer
from zellige.core.pixels import from_uint8
from zellige.generate.images import open_generator
from zellige.train.teacher import TeacherCodes


def study(scale: Scale, seeds: int, _: Path, work: Path) -> Record:
    """Teacher, both stages and generator of each seed."""
    features, runs = network(), []
    data = work / "digits"
    write_digits(data)
    train, held_out = data / TRAIN, replace(scale.digits.held_out, source=str(data / TEST))
    images = held_out.load()
    for seed in range(seeds):
        place = work / f"stages-{seed}"
        teacher = trained_tokenizer(scale.teacher(data, seed), place, "teacher")
        first = trained_tokenizer(scale.proxy(data, teacher, seed), teacher, "first")
        second = trained_tokenizer(scale.finish(data, first, seed), first, "second")
        tokens = second / "tokens.parquet"
        if not tokens.is_file():
            tokenize(second, [train], scale.learned, tokens)
        drawer = trained_generator(scale.generator(tokens, second, seed), second, "generator")

        def measured(folders: tuple[Path, ...] = (teacher, first, second, drawer), seed: int = seed) -> Record:
            models = [load_model(folder) for folder in folders[:3]]
            probe = ClassProbe.fit(features, learned(models[2], train, scale.learned), CLASSES)
            drawing = open_generator(str(folders[3]), str(folders[2]))
            return {
                **learning(models[0], models[1], models[2], images),
                **drawn(drawing, DRAWS, data / TEST, len(images), seed, features, probe),
            }

        runs.append({"seed": seed, **kept(drawer / "measured.json", measured)})
    return {"images": len(images), "features": f"{features.name}, {features.resize}", "runs": runs}


@torch.inference_mode()
def learning(teacher: Tokenizer, first: Tokenizer, second: Tokenizer, images: np.ndarray) -> Record:
    """What both stages learned, on uint8 images (n, S, S, 3).

    ``accuracy`` is the share of the teacher's codes that the first stage tells right, ``most_frequent`` that of the
    commonest code. Errors are in [-1, 1]: ``painted`` of the likeliest codes through the teacher's decoder,
    ``finished`` after the second stage, ``teacher`` of the teacher's own codes.
    """
    judge, errors, right = TeacherCodes(teacher), dict[str, list[float]](), []
    counts = torch.zeros(teacher.codebook[0])
    for start in range(0, len(images), BATCH):
        x = from_uint8(images[start : start + BATCH])
        own = teacher.encode(x)
        scores = first(x).scores
        right.append(float(judge(scores, x)[1]) * len(x))
        counts += torch.bincount(own.data.flatten(), minlength=len(counts))
        told = teacher.decode(replace(own, ids=scores.flatten(2).argmax(1)))
        made = {"painted": told, "finished": second.decode(second.encode(x)), "teacher": teacher.decode(own)}
        for name, output in made.items():
            errors.setdefault(name, []).extend((output - x).square().mean((1, 2, 3)).tolist())
    found = {name: math.fsum(values) / len(values) for name, values in errors.items()}
    return {"accuracy": math.fsum(right) / len(images), "most_frequent": float(counts.max() / counts.sum()), **found}
