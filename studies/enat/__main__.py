"""The command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import studies.enat
from studies.common import Record, options, parse, publish
from studies.enat.report import tables_of
from studies.enat.runs import by_frequency, costs, prepare, run
from studies.enat.settings import ARMS, QUICK, RATIOS, Scale
from studies.measure import network

NAME = "enat"
SEEDS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record and tables."""
    parser = options(NAME, str(studies.enat.__doc__).partition("\n")[0], NAME)
    parser.set_defaults(seeds=SEEDS)
    parser.add_argument("--steps", type=int, help=f"of training of the first arm; {Scale().steps:,} unless told")
    wanted = parse(parser, arguments)
    scale = QUICK if wanted.scale == "quick" else Scale()
    scale = replace(scale, steps=wanted.steps or scale.steps)
    record = study(scale, wanted.seeds, wanted.data, wanted.work / wanted.scale)
    publish(record, tables_of(record), wanted.output)


def study(scale: Scale, seeds: int, data: Path, work: Path) -> Record:
    """The record of all runs."""
    material = prepare(scale, data, work)
    cost = costs(scale, material.tokens)
    steps = {arm: max(1, round(scale.steps * cost["6+2"][0] / training)) for arm, (training, _) in cost.items()}
    steps["no reuse"] = scale.steps
    runs = []
    for seed in range(seeds):
        for arm in ARMS:
            runs.append(run(scale, arm, steps[arm], seed, material, work))
            print(f"{arm}, seed {seed}: {steps[arm]} steps, nats {runs[-1]['nats']}", flush=True)
    judge = network()
    return {
        "study": NAME,
        "papers": ["arXiv 2411.06959", "arXiv 2202.04200"],
        "title": "CIFAR-10, 32 px",
        "scale": vars(scale),
        "arms": ARMS,
        "ratios": RATIOS,
        "frequencies": by_frequency(material.tokens, material.held_out),
        "costs": {arm: {"training": one, **asdict(image), "saved": image.saved} for arm, (one, image) in cost.items()},
        "distance": f"Fréchet, {judge.name}, {judge.resize}, weights {judge.fingerprint}",
        "runs": runs,
    }


if __name__ == "__main__":
    main()
