"""Classes under guidance: LlamaGen (arXiv 2406.06525).

`python -m studies.llamagen --data FOLDER` takes the small LlamaGen that `studies.robusttok.generation` trains on the
robust tokens of CIFAR-10, and draws samples under rising guidance. Asked for: a classifier finds the class of more of
them, and they differ less: see `studies.classes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from studies.classes import QUICK, Drawing, follow, guidance_table
from studies.common import ROOT, Record, options, parse, splice, write_record
from studies.measure import network
from studies.robusttok.generation import Generation, quick_generation, token_set, trained
from studies.robusttok.pairs import Judge, run
from studies.robusttok.settings import SETTINGS, Setting, quick
from zellige.codec import TokenSet
from zellige.evaluate.environment import hardware
from zellige.generate.images import open_generator

NAME = "llamagen"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record and table."""
    parser = options(NAME, str(__doc__).partition("\n")[0], "robusttok")
    wanted = parse(parser, arguments)
    setting, generation, drawing = SETTINGS["cifar10"], Generation(), Drawing()
    if wanted.scale == "quick":
        setting, generation, drawing = quick(setting), quick_generation(generation), replace(drawing, **QUICK)
    record = study(setting, generation, drawing, wanted.data, wanted.work / wanted.scale)
    write_record((wanted.output or ROOT / "studies" / "results") / f"{NAME}.json", record)
    shown = guidance_table(record)
    if wanted.output is None:
        splice(ROOT / "docs" / "studies.md", NAME, shown)
    print(shown)


def study(setting: Setting, generation: Generation, drawing: Drawing, data: Path, work: Path) -> Record:
    """The record."""
    judge = Judge(replace(setting.held_out, source=str(data / setting.held_out.source)).load(), network())
    model = run(setting, "robust", 0, data, work, judge)["folder"]
    sources = [data / name for name in setting.train]
    images = open_generator(str(trained(generation, model, 0, sources)), str(model))
    train = TokenSet(token_set(model, sources, generation.images))
    test = TokenSet(token_set(model, [data / setting.held_out.source], drawing.held_out, "held-out"))
    return {
        "study": NAME,
        "paper": "arXiv 2406.06525",
        "title": setting.title,
        "generation": vars(generation),
        "guidance": follow(images, train, test, judge.features, drawing),
        "hardware": hardware(torch.device("cpu")),
    }


if __name__ == "__main__":
    main()
