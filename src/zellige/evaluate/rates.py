"""Rate and distortion of a tokenizer beside image codecs, over the same images.

The claim that tokens may make is quality at few bytes, so this reports where they lose too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from zellige.core.pixels import from_uint8
from zellige.evaluate.codecs import Codec, at_bytes, available, compress, storable
from zellige.evaluate.patches import PatchDistances
from zellige.evaluate.result import AtBytes, RateCurve, RateDistortion, RatePoint
from zellige.evaluate.threads import side_by_side
from zellige.metrics import MSSSIM, PSNR, BitsPerPixel, PerImageMetric
from zellige.metrics.features import ImageFeatures

CURVE_IMAGES = 4
"""Images that curves are over: each takes some twenty encodings and MS-SSIMs, the comparison at equal bytes three."""
TOKENIZER = "tokenizer"


class RateStudy:
    """Collects the points of a tokenizer and of the codecs, image by image; keeps running sums only.

    Args:
        limit: images taken in; the rest of a large set is not compressed, which would take longest.
        network: of the Fréchet distance over crops; None leaves it out.
    """

    def __init__(self, limit: int, network: ImageFeatures | None = None) -> None:
        self.limit, self.count = limit, 0
        self.codecs = available()
        self.points = {(c.name, q): _Point(f"{c.name} file") for c in self.codecs for q in c.qualities}
        self.own: dict[str, _Point] = {}
        self.matches = {name: _Match(name) for name in (TOKENIZER, *(c.name for c in self.codecs))}
        self.patches = PatchDistances(network) if network else None

    def add(self, picture: np.ndarray, reconstruction: Tensor, bits: Mapping[str, float]) -> None:
        """Add an image that the tokenizer stored; one that a codec cannot store is left out of everything.

        Args:
            picture: uint8 (H, W, 3).
            reconstruction: pixels (1, 3, H, W) in [-1, 1].
            bits: way of counting → bits of the image; the last one is compared with the codecs.
        """
        if self.count >= self.limit or not storable(picture):
            return
        self.count += 1
        reference, output = from_uint8(picture), reconstruction.cpu()
        *_, compared = bits.values()
        self._add_matches(picture, reference, output, compared)
        if self.count > CURVE_IMAGES:
            return
        for coding, amount in bits.items():
            self.own.setdefault(coding, _Point(coding)).add(reference, output, amount)

        def point(setting: tuple[Codec, int]) -> None:
            codec, quality = setting
            file = compress(picture, codec, quality)
            self.points[codec.name, quality].add(reference, from_uint8(file.decoded), 8 * file.size)

        side_by_side(point, [(codec, quality) for codec in self.codecs for quality in codec.qualities])

    def result(self, reference: str, resize: str = "native size") -> RateDistortion | None:
        """The study over the set called `reference`, prepared as `resize` says; None if no image was taken in."""
        if not self.count:
            return None
        on = {"reference": reference, "resize": resize}
        own = tuple(point.result(coding, on) for coding, point in self.own.items())
        curves = tuple(self._curve(codec, on) for codec in self.codecs)
        matches = tuple(match.result(on, self.patches) for match in self.matches.values())
        return RateDistortion(own, curves, matches, self.count)

    def _add_matches(self, picture: np.ndarray, reference: Tensor, output: Tensor, bits: float) -> None:
        size = round(bits / 8)

        def match(coder: Codec | None) -> None:
            if coder is None:
                if self.patches:
                    self.patches.add_original(reference)
                self._add_match(self.matches[TOKENIZER], reference, output, bits)
                return
            file = at_bytes(picture, coder, size)
            found = self.matches[coder.name]
            found.larger += file.size > size and file.quality == coder.scale[0]
            found.smaller += file.size < size
            self._add_match(found, reference, from_uint8(file.decoded), 8 * file.size)

        side_by_side(match, [*reversed(self.codecs), None])  # the slowest first

    def _add_match(self, match: _Match, reference: Tensor, output: Tensor, bits: float) -> None:
        match.point.add(reference, output, bits)
        if self.patches:
            self.patches.add(match.coder, output)

    def _curve(self, codec: Codec, on: dict[str, str]) -> RateCurve:
        points = [self.points[codec.name, q].result(f"quality {q}", on) for q in codec.qualities]
        return RateCurve(codec.name, codec.settings, tuple(sorted(points, key=lambda p: p.rate.value)))


class _Point:
    """Running means of one setting."""

    def __init__(self, coding: str) -> None:
        self.rate = BitsPerPixel(coding)
        self.metrics: tuple[PerImageMetric, ...] = (PSNR(), MSSSIM())

    def add(self, reference: Tensor, output: Tensor, bits: float) -> None:
        self.rate.update(bits, *reference.shape[-2:])
        for metric in self.metrics:
            metric.update(reference, output)

    def result(self, setting: str, on: dict[str, str]) -> RatePoint:
        measured = [m for metric in self.metrics if metric.mean.count for m in metric.compute()]
        (rate,) = self.rate.compute()
        return RatePoint(setting, rate.on(**on), {m.protocol.key: m.on(**on) for m in measured})


class _Match:
    """A coder at the tokenizer's bytes."""

    def __init__(self, coder: str) -> None:
        self.coder = coder
        self.point = _Point(".zel file" if coder == TOKENIZER else f"{coder} file")
        self.larger = self.smaller = 0

    def result(self, on: dict[str, str], patches: PatchDistances | None) -> AtBytes:
        point = self.point.result("at the tokenizer’s bytes", on)
        distance = patches.measure(self.coder) if patches else None
        if distance:
            point.quality[distance.protocol.key] = distance.on(**on)
        return AtBytes(self.coder, point, self.larger, self.smaller)
