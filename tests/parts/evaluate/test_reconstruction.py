"""The pass over a set: figures that can be checked by hand, order, limits, and what is skipped."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.parts.evaluate.conftest import BlockMean, BlockMeanConfig, Blur, draw
from zellige.core.errors import ZelligeError
from zellige.core.pixels import from_uint8
from zellige.data import open_images
from zellige.evaluate import evaluate, reconstruction, write_json
from zellige.evaluate.reconstruction import code_profile
from zellige.metrics import PSNR, SSIM, column
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import ImageFeatures
from zellige.metrics.perceptual import lpips_distance
from zellige.nn.features.classic import alexnet
from zellige.nn.features.lpips import LPIPS


def test_figures_are_those_of_the_images_one_by_one(tokenizer: BlockMean, photos: Path) -> None:
    result = evaluate(tokenizer, photos, batch_size=2, codecs=False)
    psnr, ssim, rates = [], [], []
    for record in open_images(photos):
        x = from_uint8(record.image)
        height, width = record.image.shape[:2]
        tokens = tokenizer.encode(x)
        y = tokenizer.decode(tokens)[..., :height, :width]
        psnr.append(PSNR().per_image(x, y).item())
        ssim.append(SSIM().per_image(x, y).item())
        rates.append(tokens.num_tokens * 9 / (height * width))
    assert result["psnr"].value == pytest.approx(np.mean(psnr), rel=1e-6)
    assert result["psnr"].spread == pytest.approx(np.std(psnr, ddof=1), rel=1e-4)
    assert result["ssim"].value == pytest.approx(np.mean(ssim), rel=1e-5)
    assert result["bits_per_pixel/fixed_length"].value == pytest.approx(np.mean(rates))
    assert result["bits_per_pixel/zel_file"].value > result["bits_per_pixel/fixed_length"].value
    assert [r.key for r in result.images] == [f"{i}.png" for i in range(5)]
    assert [r.values["psnr"] for r in result.images] == pytest.approx(psnr, rel=1e-6)
    assert {(m.protocol.reference, m.protocol.resize) for m in result.measurements} == {(result.source, "native size")}


def test_batch_size_changes_nothing_but_speed(tokenizer: BlockMean, photos: Path) -> None:
    one, many = (evaluate(tokenizer, photos, batch_size=n, codecs=False) for n in (1, 8))
    for m, n in zip(one.measurements, many.measurements, strict=True):
        if "speed" not in m.protocol.metric:
            assert column([m, n])[0] == pytest.approx(n.value, rel=1e-9)
    assert one.codes == many.codes
    assert [e.result.key for e in one.examples] == [e.result.key for e in many.examples]


def test_rounding_is_said_and_makes_a_difference(tokenizer: BlockMean, photos: Path) -> None:
    as_saved, as_decoded = (evaluate(tokenizer, photos, rounding=r, codecs=False) for r in ("uint8", "float"))
    with pytest.raises(ZelligeError, match="rounding"):
        column([as_saved["psnr"], as_decoded["psnr"]])
    assert as_saved["psnr"].value != as_decoded["psnr"].value


def test_limit_progress_and_broken_files(tokenizer: BlockMean, photos: Path) -> None:
    seen: list[int] = []
    result = evaluate(tokenizer, photos, limit=3, batch_size=2, codecs=False, progress=seen.append)
    assert (result.count, seen[-1], seen) == (3, 3, sorted(seen))
    whole = evaluate(tokenizer, photos, codecs=False)
    assert [key for key, _ in whole.skipped] == ["broken.jpg"]
    assert whole.skipped_count == 1


def test_only_broken_files_is_one_clear_line(tokenizer: BlockMean, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ZelligeError, match="no image") as caught:
        evaluate(tokenizer, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_tiny_image_has_no_ssim_and_does_not_stop_the_rest(tokenizer: BlockMean, photos: Path) -> None:
    Image.fromarray(draw(1, 1, 0)).save(photos / "tiny.png")
    result = evaluate(tokenizer, photos, codecs=False)
    assert result["psnr"].protocol.samples == 6
    assert result["ssim"].protocol.samples == 5
    assert math.isnan(result.images[-1].values["ssim"])


def test_continuous_latents_have_neither_rate_nor_codes(photos: Path) -> None:
    result = evaluate(Blur(BlockMeanConfig()), photos)
    assert [m.protocol.key for m in result.measurements if "speed" not in m.protocol.key] == [
        "psnr",
        "psnr/pooled",
        "ssim",
    ]
    assert (result.codes, result.rates) == ((), None)


def test_a_tokenizer_of_one_size_gets_crops_and_the_protocol_says_so(photos: Path) -> None:
    result = evaluate(BlockMean(BlockMeanConfig(size=16)), photos, codecs=False)
    assert {(r.width, r.height, r.tokens) for r in result.images} == {(16, 16, 16)}
    assert "centre crop" in result["psnr"].protocol.resize


def test_what_is_kept_does_not_grow_with_the_set(
    tokenizer: BlockMean, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = evaluate(tokenizer, photos, codecs=False)
    monkeypatch.setattr(reconstruction, "IMAGES_LISTED", 2)
    monkeypatch.setattr(reconstruction, "EXAMPLES", 2)
    result = evaluate(tokenizer, photos, codecs=False)
    worst = sorted(everything.images, key=lambda r: r.values["psnr"])[:2]
    assert {r.key for r in result.images} == {r.key for r in worst}
    assert len(result.examples) == 2


def test_the_json_file_holds_every_figure_with_its_protocol(tokenizer: BlockMean, photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(photos / "black.png")  # reconstructed exactly: infinite PSNR
    result = evaluate(tokenizer, photos, codecs=False, command="zellige eval x y")
    write_json(result, tmp_path / "result.json")
    found = json.loads((tmp_path / "result.json").read_text("utf-8"), parse_constant=pytest.fail)
    by_key = {m["key"]: m for m in found["measurements"]}
    assert by_key["psnr"]["value"] == "inf"
    assert by_key["ssim"]["value"] == result["ssim"].value
    assert by_key["ssim"]["protocol"]["rounding"] == "uint8"
    assert found["tokenizer"]["fingerprint"] == tokenizer.fingerprint()
    assert found["command"] == "zellige eval x y"
    with pytest.raises(KeyError, match="psnr/pooled"):
        result["nothing"]


def test_a_code_profile_keeps_both_ends() -> None:
    counts = torch.arange(5000, 0, -1)
    profile = code_profile("codebook", 8192, counts)
    assert (profile.ranks[0], profile.counts[0]) == (1, 5000)
    assert (profile.ranks[-1], profile.counts[-1]) == (5000, 1)
    assert (profile.used, profile.total) == (5000, int(counts.sum()))
    assert len(profile.ranks) < 300


def test_further_metrics_are_measured_beside_the_usual_ones(tokenizer: BlockMean, photos: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 4)
    features = ImageFeatures("mean", 4, network, network, lambda x: x.mean((2, 3)), "none")
    further = [FeatureDistances(features), lpips_distance(LPIPS(alexnet()), "alex")]
    result = evaluate(tokenizer, photos, batch_size=2, codecs=False, metrics=further)
    assert result["fd_mean"].value >= 0
    assert result["fd_mean"].protocol.samples == result.count == 5
    assert result["fd_mean"].protocol.reference == result.source
    assert "fd_mean" not in result.images[0].values
    assert result["lpips/alex"].value > 0
    assert result["lpips/alex"].protocol.samples == 4  # one image is under 32 pixels
