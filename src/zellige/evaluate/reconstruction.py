"""How well a tokenizer keeps images: one pass over a set, at each image's own size.

    images → batches of one size → encode → Tokens → decode → crop → metrics
                                     (or a set)  ├→ code usage, bits        └→ examples, rates
                                                 └→ perturb → decode → pFID

Memory does not grow with the set: running sums, a bounded list of figures an image, a few examples.
Legend: B images, H W pixels.
"""

from __future__ import annotations

import heapq
import math
import random
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from zellige.codec import TokenSet
from zellige.codec.zel import EncodedImage, dumps
from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError, ZelligeError
from zellige.core.pixels import to_uint8
from zellige.core.tiling import decode_tokens, encode_image, encode_image_latents
from zellige.core.tokens import Tokens
from zellige.data import ImageRecord, ImageSource, open_images
from zellige.data.batches import by_size, stack
from zellige.evaluate.environment import environment, hardware
from zellige.evaluate.pfid import PerturbationStudy, check_perturbable
from zellige.evaluate.pictures import example
from zellige.evaluate.rates import RateStudy
from zellige.evaluate.result import CodeProfile, EvalResult, Example, ImageResult, Robustness, TokenizerFacts
from zellige.evaluate.selection import PAIRED_NAMES, Selection, select
from zellige.evaluate.sizes import resize_name, sized
from zellige.evaluate.stored import StoredTokens
from zellige.evaluate.threads import side_by_side
from zellige.metrics import (
    BitsPerPixel,
    CodebookUsage,
    Measurement,
    PairedMetric,
    Rounding,
    Throughput,
)
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.perturbed import PerturbationGrid
from zellige.metrics.rate import FIXED_LENGTH

EXAMPLES = 8
IMAGES_LISTED = 100
_PROFILE_POINTS = 240
ZEL_FILE = ".zel file"


def evaluate(
    tokenizer: Tokenizer,
    source: str | Path | ImageSource,
    *,
    batch_size: int = 8,
    precision: torch.dtype = torch.float32,
    limit: int | None = None,
    rounding: Rounding = "uint8",
    codecs: bool = True,
    codec_images: int = 64,
    names: Sequence[str] | None = PAIRED_NAMES,
    metrics: Sequence[PairedMetric] = (),
    grid: PerturbationGrid | None = None,
    stored: TokenSet | None = None,
    size: int | None = None,
    command: str = "",
    progress: Callable[[int], None] | None = None,
) -> EvalResult:
    """Encode, decode and measure every image of `source` with `tokenizer`, on the device it is on.

    Images keep their size; for a tokenizer that takes one size only they are cropped to it, and
    every protocol says so.

    Args:
        tokenizer: any image tokenizer; set to evaluation mode by the caller (`zellige.load` does).
        source: what `zellige.data.open_images` takes, or what it returns.
        batch_size: images of equal size that run together.
        precision: float32, or what autocast computes in.
        limit: at most so many images.
        rounding: measure reconstructions rounded to ``uint8``, as they would be saved, or as ``float``.
        codecs: also compress the first `codec_images` by JPEG, WebP and AVIF.
        names: metrics, of `zellige.evaluate.selection.NAMES`; None is all whose weights are on this machine. PSNR is
            measured in any case.
        metrics: further ones, fresh: `FeatureDistances` of a network of one's own, and so on. A
            `FeatureDistances` is what pFID perturbs, if `names` asks for it.
        grid: of pFID; by default the usual one.
        stored: tokens of these images, by key, that were made before: none are encoded, and pFID is around codes.
        size: crop the images to squares of this side; by default only where the tokenizer takes one size.
        command: the command line, for the record.
        progress: called with the number of images done, after every batch.

    Raises:
        UsageError: the source does not exist; a name is unknown, or its weights are not on this machine; pFID of
            continuous latents, of more neighbours than there are codes, or around latents that a set does not hold.
        ZelligeError: no image could be read.
    """
    images = open_images(source) if isinstance(source, (str, Path)) else source
    if limit is not None and limit < 1:
        raise UsageError(f"cannot evaluate {limit} images; give a limit of 1 or more")
    if grid or "pfid" in (names or ()):
        grid = grid or PerturbationGrid()
        check_perturbable(tokenizer, grid, stored=stored is not None)
    selection = select(names, rounding)
    selection.add(metrics, perturbed=grid is not None)
    study = RateStudy(codec_images, selection.patches) if codecs and tokenizer.codebook else None
    matched = None if stored is None else StoredTokens(stored)
    size = tokenizer.image_size if size is None else size
    run = _Run(tokenizer, batch_size, precision, selection, study, grid, matched, size)
    records = sized(images, size) if matched is None else matched.match(images)
    numbered = enumerate(islice(records, limit))
    for batch in by_size(numbered, batch_size, lambda item: item[1].image.shape[:2]):
        run.add(batch)
        if progress:
            progress(run.count)
    if not run.count:
        if matched and images.skipped_count:
            raise matched.none_matched(images.name)
        raise ZelligeError(f"no image of {images.name} could be read; {images.skipped_count} were skipped")
    return run.result(images, command)


