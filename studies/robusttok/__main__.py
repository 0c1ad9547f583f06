"""The command."""

from __future__ import annotations

from collections.abc import Sequence

import studies.robusttok
from studies.common import ROOT, options, parse, read_record, splice, write_record
from studies.robusttok.pairs import study
from studies.robusttok.report import draw_map, draw_pictures, rates_of, table_of
from studies.robusttok.settings import SETTINGS, quick
from zellige.core.files import replacing

NAME = "robusttok"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and write its record, tables and pictures."""
    parser = options(NAME, str(studies.robusttok.__doc__).partition("\n")[0], NAME)
    parser.add_argument("--only", choices=list(SETTINGS), help="one set of images; all unless told")
    wanted = parse(parser, arguments)
    results = wanted.output or ROOT / "studies" / "results"
    pictures = wanted.output or ROOT / "docs" / "images"
    chosen = [SETTINGS[wanted.only]] if wanted.only else list(SETTINGS.values())
    settings = [quick(setting) if wanted.scale == "quick" else setting for setting in chosen]
    record = read_record(results / f"{NAME}.json") or {"study": NAME, "paper": "arXiv 2503.08354", "sets": {}}
    shown, work = [], wanted.work / wanted.scale
    for setting in settings:
        record["sets"][setting.name], runs, judge = study(setting, wanted.seeds, wanted.data, work)
        write_record(results / f"{NAME}.json", record)
        shown.append((setting, runs, judge))
    tables = f"{table_of(record['sets'])}\n\n{rates_of(record['sets'])}"
    with replacing(results / f"{NAME}.md") as temporary:
        temporary.write_text(f"# RobustTok\n\n{tables}\n", "utf-8")
    draw_map(pictures / "pfid-map.svg", record["sets"])
    draw_pictures(pictures / "perturbation.jpg", shown)
    if wanted.output is None:
        splice(ROOT / "docs" / "studies.md", NAME, table_of(record["sets"]))
    print(tables)


if __name__ == "__main__":
    main()
