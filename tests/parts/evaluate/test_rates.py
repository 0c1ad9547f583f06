"""Codecs beside the tokenizer: real bytes, the same images, never fewer bytes than the tokenizer's."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tests.parts.evaluate.conftest import draw
from zellige.core.pixels import from_uint8
from zellige.evaluate import codecs, rates
from zellige.evaluate.codecs import CODECS, JPEG, Codec, at_bytes, available, compress
from zellige.evaluate.equal_bytes import headers, notes, rows
from zellige.evaluate.patches import PatchDistances
from zellige.evaluate.rates import RateStudy
from zellige.metrics import MSSSIM, PSNR
from zellige.metrics.features import ImageFeatures


def mean_colours() -> ImageFeatures:
    """The mean colour of each quarter, in place of a trained network."""
    torch.manual_seed(0)
    network = torch.nn.AdaptiveAvgPool2d(2)
    return ImageFeatures("mean", 12, network, lambda x: network(x).flatten(1), lambda x: x, "none")


def test_a_compressed_image_is_a_real_file() -> None:
    picture = draw(40, 56, 1)
    file = compress(picture, JPEG, 12)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=12, optimize=True)
    assert file.size == len(buffer.getvalue())
    assert np.array_equal(file.decoded, np.array(Image.open(buffer)))


@pytest.mark.parametrize("codec", available(), ids=lambda codec: codec.name)
def test_at_bytes_no_quality_is_wasted_and_no_byte_is_missing(codec: Codec) -> None:
    picture = draw(64, 80, 1)
    size = compress(picture, codec, 40).size + 1
    found = at_bytes(picture, codec, size)
    assert found.size >= size
    assert compress(picture, codec, found.quality - 1).size < size
    assert np.array_equal(found.decoded, compress(picture, codec, found.quality).decoded)


def test_only_the_file_that_is_kept_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, read = [], Image.open

    def watched(file: io.BytesIO) -> Image.Image:
        opened.append(file)
        return read(file)

    monkeypatch.setattr(codecs.Image, "open", watched)
    found = at_bytes(draw(64, 80, 1), JPEG, 2500)
    assert len(opened) == 1
    assert JPEG.scale[0] < found.quality < JPEG.scale[1]


@pytest.mark.parametrize("codec", available(), ids=lambda codec: codec.name)
def test_beyond_the_range_of_a_codec_its_ends_are_given(codec: Codec) -> None:
    picture = draw(32, 32, 1)
    assert [at_bytes(picture, codec, size).quality for size in (1, 10**7)] == list(codec.scale)


def test_an_image_that_a_codec_cannot_store_is_left_out_of_all() -> None:
    long = np.zeros((1, 16_400, 3), np.uint8)  # beyond WebP's 16,383
    study = RateStudy(limit=4)
    study.add(long, from_uint8(long), {"fixed length": 100.0})
    assert study.count == 0
    assert study.result("drawn") is None


def test_points_are_means_over_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "CURVE_IMAGES", 2)
    pictures = [draw(40, 56, 1), draw(48, 32, 2), draw(40, 40, 3)]
    outputs = [from_uint8(p) + 0.1 for p in pictures]
    study = RateStudy(limit=3)
    for picture, output in zip(pictures, outputs, strict=True):
        study.add(picture, output, {"fixed length": 4000.0, ".zel file": 5000.0})
    study.add(pictures[0], outputs[0], {"fixed length": 9e9, ".zel file": 9e9})  # beyond the limit
    result = study.result("drawn")
    assert result is not None
    fixed, zel = result.tokenizer
    shares = [1 / (40 * 56), 1 / (48 * 32)]
    assert fixed.rate.value == pytest.approx(4000 * np.mean(shares))
    assert zel.rate.value == pytest.approx(5000 * np.mean(shares))
    psnr = [PSNR().per_image(from_uint8(p), o).item() for p, o in zip(pictures, outputs, strict=True)]
    assert fixed.quality["psnr"].value == pytest.approx(np.mean(psnr[:2]), rel=1e-6)
    assert [c.codec for c in result.codecs] == [c.name for c in available()]
    for curve in result.codecs:
        assert [p.rate.value for p in curve.points] == sorted(p.rate.value for p in curve.points)
        assert {p.rate.protocol.samples for p in curve.points} == {2}
        assert curve.points[-1].quality["psnr"].value > curve.points[0].quality["psnr"].value
    own = result.at_bytes[0].point
    assert own.quality["psnr"].value == pytest.approx(np.mean(psnr), rel=1e-6)
    assert {coded.point.rate.protocol.samples for coded in result.at_bytes} == {result.images} == {3}


def test_equal_bytes_in_every_figure() -> None:
    picture = draw(176, 200, 3)
    file = compress(picture, JPEG, 30)
    study = RateStudy(4, mean_colours())
    study.add(picture, from_uint8(file.decoded), {".zel file": 8.0 * file.size})
    study.add(picture[:170], from_uint8(file.decoded[:170]), {".zel file": 8.0 * file.size})
    result = study.result("drawn")
    assert result is not None
    own, jpeg, *_ = result.at_bytes
    assert [coded.coder for coded in result.at_bytes] == ["tokenizer", *(c.name for c in CODECS if c in available())]
    assert set(own.point.quality) == set(jpeg.point.quality) == {"psnr", "ms_ssim", "fd_mean"}
    alone = PatchDistances(mean_colours())
    for rows_ in (176, 170):
        alone.add_original(from_uint8(picture[:rows_]))
        alone.add("tokenizer", from_uint8(file.decoded[:rows_]))
    distance = alone.measure("tokenizer")
    assert distance is not None
    assert own.point.quality["fd_mean"].value == pytest.approx(distance.value, rel=1e-9)
    assert own.point.quality["ms_ssim"].value == pytest.approx(
        np.mean([MSSSIM().per_image(from_uint8(picture[:n]), from_uint8(file.decoded[:n])).item() for n in (176, 170)])
    )
    assert own.point.quality["psnr"].protocol == jpeg.point.quality["psnr"].protocol
    table = rows(result)
    assert [row[0] for row in table] == [coded.coder for coded in result.at_bytes]
    assert {len(row) for row in table} == {len(headers(result))}


def test_a_codec_at_its_own_bytes_is_itself_and_beyond_its_range_that_is_said() -> None:
    picture = draw(64, 64, 3)
    file = compress(picture, JPEG, 12)
    own = from_uint8(file.decoded)
    study = RateStudy(limit=1)
    study.add(picture, own, {".zel file": 8.0 * file.size})
    result = study.result("drawn")
    assert result is not None
    tokenizer, jpeg, *_ = (coded.point for coded in result.at_bytes)
    assert jpeg.rate.value == tokenizer.rate.value
    assert jpeg.quality["psnr"].value == pytest.approx(tokenizer.quality["psnr"].value, rel=1e-6)
    study = RateStudy(limit=2)
    for size in (1.0, 1e6):
        study.add(picture, own, {".zel file": 8 * size})
    result = study.result("drawn")
    assert result is not None
    assert {(coded.larger, coded.smaller) for coded in result.at_bytes[1:]} == {(1, 1)}
    assert "JPEG’s smallest file is larger on 1 image," in notes(result)
    assert "JPEG’s largest file is smaller on 1 image," in notes(result)


def test_images_without_loss_have_no_finite_psnr_and_do_not_stop_the_study() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    study = RateStudy(limit=2)
    study.add(picture, from_uint8(picture), {".zel file": 8.0 * 700})
    result = study.result("drawn")
    assert result is not None
    assert result.tokenizer[0].quality["psnr"].value == np.inf
    assert "∞ dB" in rows(result)[0]
