"""Tables of the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from studies.common import Record, interval, table
from studies.enat.report import verdict
from studies.titok.settings import GRID, TOKENS

LEAST_OVER_CHANCE = 2.0
"""How many times the rate of the most frequent code the accuracy of the first stage is to be, at least."""


def tables_of(record: Record) -> str:
    """Those of the parts that the record has, as the docs show them."""
    shown: dict[str, Callable[[Record], str]] = {"compactness": of_compactness, "stages": of_stages}
    return "\n\n".join(make(record[part]) for part, make in shown.items() if part in record)


def of_compactness(found: Record) -> str:
    """Errors by tokens, and the two comparisons."""
    arms = {arm: [run for run in found["runs"] if run["arm"] == arm] for arm in (*map(str, TOKENS), GRID)}
    rows = []
    for arm, runs in arms.items():
        name = "VQGAN, 4×4 tokens" if arm == GRID else f"TiTok, {arm} tokens"
        figures = [_show(runs, "mse", ".4f"), _show(runs, "distance", ".0f"), _show(runs, "used", ".0%")]
        rows.append((name, str(runs[0]["bits"]), f"{runs[0]['parameters'] / 1e6:.2f} M", *figures))
    by_seed = list(zip(*([run["mse"] for run in runs] for runs in arms.values()), strict=True))
    falls = verdict([few > some > many for few, some, many, _ in by_seed])
    beats = verdict([some < grid for _, some, _, grid in by_seed])
    claims = [
        ("the error falls with the tokens", falls),
        (f"the error of {TOKENS[1]} tokens is below that of the grid", beats),
    ]
    head = ("photographs, 64 px", "bits", "parameters", "mean squared error", "distance", "codes in use")
    return table(head, rows) + "\n\n" + table(("asked for", "found"), claims)


def of_stages(found: Record) -> str:
    """What the stages learned, and how samples of their tokens fare."""
    runs = found["runs"]
    over = [run["accuracy"] / run["most_frequent"] for run in runs]
    rows = [
        (
            "first stage: teacher's codes told right, and share of the most frequent one",
            f"{_show(runs, 'accuracy', '.1%')}, {_show(runs, 'most_frequent', '.1%')}",
            f"at least {LEAST_OVER_CHANCE:g} times: {verdict([ratio >= LEAST_OVER_CHANCE for ratio in over])}",
        ),
        (
            "mean squared error: codes told, painted by the teacher; after the second stage",
            f"{_show(runs, 'painted', '.4f')}, {_show(runs, 'finished', '.4f')}",
            f"lower: {verdict([run['finished'] < run['painted'] for run in runs])}",
        ),
        ("the same of the teacher's own codes", _show(runs, "teacher", ".4f"), ""),
        (
            "samples classified right: without guidance, and with guidance 3",
            f"{_draw(runs, '8 steps', 'right', '.1%')}, {_draw(runs, '8 steps, guided', 'right', '.1%')}",
            f"more: {verdict([_of(run, '8 steps, guided', 'right') > _of(run, '8 steps', 'right') for run in runs])}",
        ),
        ("reconstructions of held-out images classified right", _show(runs, "right", ".1%"), ""),
        (
            "distance of samples: in 1 step, in 8 steps",
            f"{_draw(runs, '1 step', 'distance', '.1f')}, {_draw(runs, '8 steps', 'distance', '.1f')}",
            f"lower: {verdict([_of(run, '8 steps', 'distance') < _of(run, '1 step', 'distance') for run in runs])}",
        ),
        (
            "the same with guidance 3, and of reconstructions",
            f"{_draw(runs, '8 steps, guided', 'distance', '.1f')}, {_show(runs, 'reconstructed', '.1f')}",
            "",
        ),
    ]
    return table(("handwritten digits, 32 px", "found", "asked for"), rows)


def _show(runs: Sequence[Record], key: str, form: str) -> str:
    return interval([run[key] for run in runs]).show(form)


def _of(run: Record, draw: str, key: str) -> float:
    return float(run["draws"][draw][key])


def _draw(runs: Sequence[Record], draw: str, key: str, form: str) -> str:
    return interval([_of(run, draw, key) for run in runs]).show(form)
