"""Numbers that were not measured alike do not share a column; rate and speed."""

from __future__ import annotations

import pytest
import torch

from zellige.core.errors import ZelligeError
from zellige.core.tokens import Tokens
from zellige.metrics import PSNR, BitsPerPixel, Measurement, PooledPSNR, Protocol, Throughput, column


def test_like_numbers_share_a_column() -> None:
    protocol = Protocol("PSNR", unit="dB", reference="kodak", samples=24)
    assert column([Measurement(20.0, protocol), Measurement(21.0, protocol, spread=2.0)]) == [20, 21]
    assert column([]) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [({"variant": "pooled"}, "variant"), ({"samples": 100}, "samples"), ({"network_hash": "abc"}, "network hash")],
)
def test_unlike_numbers_are_refused_and_the_difference_is_named(change: dict, named: str) -> None:
    first = Measurement(20.0, Protocol("PSNR", reference="kodak", samples=24))
    with pytest.raises(ZelligeError, match=named) as caught:
        column([first, first.on(**change)])
    assert "\n" not in str(caught.value)


def test_psnr_and_pooled_psnr_share_no_column() -> None:
    x, y = torch.zeros(2, 3, 16, 16), torch.full((2, 3, 16, 16), 0.1)
    metrics = [PSNR(), PooledPSNR()]
    for metric in metrics:
        metric.update(x, y)
    with pytest.raises(ZelligeError, match="variant"):
        column([m for metric in metrics for m in metric.compute()])


def test_a_protocol_tells_all_that_is_set() -> None:
    text = Protocol("FD", "inception", network="inception-2015", network_hash="ab12", samples=50_000).describe()
    assert text == "variant: inception; samples: 50000; network: inception-2015; network hash: ab12"


def test_bits_per_pixel_is_the_mean_over_images_of_any_size() -> None:
    tokens = Tokens(torch.zeros(2, 16, dtype=torch.int64), ((4, 4),), (1024,))
    first, second = BitsPerPixel(), BitsPerPixel()
    first.update(tokens.bits, 32, 32)  # 160 bits on 1,024 pixels, twice
    second.update(80, 16, 16)
    first.merge(second)
    (rate,) = first.compute()
    assert rate.value == pytest.approx((2 * 160 / 1024 + 80 / 256) / 3)
    assert rate.protocol.samples == 3
    assert BitsPerPixel("zel").coding != rate.protocol.variant


def test_throughput_counts_images_and_pixels() -> None:
    first, second = Throughput("encode", "one CPU"), Throughput("encode", "one CPU")
    first.update(4, 100, 200, seconds=0.5)
    second.update(4, 100, 200, seconds=1.5)
    first.merge(second)
    images, megapixels = first.compute()
    assert (images.value, images.protocol.unit) == (4, "images/s")
    assert megapixels.value == pytest.approx(0.08)
    with pytest.raises(ZelligeError, match="nothing was timed"):
        Throughput("decode", "one CPU").compute()
