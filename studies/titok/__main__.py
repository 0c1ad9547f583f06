"""The command."""

from __future__ import annotations

from collections.abc import Sequence

import torch

import studies.titok
from studies.common import ROOT, options, parse, read_record, splice, write_record
from studies.titok import compactness, stages
from studies.titok.report import tables_of
from studies.titok.settings import QUICK, Scale
from zellige.evaluate.environment import environment

NAME = "titok"
PARTS = {"compactness": compactness.study, "stages": stages.study}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record and tables."""
    parser = options(NAME, str(studies.titok.__doc__).partition("\n")[0], NAME)
    parser.add_argument("--only", choices=list(PARTS), help="one part; all unless told")
    parser.set_defaults(seeds=1)
    wanted = parse(parser, arguments)
    scale = QUICK if wanted.scale == "quick" else Scale()
    path = (wanted.output or ROOT / "studies" / "results") / f"{NAME}.json"
    record = read_record(path) or {"study": NAME, "paper": "arXiv 2406.07550"}
    for name in [wanted.only] if wanted.only else PARTS:
        record[name] = PARTS[name](scale, wanted.seeds, wanted.data, wanted.work / wanted.scale)
        record["environment"] = environment(torch.device("cpu"))
        write_record(path, record)
    shown = tables_of(record)
    if wanted.output is None:
        splice(ROOT / "docs" / "studies.md", NAME, shown)
    print(shown)


if __name__ == "__main__":
    main()