class _Run:
    """The sums of one evaluation."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        batch_size: int,
        precision: torch.dtype,
        selection: Selection,
        study: RateStudy | None,
        grid: PerturbationGrid | None,
        stored: StoredTokens | None,
        size: int | None,
    ) -> None:
        self.tokenizer, self.precision, self.study = tokenizer, precision, study
        self.stored, self.size = stored, size
        self.device = tokenizer.device
        self.name, self.fingerprint = tokenizer.name, tokenizer.fingerprint()
        conditions = f"{hardware(self.device)}, {str(precision).removeprefix('torch.')}, batches of up to {batch_size}"
        self.speed = {task: Throughput(task, conditions) for task in ("encode", "decode")}
        self.paired, self.unmeasured = selection.metrics, dict(selection.missing)
        self.perturbed = None
        if grid and selection.clean:
            self.perturbed = PerturbationStudy(tokenizer, selection.clean, grid, self._decode, self._clock)
        discrete = bool(tokenizer.codebook)
        self.usage = CodebookUsage(tokenizer.codebook) if discrete else None
        self.rates = {coding: BitsPerPixel(coding) for coding in (FIXED_LENGTH, ZEL_FILE)} if discrete else {}
        self.count = 0
        self.listed: list[tuple[float, int, ImageResult]] = []  # a heap, highest PSNR on top
        self.examples: list[tuple[int, Example]] = []
        self._draw = random.Random(0)
        self._warm = False

    def add(self, batch: list[tuple[int, ImageRecord]]) -> None:
        """Encode, decode and measure images of one size, each with its number in the stream."""
        pixels = stack(record for _, record in batch)
        height, width = pixels.shape[-2:]
        latents, tokens, output = self._round_trip(pixels.to(self.device), [record.key for _, record in batch])
        output = output[..., :height, :width].float()
        reference = pixels.to(output.device)
        if self.perturbed:
            with torch.inference_mode():
                self.perturbed.add([number for number, _ in batch], reference, output, latents, tokens)
        tokens = tokens.to("cpu")
        values_of = side_by_side(lambda metric: metric.update(reference, output), self.paired)
        figures = {metric.protocol.key: each for metric, each in zip(self.paired, values_of, strict=True)}
        if self.usage:
            self.usage.update(tokens)
        for i, (number, record) in enumerate(batch):
            values = {key: each[i].item() for key, each in figures.items() if each is not None}
            self._add_image(number, record, tokens[i], output[i : i + 1], values)

    def result(self, images: ImageSource, command: str) -> EvalResult:
        """All figures, over what was added."""
        resize = self.stored.resize if self.stored else resize_name(self.size)
        found = [m for metric in self.paired for m in self._figures(metric)]
        robustness = None
        if self.perturbed:
            clean = self._figures(self.perturbed.distances.clean)
            robustness = self._robustness(self.perturbed, clean)
            found += [*clean, *([robustness.mean] if robustness else [])]
        timed = [speed for speed in self.speed.values() if speed.images]
        for other in (*self.rates.values(), *([self.usage] if self.usage else []), *timed):
            found += other.compute()
        return EvalResult(
            tokenizer=self._facts(),
            source=images.name,
            count=self.count,
            measurements=tuple(m.on(reference=images.name, resize=resize) for m in found),
            images=tuple(row for _, _, row in sorted(self.listed, key=lambda item: -item[1])),
            examples=tuple(shown for _, shown in sorted(self.examples, key=lambda item: item[0])),
            codes=self._profiles(),
            rates=self.study.result(images.name, resize) if self.study else None,
            skipped=tuple((skip.key, skip.reason) for skip in images.skipped),
            skipped_count=images.skipped_count,
            environment=environment(self.device),
            command=command,
            unmeasured=tuple(self.unmeasured.items()),
            robustness=robustness.on(reference=images.name, resize=resize) if robustness else None,
        )

    def _robustness(self, study: PerturbationStudy, clean: Sequence[Measurement]) -> Robustness | None:
        """pFID beside the clean figures; None, with the reason kept, where even those could not be had."""
        if not clean:
            self.unmeasured[study.distances.name] = self.unmeasured[study.distances.clean.protocol.title]
            return None
        return study.result(clean[0], sum(speed.seconds for speed in self.speed.values()))

    def _figures(self, metric: PairedMetric) -> tuple[Measurement, ...]:
        """Those of `metric`; none, with the reason kept, where images are too small or too few for it."""
        if isinstance(metric, FeatureDistances) and metric.manifold:
            needed = metric.manifold.neighbours + 1
            if metric.fake.count < needed:
                metric.manifold = None
                self.unmeasured["precision and recall"] = f"they need {needed} or more images"
        try:
            return metric.compute()
        except ZelligeError as error:
            self.unmeasured[metric.protocol.title] = str(error)
            return ()

    def _round_trip(self, pixels: Tensor, keys: list[str]) -> tuple[Tensor | None, Tokens, Tensor]:
        """Latents where pFID is around them, tokens, and pixels of a batch, timed, after a first batch to warm up."""
        with torch.inference_mode(), self._autocast():
            if not self._warm:
                decode_tokens(self.tokenizer, self._encode(pixels, keys)[1])
                self._warm = True
            start = self._clock()
            latents, tokens = self._encode(pixels, keys)
            middle = self._clock()
            output = decode_tokens(self.tokenizer, tokens)
            end = self._clock()
        count, height, width = len(pixels), pixels.shape[-2], pixels.shape[-1]
        if not self.stored:
            self.speed["encode"].update(count, height, width, middle - start)
        self.speed["decode"].update(count, height, width, end - middle)
        return latents, tokens, output

    def _encode(self, pixels: Tensor, keys: list[str]) -> tuple[Tensor | None, Tokens]:
        if self.stored:
            return None, self.stored.tokens(keys).to(self.device)
        if self.perturbed and self.perturbed.grid.around == "feature":
            return encode_image_latents(self.tokenizer, pixels)
        return None, encode_image(self.tokenizer, pixels)

    def _decode(self, tokens: Tokens) -> Tensor:
        with self._autocast():
            return decode_tokens(self.tokenizer, tokens)

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision is not torch.float32)

    def _add_image(
        self, number: int, record: ImageRecord, tokens: Tokens, output: Tensor, values: dict[str, float]
    ) -> None:
        height, width = record.image.shape[:2]
        bits = self._bits(tokens, height, width)
        for coding, amount in bits.items():
            self.rates[coding].update(amount, height, width)
            values[self.rates[coding].protocol.key] = amount / (height * width)
        count = tokens.num_tokens if tokens.lengths is None else int(tokens.lengths[0])
        result = ImageResult(record.key, width, height, count, values)
        self.count += 1
        self._list(number, result)
        self._show(number, record, output, result)
        if self.study:
            self.study.add(record.image, output, bits)

    def _bits(self, tokens: Tokens, height: int, width: int) -> dict[str, float]:
        """Bits of an image by each way of counting."""
        if not self.rates:
            return {}
        file = dumps(EncodedImage(tokens, width, height, self.name, self.fingerprint))
        return {FIXED_LENGTH: tokens.bits.item(), ZEL_FILE: 8 * len(file)}

    def _list(self, number: int, result: ImageResult) -> None:
        """Keep the figures of the images with the lowest PSNR."""
        heapq.heappush(self.listed, (-result.values["psnr"], -number, result))
        if len(self.listed) > IMAGES_LISTED:
            heapq.heappop(self.listed)

    def _show(self, number: int, record: ImageRecord, output: Tensor, result: ImageResult) -> None:
        """Keep a few examples, each image of the stream with the same chance (reservoir sampling)."""
        slot = len(self.examples) if len(self.examples) < EXAMPLES else self._draw.randrange(self.count)
        if slot < EXAMPLES:
            self.examples[slot : slot + 1] = [(number, example(result, record.image, to_uint8(output)[0]))]

    def _facts(self) -> TokenizerFacts:
        t = self.tokenizer
        parameters = sum(p.numel() for p in t.parameters())
        return TokenizerFacts(self.name, t.licence, self.fingerprint, parameters, t.codebook, t.stride)

    def _profiles(self) -> tuple[CodeProfile, ...]:
        if not self.usage:
            return ()
        several = len(self.usage.codebook) > 1
        return tuple(
            code_profile(f"group {i} of {len(self.usage.codebook)}" if several else "codebook", size, counts)
            for i, (size, counts) in enumerate(zip(self.usage.codebook, self.usage.frequencies(), strict=True), 1)
        )


def code_profile(label: str, size: int, counts: Tensor) -> CodeProfile:
    """The descending `counts` (n,) of the codes in use, at ranks that are even on a log axis."""
    ranks = torch.logspace(0, math.log10(len(counts)), _PROFILE_POINTS).round().long().clamp(max=len(counts))
    ranks = torch.unique_consecutive(ranks)
    at = counts[ranks - 1]
    return CodeProfile(label, size, len(counts), int(counts.sum()), tuple(ranks.tolist()), tuple(at.tolist()))
