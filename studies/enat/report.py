"""Tables of the record."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from studies.common import Record, interval, table
from studies.enat.settings import ARMS, CHAINED, DECODINGS

TITLES = {
    "6+2": "ENAT, 6 + 2 blocks",
    "2+6": "ENAT, 2 + 6 blocks",
    "no reuse": "ENAT, 6 + 2 blocks, trained without reuse",
    "uniform": "MaskGIT, 4 blocks",
}
LEAST_SAVED, MOST_LOST = 0.3, 0.005
"""Share of the encoder's operations that reuse is to save, and what it may add to the cross-entropy."""
LEARNED = 0.1
"""Nats a token that a generator is to save over the frequencies of codes, before its figures say anything."""


def tables_of(record: Record) -> str:
    """The tables that the docs show, and what they say of what was asked for."""
    return "\n\n".join((_of_arms(record), _of_decodings(record), _of_claims(record)))


def gap(found: Record) -> float:
    """What reuse adds to the cross-entropy, as a share of it."""
    return found["reused"] / found["anew"] - 1


def verdict(met: Sequence[bool]) -> str:
    """By how many seeds something is met."""
    word = "met" if all(met) else "not met"
    return f"{word}: {sum(met)} of {len(met)} seeds"


def _by_arm(record: Record, arm: str) -> list[Record]:
    return [found for found in record["runs"] if found["arm"] == arm]


def _of_arms(record: Record) -> str:
    head = ["cross-entropy, nats, masked:", *(f"{ratio:.0%}" for ratio in record["ratios"])]
    head += ["steps", "MFLOP a sample in training", "MFLOP an image of 8 steps"]
    same = f"{record['frequencies']:.3f}"
    rows = [("frequencies of codes alone", *[same] * len(record["ratios"]), "", "", "")]
    for arm in ARMS:
        runs, cost = _by_arm(record, arm), record["costs"][arm]
        nats = [interval(same).show(".3f") for same in zip(*(found["nats"] for found in runs), strict=True)]
        flops = [f"{cost[key] / 1e6:,.0f}" for key in ("training", "total")]
        rows.append((TITLES[arm], *nats, str(runs[0]["steps"]), *flops))
    return table(head, rows)


def _of_decodings(record: Record) -> str:
    rows = []
    for name in ("reconstructions", *DECODINGS):
        distances = [found["distances"][name] for found in _by_arm(record, "uniform")]
        rows.append((name, interval(distances).show(".1f")))
    return table((f"{TITLES['uniform']}, {record['scale']['samples']:,} samples", "distance"), rows)


def _of_claims(record: Record) -> str:
    arms = {arm: _by_arm(record, arm) for arm in ARMS}
    means = {arm: [statistics.fmean(found["nats"]) for found in runs] for arm, runs in arms.items()}
    less = [few - many for few, many in zip(means["6+2"], means["2+6"], strict=True)]
    gaps = {arm: [gap(found) for found in arms[arm]] for arm in CHAINED}
    pairs = list(zip(gaps["6+2"], gaps["no reuse"], strict=True))
    costs = record["costs"]
    ratio, saved = costs["uniform"]["total"] / costs["6+2"]["total"], costs["6+2"]["saved"]
    drawn = [{name: found["distances"][name] for name in DECODINGS} for found in arms["uniform"]]
    fewer = [found["8 steps"] - found["1 step"] for found in drawn]
    order = [found["8 steps"] - found["8 steps, random order"] for found in drawn]
    learned = all(record["frequencies"] - nats > LEARNED for same in means.values() for nats in same)

    def settled(met: Sequence[bool]) -> str:
        return verdict(met) if learned else "open, as not all of them predict tokens better than frequencies do"

    rows = [
        (
            "6 + 2 less 2 + 6 blocks, as many FLOP in training: mean cross-entropy",
            _signed(less, "+.3f", " nats"),
            f"below 0: {settled([value < 0 for value in less])}",
        ),
        (
            "MaskGIT beside 6 + 2 blocks: FLOP an image",
            f"{ratio:.2f} times",
            f"above 1: {'met' if ratio > 1 else 'not met'}",
        ),
        (
            "reuse: cross-entropy along a chain of 8 steps",
            _signed([100 * value for value in gaps["6+2"]], "+.3f", " %"),
            f"at most {100 * MOST_LOST:g} %: {settled([abs(value) < MOST_LOST for value in gaps['6+2']])}",
        ),
        (
            "the same, trained without reuse",
            _signed([100 * value for value in gaps["no reuse"]], "+.3f", " %"),
            f"above the one before: {settled([ours < theirs for ours, theirs in pairs])}",
        ),
        (
            "reuse: FLOP of the encoder saved in 8 steps",
            f"{saved:.0%}",
            f"above {LEAST_SAVED:.0%}: {'met' if saved > LEAST_SAVED else 'not met'}",
        ),
        (
            "MaskGIT, 8 steps less 1: distance",
            _signed(fewer, "+.1f"),
            f"below 0: {settled([value < 0 for value in fewer])}",
        ),
        (
            "MaskGIT, 8 steps, confidence less random order: distance",
            _signed(order, "+.1f"),
            f"below 0: {settled([value < 0 for value in order])}",
        ),
    ]
    return table((record["title"], "found", "asked for"), rows)


def _signed(values: Sequence[float], form: str, unit: str = "") -> str:
    return interval(values).show(form, unit).replace("-", "−")
