"""Which distance of a tokenizer tells how well a generator does on it (RobustTok, arXiv 2503.08354)?

`python -m studies.robusttok.ranking --data FOLDER` trains small tokenizers that differ in codes, dimensions, quantizer,
perturbation and length of training, and on the tokens of each two generators: one of next tokens, one of masked ones.
Tokenizers are ranked by the Fréchet distance of their reconstructions, clean (rFD) and from perturbed codes (pFD), and
by that of the generated samples (gFD). Asked for: the rank correlation with gFD is higher for pFD than for rFD.

Runs are kept beside those of the other studies, in the same work folder, and shared with them where they are alike.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from studies.charts import Panel, around, write_sheet
from studies.common import ROOT, Record, options, parse, publish, table
from studies.measure import network
from studies.ranks import bootstrap, chance, kendall, spearman
from studies.robusttok import pairs
from studies.robusttok.generation import Generation, quick_generation, run
from studies.robusttok.settings import GRID, SETTINGS, Setting, quick
from zellige.evaluate.svg import Series

NAME, MODULE = "robusttok-ranking", "robusttok.ranking"
BASE = SETTINGS["cifar10"]
FSQ = replace(BASE, dim=3, quantizer="fsq", quantizer_settings={"levels": [8, 8, 8]})
SHORT = replace(BASE, finish=250)
HALF = replace(BASE, steps=BASE.steps // 2, finish=BASE.finish // 2)


@dataclass(frozen=True)
class Variant:
    """One tokenizer: its training and whether latents are perturbed in it."""

    setting: Setting
    arm: str = "plain"


VARIANTS = {
    "512": Variant(BASE),
    "512 robust": Variant(BASE, "robust"),
    "512 robust short": Variant(SHORT, "robust"),
    "2048": Variant(replace(BASE, codes=2048)),
    "128": Variant(replace(BASE, codes=128)),
    "FSQ": Variant(FSQ),
    "512 short": Variant(SHORT),
    "512 half": Variant(HALF),
}
"""Tokenizers of 64 tokens. Unless named otherwise, codes are 512 of unit length in 16 dimensions and training is 1,800
steps; short is 1,250 and half is 900. FSQ has 512 codes too."""
GENERATORS = {
    "next token": Generation(),
    "masked": Generation(
        generator="maskgit/small",
        config={"attention_dropout": 0.0, "label_smoothing": 0.0},
        samples=1000,
        sampling={"steps": 8, "choice_temperature": 4.5},
    ),
}
PREDICTORS = {"clean": "rFD", "perturbed": "pFD", "psnr": "PSNR", "nats": "cross-entropy"}
"""What tokenizers are ranked by; the last is of a generator's tokens, and so needs one."""
Means = Mapping[str, Mapping[str, float]]
"""Figures by the name of a tokenizer."""
SETTLES = ("perturbed", "clean")
"""Asked for: the first is correlated more closely than the second."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record, tables and plot."""
    parser = options(MODULE, str(__doc__).partition("\n")[0], "robusttok")
    parser.set_defaults(seeds=1)
    parser.add_argument(
        "--only", nargs="+", choices=list(VARIANTS), help="train and measure these alone, for a later run to take up"
    )
    wanted = parse(parser, arguments)
    variants, generators = VARIANTS, GENERATORS
    if wanted.scale == "quick":
        variants = {name: replace(variant, setting=quick(variant.setting)) for name, variant in variants.items()}
        generators = {kind: quick_generation(generation) for kind, generation in generators.items()}
    chosen = {name: variants[name] for name in wanted.only or variants}
    runs = collect(chosen, generators, wanted.seeds, wanted.data, wanted.work / wanted.scale)
    if wanted.only:
        return
    record = record_of(runs, variants, generators)
    draw(record, (wanted.output or ROOT / "docs" / "images") / f"{NAME}.svg")
    publish(record, f"{tokenizers_of(record)}\n\n{correlations_of(record)}\n\n{verdict(record)}", wanted.output, MODULE)


def collect(
    variants: Mapping[str, Variant], generators: Mapping[str, Generation], seeds: int, data: Path, work: Path
) -> list[Record]:
    """Train and measure all generators on the tokens of all tokenizers, unless that is done."""
    held_out = replace(BASE.held_out, source=str(data / BASE.held_out.source))
    (images,) = {variant.setting.held_out.images for variant in variants.values()}
    judge = pairs.Judge(replace(held_out, images=images).load(), network())
    runs = []
    for name, variant in variants.items():
        for kind, generation in generators.items():
            for seed in range(seeds):
                found = run(variant.setting, generation, variant.arm, seed, data, work, judge)
                runs.append({"tokenizer": name, "generator": kind, **found})
                figures = ", ".join(f"{words} {found[key]:.2f}" for key, words in PREDICTORS.items())
                print(f"{name}, {kind}, seed {seed}: gFD {found['gfd']:.2f}, {figures}", flush=True)
    return runs


def record_of(runs: Sequence[Record], variants: Mapping[str, Variant], generators: Mapping[str, Generation]) -> Record:
    """Runs, their means over seeds, correlations, and all that was set."""
    found = {kind: means(runs, kind) for kind in generators}
    return {
        "study": NAME,
        "paper": "arXiv 2503.08354",
        "title": BASE.title,
        "grid": GRID.describe(),
        "tokenizers": {name: describe(variant) for name, variant in variants.items()},
        "generators": {kind: vars(generation) for kind, generation in generators.items()},
        "runs": list(runs),
        "means": found,
        "correlations": {kind: correlations(means) for kind, means in found.items()},
        "differences": {kind: difference(means) for kind, means in found.items()},
    }


