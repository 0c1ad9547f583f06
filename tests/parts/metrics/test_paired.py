"""PSNR and SSIM against scikit-image, and what holds for every paired metric."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage import data, filters, metrics

from zellige.core.errors import ZelligeError
from zellige.core.pixels import from_uint8
from zellige.metrics import PAIRED, PSNR, SSIM, PooledPSNR


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Two crops of a photograph, and the same ones blurred or noisy: uint8 (2, 168, 180, 3)."""
    photo = data.astronaut()
    reference = np.stack([photo[:168, 180:360], photo[200:368, 100:280]])
    blurred = filters.gaussian(reference[0], 1.2, channel_axis=-1) * 255
    noisy = reference[1] + np.random.default_rng(0).normal(0, 12, reference[1].shape)
    return reference, np.stack([blurred, noisy]).round().clip(0, 255).astype(np.uint8)


def test_psnr_of_each_image_is_scikit_images(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    ours = PSNR().per_image(*map(from_uint8, pairs))
    theirs = [metrics.peak_signal_noise_ratio(a, b) for a, b in zip(*pairs, strict=True)]
    assert ours.tolist() == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-12)])
def test_ssim_of_each_image_is_scikit_images_gaussian_one(
    pairs: tuple[np.ndarray, np.ndarray], dtype: torch.dtype, tolerance: float
) -> None:
    ours = SSIM().per_image(*(from_uint8(x).to(dtype) for x in pairs))
    theirs = [
        metrics.structural_similarity(
            a / 255,
            b / 255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
        )
        for a, b in zip(*pairs, strict=True)
    ]
    assert ours.tolist() == pytest.approx(theirs, abs=tolerance)


def test_pooled_psnr_is_that_of_the_mean_squared_error(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    metric = PooledPSNR()
    metric.update(*map(from_uint8, pairs))
    assert metric.compute()[0].value == pytest.approx(metrics.peak_signal_noise_ratio(*pairs), abs=1e-5)
    assert metric.compute()[0].protocol.key == "psnr/pooled"


@pytest.mark.parametrize("metric", PAIRED)
def test_batches_and_workers_do_not_change_the_figure(metric, pairs: tuple[np.ndarray, np.ndarray]) -> None:
    reference, output = map(from_uint8, pairs)
    whole, first, second = metric("uint8"), metric("uint8"), metric("uint8")
    whole.update(reference, output)
    first.update(reference[1:], output[1:])
    second.update(reference[:1], output[:1])
    first.merge(second)
    for ours, theirs in zip(first.compute(), whole.compute(), strict=True):
        assert ours.protocol == theirs.protocol
        assert ours.value == pytest.approx(theirs.value, rel=1e-6)  # convolutions of other batches round otherwise
        assert ours.spread == pytest.approx(theirs.spread, rel=1e-6) if theirs.spread else ours.spread is None


@pytest.mark.parametrize("metric", PAIRED)
def test_rounding_is_in_the_protocol_and_in_the_number(metric, pairs: tuple[np.ndarray, np.ndarray]) -> None:
    reference, output = map(from_uint8, pairs)
    values = {}
    for rounding in ("uint8", "float"):
        m = metric(rounding)
        m.update(reference, output + 0.9 / 255)  # less than half a step of 2/255
        (values[rounding],) = m.compute()
        assert values[rounding].protocol.rounding == rounding
    exact = metric("uint8")
    exact.update(reference, output)
    assert values["uint8"].value == exact.compute()[0].value != values["float"].value


def test_identical_images_have_infinite_psnr_and_an_ssim_of_one() -> None:
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    psnr, ssim = PSNR(), SSIM()
    for metric in (psnr, ssim):
        metric.update(x, x)
        metric.update(x, x.flip(-1))
    assert psnr.compute()[0].value == math.inf
    assert psnr.compute()[0].spread is None
    assert ssim.per_image(x, x).tolist() == pytest.approx([1, 1], abs=1e-6)


def test_an_image_too_small_for_ssim_is_left_out_and_not_counted() -> None:
    metric = SSIM()
    small = torch.zeros(1, 3, 10, 40)
    metric.update(small, small)
    with pytest.raises(ZelligeError, match="nothing was measured"):
        metric.compute()
    large = torch.rand(1, 3, 12, 40)
    metric.update(large, large)
    assert metric.compute()[0].protocol.samples == 1
