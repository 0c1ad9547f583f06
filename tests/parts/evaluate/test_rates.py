"""Codecs beside the tokenizer: real bytes, the same images, nothing extrapolated."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.parts.evaluate.conftest import draw
from zellige.core.pixels import from_uint8
from zellige.evaluate.codecs import CODECS, available, sweep
from zellige.evaluate.rates import RateStudy
from zellige.metrics import PSNR

JPEG = CODECS[0]


def test_a_sweep_holds_real_files() -> None:
    picture = draw(40, 56, 1)
    files = list(sweep(picture, (JPEG,), workers=1))
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG.qualities[2], optimize=True)
    assert files[2].size == len(buffer.getvalue())
    assert np.array_equal(files[2].decoded, np.array(Image.open(buffer)))


def test_an_image_that_a_codec_cannot_store_is_left_out_of_all() -> None:
    long = np.zeros((1, 16_400, 3), np.uint8)  # beyond WebP's 16,383
    study = RateStudy(limit=4)
    study.add(long, from_uint8(long), {"fixed length": 100.0})
    assert study.count == 0
    assert study.result("drawn") is None


def test_points_are_means_over_the_same_images() -> None:
    pictures = [draw(40, 56, 1), draw(48, 32, 2)]
    outputs = [from_uint8(p) + 0.1 for p in pictures]
    study = RateStudy(limit=2)
    for picture, output in zip(pictures, outputs, strict=True):
        study.add(picture, output, {"fixed length": 4000.0, ".zel file": 5000.0})
    study.add(pictures[0], outputs[0], {"fixed length": 9e9, ".zel file": 9e9})  # beyond the limit
    result = study.result("drawn")
    assert result is not None
    fixed, zel = result.tokenizer
    rates = [1 / (40 * 56), 1 / (48 * 32)]
    assert fixed.rate.value == pytest.approx(4000 * np.mean(rates))
    assert zel.rate.value == pytest.approx(5000 * np.mean(rates))
    psnr = np.mean([PSNR().per_image(from_uint8(p), o).item() for p, o in zip(pictures, outputs, strict=True)])
    assert fixed.quality["psnr"].value == pytest.approx(psnr, rel=1e-6)
    assert [c.codec for c in result.codecs] == [c.name for c in available()]
    for curve in result.codecs:
        assert [p.rate.value for p in curve.points] == sorted(p.rate.value for p in curve.points)
        assert {p.rate.protocol.samples for p in curve.points} == {2}
        assert curve.points[-1].quality["psnr"].value > curve.points[0].quality["psnr"].value


def test_a_codec_at_its_own_bytes_is_itself_and_beyond_them_is_not_compared() -> None:
    picture = draw(64, 64, 3)
    files = list(sweep(picture, (JPEG,), workers=1))
    own = from_uint8(files[3].decoded)
    study = RateStudy(limit=8)
    study.add(picture, own, {".zel file": 8.0 * files[3].size})
    study.add(picture, own, {".zel file": 8.0})
    study.add(picture, own, {".zel file": 8e6})
    result = study.result("drawn")
    assert result is not None
    comparison = result.comparisons[0]
    assert comparison.codec == "JPEG"
    assert (comparison.below, comparison.above) == (1, 1)
    assert comparison.codec_psnr.value == pytest.approx(comparison.tokenizer_psnr.value, rel=1e-5)
    assert comparison.codec_psnr.protocol.samples == 1


def test_out_of_range_everywhere_gives_no_comparison() -> None:
    picture = draw(32, 32, 3)
    study = RateStudy(limit=1)
    study.add(picture, torch.zeros(1, 3, 32, 32), {".zel file": 8.0})
    result = study.result("drawn")
    assert result is not None
    assert {(c.codec_psnr, c.below) for c in result.comparisons} == {(None, 1)}


def test_images_without_loss_are_not_compared() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    study = RateStudy(limit=2)
    study.add(picture, from_uint8(picture), {".zel file": 8.0 * 700})
    result = study.result("drawn")
    assert result is not None
    assert {c.codec_psnr for c in result.comparisons} == {None}
    assert result.tokenizer[0].quality["psnr"].value == np.inf
