"""SSIM under the conventions of scikit-image and LlamaGen; MS-SSIM and GMSD: what must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage import data, filters, metrics

from zellige.core.errors import UsageError
from zellige.metrics import GMSD, MSSSIM, PSNR, SSIM
from zellige.metrics.windows import SSIM_CONVENTIONS


def pixels(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.astype(np.float64) / 127.5 - 1).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    photo = data.astronaut()[:181, 180:361]  # odd sides
    return photo, (filters.gaussian(photo, 1.2, channel_axis=-1) * 255).round().astype(np.uint8)


@pytest.mark.parametrize(("name", "data_range"), [("scikit-image", 1), ("llamagen", 2)])
def test_uniform_windows_are_scikit_images(pair, name: str, data_range: float) -> None:
    ours = SSIM("float", name).per_image(*map(pixels, pair)).item()
    theirs = metrics.structural_similarity(*(x / 255 for x in pair), data_range=data_range, channel_axis=-1)
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_conventions_differ_in_number_and_in_protocol(pair) -> None:
    for metric in (SSIM, MSSSIM):
        found = {}
        for name in SSIM_CONVENTIONS:
            m = metric("float", name)
            m.update(*map(pixels, pair))
            (found[name],) = m.compute()
        assert len({m.protocol.variant for m in found.values()}) == len(found)
        assert len({round(found[n].value, 7) for n in ("", "scikit-image", "llamagen", "torchmetrics")}) == 4
    with pytest.raises(UsageError, match="piq"):
        SSIM("float", "pik")
    with pytest.raises(UsageError, match="omnitokenizer"):
        PSNR("float", "omni")


def test_large_images_are_shrunk_by_piq_only() -> None:
    x = torch.linspace(-0.8, 0.8, 520).expand(1, 3, 600, 520)
    y = (x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    shrunk, whole = (SSIM("float", name).per_image(x, y).item() for name in ("piq", "piq, not shrunk"))
    halved = [torch.nn.functional.avg_pool2d(t, 2) for t in (x, y)]
    assert shrunk == pytest.approx(SSIM("float").per_image(*halved).item(), abs=1e-6)
    assert abs(shrunk - whole) > 0.01


def test_ms_ssim_is_one_for_equal_images_and_falls_with_the_damage(pair) -> None:
    reference, blurred = map(pixels, pair)
    assert MSSSIM().per_image(reference, reference).item() == pytest.approx(1)
    values = [
        MSSSIM().per_image(reference, reference + a * (blurred - reference)).item() for a in (0.25, 0.5, 0.75, 1.0)
    ]
    assert values == sorted(values, reverse=True)
    assert SSIM().per_image(reference, blurred).item() < values[-1] < 1


def test_ms_ssim_needs_161_pixels() -> None:
    x = torch.rand(1, 3, 161, 170) * 2 - 1
    assert (MSSSIM().smallest, MSSSIM("float", "torchmetrics").smallest) == (161, 176)
    for name in SSIM_CONVENTIONS:
        side = MSSSIM("float", name).smallest
        y = torch.rand(1, 3, side, side + 1) * 2 - 1
        assert MSSSIM("float", name).per_image(y, -y).isfinite().all()
    assert MSSSIM().per_image(x, x).isfinite().all()
    assert math.isnan(MSSSIM().per_image(x[..., :160, :], x[..., :160, :]).item())


def test_terms_below_zero_do_not_make_ms_ssim_complex() -> None:
    x = torch.rand(1, 3, 176, 176, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert MSSSIM("float").per_image(x, -x).item() == 0


def test_gmsd_is_zero_for_equal_images_and_blind_to_brightness(pair) -> None:
    reference, blurred = map(pixels, pair)
    assert GMSD().per_image(reference, reference).item() == 0
    assert GMSD("float").per_image(0.5 * reference, 0.5 * reference + 0.25).item() < 0.02
    assert GMSD().per_image(reference, blurred).item() > 0.04


def test_psnr_conventions() -> None:
    x = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    assert PSNR("float", "omnitokenizer").per_image(x, x).item() == pytest.approx(100)
    assert PSNR("float", "piq").per_image(x, x).item() == pytest.approx(80)
    assert PSNR("float").per_image(x, x).item() == math.inf
