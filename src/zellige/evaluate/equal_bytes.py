"""The comparison with image codecs at the tokenizer's own bytes, in words: for the terminal and the page."""

from __future__ import annotations

from zellige.evaluate.figures import show_measurement
from zellige.evaluate.result import AtBytes, RateDistortion


def title(study: RateDistortion) -> str:
    """What the rows are over."""
    return f"At the tokenizer’s own bytes, {_images(study.images)}"


def headers(study: RateDistortion) -> tuple[str, ...]:
    """Names of the columns."""
    quality = study.at_bytes[0].point.quality.values()
    return ("", "bits per pixel", *(m.protocol.title for m in quality))


def rows(study: RateDistortion) -> list[tuple[str, ...]]:
    """The tokenizer, then the codecs."""
    return [
        (
            coded.coder,
            show_measurement(coded.point.rate).removesuffix(" bpp"),
            *(show_measurement(m) for m in coded.point.quality.values()),
        )
        for coded in study.at_bytes
    ]


def notes(study: RateDistortion) -> str:
    """How the codecs' files were chosen."""
    rule = "Of each codec and image, the lowest quality whose file is no smaller than the tokenizer’s."
    return " ".join([rule, *(f"{line}." for coded in study.at_bytes for line in _beyond(coded))])


def _beyond(coded: AtBytes) -> list[str]:
    lines = []
    if coded.larger:
        lines.append(f"{coded.coder}’s smallest file is larger on {_images(coded.larger)}, and counts as it is")
    if coded.smaller:
        lines.append(f"{coded.coder}’s largest file is smaller on {_images(coded.smaller)}, and counts as it is")
    return lines


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