def describe(variant: Variant) -> Record:
    """What was set of a tokenizer: its recipes, without the places of files."""
    recipe = variant.setting.recipe(Path(), variant.arm, 0)
    both = (recipe, variant.setting.finishing(recipe, Path()))
    return {"codes": variant.setting.codes, "arm": variant.arm, "recipes": [json.loads(pairs.text(r)) for r in both]}


def means(runs: Sequence[Record], kind: str) -> Means:
    """The figures of the tokenizers of a generator, over seeds."""
    found = {}
    for name in dict.fromkeys(line["tokenizer"] for line in runs if line["generator"] == kind):
        lines = [line for line in runs if (line["tokenizer"], line["generator"]) == (name, kind)]
        found[name] = {key: statistics.fmean(line[key] for line in lines) for key in ("gfd", *PREDICTORS)}
    return found


def listed(found: Means, key: str) -> np.ndarray:
    """One figure of all tokenizers, (n,)."""
    return np.array([figures[key] for figures in found.values()])


def correlations(found: Means) -> Record:
    """Rank correlations of each figure with gFD: ρ and its interval and chance, and τ."""
    result, y = {}, listed(found, "gfd")
    for key in PREDICTORS:
        x = listed(found, key)
        low, high = bootstrap(x, y, of=spearman)
        rho, tau = float(spearman(x, y)), float(kendall(x, y))
        result[key] = {"rho": rho, "low": low, "high": high, "chance": chance(x, y), "tau": tau}
    return result


def difference(found: Means) -> Record:
    """Spearman's ρ of pFD with gFD less that of rFD, and its interval."""
    lists = [listed(found, key) for key in (*SETTLES, "gfd")]
    low, high = bootstrap(*lists, of=_advantage)
    return {"difference": float(_advantage(*lists)), "low": low, "high": high}


def _advantage(perturbed: np.ndarray, clean: np.ndarray, gfd: np.ndarray) -> np.ndarray:
    return spearman(perturbed, gfd) - spearman(clean, gfd)


def tokenizers_of(record: Record) -> str:
    """A table of all tokenizers, those with the best samples of the first generator first."""
    first, *others = record["means"].values()
    rows = []
    for name, found in sorted(first.items(), key=lambda item: item[1]["gfd"]):
        figures = [f"{found[key]:.2f}" for key in ("clean", "perturbed", "psnr", "gfd")]
        more = [f"{other[name]['gfd']:.2f}" for other in others]
        rows.append((name, str(record["tokenizers"][name]["codes"]), *figures, *more))
    return table((record["title"], "K", "rFD", "pFD", "PSNR, dB", *(f"gFD, {kind}" for kind in record["means"])), rows)


def correlations_of(record: Record) -> str:
    """A table of Spearman's ρ with gFD, with its interval and chance, and Kendall's τ."""
    head, rows = [], {key: [words] for key, words in (*PREDICTORS.items(), ("", "pFD less rFD"))}
    for kind, found in record["correlations"].items():
        head += [f"ρ, {kind}", "p", "τ"]
        for key, figures in found.items():
            rows[key] += [_with_interval(figures["rho"], figures), f"{figures['chance']:.3f}", _signed(figures["tau"])]
        less = record["differences"][kind]
        rows[""] += [_with_interval(less["difference"], less), "", ""]
    return table(("rank correlation with gFD", *head), rows.values())


def verdict(record: Record) -> str:
    """Whether pFD ranks more like gFD than rFD does, and whether the interval leaves that open."""
    words = []
    for kind, found in record["differences"].items():
        met = "met" if found["difference"] > 0 else "not met"
        settled = found["low"] > 0 or found["high"] < 0
        words.append(f"{kind}: {met}{'' if settled else ', but the interval holds 0'}")
    return f"Asked for: ρ of pFD is above ρ of rFD. {'; '.join(words).capitalize()}."


def draw(record: Record, path: Path) -> None:
    """gFD over rFD and over pFD, a mark for each tokenizer; a row for each generator."""
    rows = []
    for kind, places in record["means"].items():
        y = around("gFD", [found["gfd"] for found in places.values()])
        row = []
        for key in reversed(SETTLES):
            marks = [_mark(name, record["tokenizers"][name]["arm"], found, key) for name, found in places.items()]
            rho = record["correlations"][kind][key]["rho"]
            title = f"{kind}: ρ = {_signed(rho)}"
            row.append(Panel(title, marks, around(PREDICTORS[key], [found[key] for found in places.values()]), y))
        rows.append(row)
    write_sheet(path, rows)


def _mark(name: str, arm: str, found: Mapping[str, float], key: str) -> Series:
    note = f"{name}: {PREDICTORS[key]} {found[key]:.2f}, gFD {found['gfd']:.2f}"
    return Series(name, "c1" if arm == "robust" else "c0", [(found[key], found["gfd"])], [note])


def _with_interval(value: float, found: Mapping[str, float]) -> str:
    return f"{_signed(value)} ({_signed(found['low'])} … {_signed(found['high'])})"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


if __name__ == "__main__":
    main()
