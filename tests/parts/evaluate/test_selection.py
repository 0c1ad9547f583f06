"""Metrics by name: which are measured, and what is said of those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.parts.evaluate.conftest import BlockMean
from zellige.convert import features
from zellige.core.errors import UsageError
from zellige.evaluate import evaluate, selection
from zellige.evaluate.selection import NAMES, select
from zellige.nn.features.classic import alexnet
from zellige.nn.features.efficientnet import EfficientNetLite0
from zellige.nn.features.lpips import LPIPS


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with neither weight files nor packages that carry some."""
    monkeypatch.setattr("zellige.convert.weights.folders", lambda: [tmp_path / "weights"])
    monkeypatch.setattr("zellige.convert.weights._package_folders", lambda _: [])
    return tmp_path / "weights"


@pytest.fixture
def only_efficientnet(no_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with EfficientNet-Lite0 alone, its weights drawn here."""
    torch.manual_seed(0)
    network = EfficientNetLite0().eval()
    monkeypatch.setattr(features, "load_efficientnet_lite0", lambda _=None: network)


def titles(names: list[str] | None) -> list[str]:
    return [metric.protocol.title for metric in select(names, "uint8").metrics]


def test_names_choose_and_psnr_is_always_there(no_weights: Path) -> None:
    assert titles(["psnr"]) == ["PSNR", "PSNR, pooled"]
    assert titles(["msssim", "msssim"]) == ["PSNR", "PSNR, pooled", "MS-SSIM"]
    assert NAMES[:3] == ("psnr", "ssim", "msssim")


def test_unknown_names_get_a_hint() -> None:
    with pytest.raises(UsageError, match=r"ms-ssim.*msssim"):
        select(["psnr", "ms-ssim"], "uint8")


@pytest.mark.parametrize("name", ["fd", "kid", "prc", "lpips"])
def test_a_named_metric_without_weights_says_where_they_are_looked_for_and_what_serves(
    name: str, no_weights: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        select([name], "uint8")
    line = str(caught.value)
    assert "\n" not in line
    assert str(no_weights) in line
    assert "efficientnet" in line.lower()


def test_without_weights_everything_else_is_measured(no_weights: Path, tokenizer: BlockMean, photos: Path) -> None:
    result = evaluate(tokenizer, photos, names=None, codecs=False)
    assert {m.protocol.key for m in result.measurements} >= {"psnr", "ssim"}
    reasons = dict(result.unmeasured)
    assert {"lpips", "fd", "kid", "prc"} <= set(reasons)
    assert "too large" not in reasons["lpips"]
    assert "no image" in reasons["MS-SSIM"]


def test_efficientnet_serves_where_inception_is_not_under_its_own_name(
    only_efficientnet: None, tokenizer: BlockMean, photos: Path
) -> None:
    result = evaluate(tokenizer, photos, names=["fd", "kid", "prc"], codecs=True)
    keys = {m.protocol.key for m in result.measurements}
    assert {"fd_efficientnet_lite0", "kd_efficientnet_lite0", "recall_of_efficientnet_lite0"} <= keys
    assert "fid" not in keys
    assert result.rates is not None
    for coded in result.rates.at_bytes:
        distance = coded.point.quality["fd_efficientnet_lite0/crops_of_256"]
        assert "native size" in distance.protocol.network
    assert result.unmeasured == ()


def test_too_few_images_for_a_set_metric_leave_the_rest(
    only_efficientnet: None, tokenizer: BlockMean, photos: Path
) -> None:
    result = evaluate(tokenizer, photos, names=["fd"], limit=1, codecs=False)
    assert result["psnr"].protocol.samples == 1
    assert "2 or more images" in dict(result.unmeasured)["FD-efficientnet_lite0"]


def test_the_frechet_distance_of_few_images_stays_where_precision_and_recall_cannot(
    only_efficientnet: None, tokenizer: BlockMean, photos: Path
) -> None:
    result = evaluate(tokenizer, photos, names=["fd", "prc"], limit=3, codecs=False)
    assert result["fd_efficientnet_lite0"].protocol.samples == 3
    assert dict(result.unmeasured) == {"precision and recall": "they need 4 or more images"}


def test_lpips_takes_the_first_network_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(net: str) -> LPIPS:
        if net == "alex":
            raise UsageError("not here")
        return LPIPS(alexnet())

    monkeypatch.setattr(features, "load_lpips", load)
    (found,) = [m for m in selection.select(["lpips"], "uint8").metrics if m.protocol.metric == "LPIPS"]
    assert found.protocol.variant == "vgg"
