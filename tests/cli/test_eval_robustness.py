"""`zellige eval --metrics pfid` and `--compare`: what they print and write, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import zellige as library
from tests.cli.conftest import Run
from zellige.metrics.features import ImageFeatures

CONV = {
    "channels": 8,
    "multipliers": [1, 2],
    "patch": 2,
    "blocks": 1,
    "decoder_blocks": 1,
    "latent": 4,
    "norm": "channel",
    "attention": False,
    "dim": 4,
}


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set metrics by a small random network, so that no weights are needed."""
    torch.manual_seed(5)
    conv = torch.nn.Conv2d(3, 4, 5)
    features = ImageFeatures("tiny", 4, conv, lambda x: conv(x).amax((2, 3)), lambda x: x, "native size")
    monkeypatch.setattr("zellige.evaluate.selection._network", lambda: features)
    monkeypatch.setattr("zellige.evaluate.selection._patches", lambda: None)


@pytest.fixture(scope="module")
def continuous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("continuous")
    library.build("vqgan/f16", **CONV, quantizer="gaussian", quantizer_settings={}).save_pretrained(folder)
    return folder


def test_pfid_with_its_grid(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    line = ("eval", tokenizer, folder, "-o", tmp_path / "out", "--metrics", "psnr,pfid", "--limit", 3)
    grid = ("--pfid-alphas", "0.5,1", "--pfid-deltas", "2,9", "--pfid-seed", 3)
    done = zellige(*line, *grid).done()
    assert "pFD-tiny" in done.out
    assert "around the feature, all images, seed 3" in " ".join(done.out.split())
    assert "pFD-tiny over 3 images, fewer than the 5" in done.err
    found = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    cells = found["robustness"]["cells"]
    assert [(c["alpha"], c["delta"]) for c in cells] == [(0.5, 2), (0.5, 9), (1.0, 2), (1.0, 9)]
    values = {m["key"]: m["value"] for m in found["measurements"]}
    assert values["pfd_tiny"] == pytest.approx(sum(c["distance"]["value"] for c in cells) / 4)
    assert values["fd_tiny"] == found["robustness"]["clean"]["value"]
    assert found["robustness"]["grid"]["seed"] == 3
    assert "Robustness" in (tmp_path / "out" / "report.html").read_text("utf-8")
    other = zellige(*line, *grid[:-1], 4, "--json").done()
    assert json.loads(other.out)["robustness"]["mean"]["value"] != values["pfd_tiny"]


def test_deltas_scale_with_the_codebook(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    line = ("eval", tokenizer, folder, "-o", tmp_path, "--metrics", "pfid", "--limit", 2)
    found = json.loads(zellige(*line, "--pfid-scale", "--pfid-alphas", 0.9, "--json").done().out)
    assert [c["delta"] for c in found["robustness"]["cells"]] == [31, 43, 55]  # of 625 codes
    assert "· K/4096" in found["robustness"]["mean"]["protocol"]["conditions"]


def test_pfid_that_cannot_be(
    zellige: Run, tokenizer: Path, continuous: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    line = ("eval", tokenizer, folder, "-o", out, "--metrics", "pfid")
    zellige(*line, "--pfid-deltas", "2,626").refused(2, "delta 626", "625 codes", "--pfid-scale")
    zellige(*line, "--pfid-alphas", "0.5,1.5").refused(2, "[0, 1]", "1.5")
    zellige(*line, "--pfid-alphas", "-1").refused(2, "[0, 1]")
    zellige(*line, "--pfid-alphas", "").refused(2, "empty")
    zellige(*line, "--pfid-alphas", "half").refused(2, "--pfid-alphas", "half")
    zellige(*line, "--pfid-deltas", "2.5").refused(2, "--pfid-deltas", "whole")
    zellige(*line, "--pfid-deltas", "0").refused(2, "1 or more")
    zellige(*line, "--pfid-around", "codes").refused(2, "codes", "feature")
    zellige("eval", continuous, folder, "-o", out, "--metrics", "pfid").refused(2, "continuous latents", "fd")
    zellige(*line[:-1], "psnr", "--pfid-deltas", "2").refused(2, "--pfid-deltas", "--metrics pfid")
    zellige(*line[:-2], "--pfid-scale").refused(2, "--pfid-scale", "--metrics pfid")
    assert not out.exists()


def test_a_token_set_beside_its_images(
    zellige: Run, tokenizer: Path, folder: Path, photo: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "set.parquet"
    zellige("encode", folder, "-o", tokens, "-t", tokenizer, "--precision", "fp32").done()
    out = ("-o", tmp_path / "out", "--json", "--metrics")
    pfid = ("psnr,pfid", "--pfid-deltas", "2,9", "--pfid-alphas", "0.9", "--limit", 2)
    found = json.loads(zellige("eval", tokens, folder, "-t", tokenizer, *out, *pfid).done().out)
    anew = json.loads(zellige("eval", tokenizer, folder, *out, *pfid, "--pfid-around", "code").done().out)
    assert found["robustness"]["grid"]["around"] == "code"
    for ours, theirs in zip(found["robustness"]["cells"], anew["robustness"]["cells"], strict=True):
        assert ours == theirs
    assert found["measurements"][0] == anew["measurements"][0]
    line = ("eval", tokens, folder, "-o", tmp_path / "other", "-t", tokenizer)
    zellige(*line, "--metrics", "pfid", "--pfid-around", "feature").refused(2, "no latents", "code")
    zellige("eval", tokens, folder).refused(2, "--tokenizer")
    zellige("eval", tokens, photo, "-t", tokenizer, "-o", tmp_path / "other").refused(
        2, "has its tokens", "set.parquet"
    )
    zellige("eval", tokens).refused(2, "TOKENIZER and DATA")
    zellige("eval", tokenizer, folder, "-t", tokenizer).refused(2, "--tokenizer is for token sets")
    for path in sorted(folder.rglob("*.png"))[1:]:
        path.unlink()
    assert "5 of the 6 rows" in zellige(*line, "--metrics", "psnr").done().err
    zel = tmp_path / "photo.zel"
    zellige("encode", photo, "-o", zel, "-t", tokenizer).done()
    zellige("eval", zel, photo, "-t", tokenizer).refused(2, "one image", ".parquet")


def test_tokenizers_side_by_side(
    zellige: Run, tokenizer: Path, other_tokenizer: Path, continuous: Path, folder: Path, tmp_path: Path
) -> None:
    names = (tokenizer, other_tokenizer, continuous)
    done = zellige("eval", "--compare", *names, "--metrics", "ssim,fd", "-o", tmp_path / "out", "--", folder).done()
    for word in ("PSNR ↑", "FD-tiny ↓", "bits per pixel", "encode speed", "parameters", "–"):
        assert word in done.out
    found = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert found["tokenizers"] == [str(name) for name in names]
    assert [row["title"] for row in found["table"]][:2] == ["PSNR", "PSNR, pooled"]
    assert found["command"].startswith("zellige eval --compare ")
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert text.count("<img") == 6 * 4
    pfid = ("--metrics", "pfid", "--pfid-deltas", 4, "--pfid-alphas", 0.9, "-o", tmp_path / "two", "--json")
    two = json.loads(zellige("eval", "--compare", *names[:2], folder, *pfid).done().out)
    titles = [row["title"] for row in two["table"]]
    assert titles.index("pFD-tiny") == titles.index("FD-tiny") + 1


def test_tokenizers_that_cannot_be_compared(
    zellige: Run, tokenizer: Path, other_tokenizer: Path, continuous: Path, folder: Path, tmp_path: Path
) -> None:
    line = ("eval", "-o", tmp_path / "out", "--compare")
    zellige(*line, tokenizer, folder).refused(2, "two or more")
    zellige(*line, tokenizer, tokenizer, folder).refused(2, str(tokenizer), "same weights")
    pfid = ("--metrics", "pfid", "--pfid-deltas", 4)
    zellige(*line, tokenizer, continuous, folder, *pfid).refused(2, str(continuous), "by pFID", "continuous")
    zellige(*line, tokenizer, other_tokenizer, folder, "--against", tmp_path / "x.json").refused(2, "--against")
    zellige("eval", tokenizer, other_tokenizer, folder).refused(2, "--compare A B C DATA")
    tokens = tmp_path / "set.parquet"
    zellige("encode", folder, "-o", tokens, "-t", tokenizer).done()
    zellige(*line, tokens, other_tokenizer, folder).refused(2, "token set", "--compare takes tokenizers")
    assert not (tmp_path / "out").exists()
