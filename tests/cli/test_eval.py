"""`zellige eval`: metrics by name, the comparison with codecs, and with an earlier evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_metrics_by_name(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    done = zellige("eval", tokenizer, folder, "-o", tmp_path, "--limit", 2, "--metrics", "psnr, ssim", "--json").done()
    metrics = {m["protocol"]["metric"] for m in json.loads(done.out)["measurements"]}
    assert {"PSNR", "SSIM"} <= metrics
    assert not {"MS-SSIM", "FD-efficientnet_lite0"} & metrics


def test_wrong_and_missing_metrics_are_one_line(
    zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("eval", tokenizer, folder, "-o", tmp_path / "out", "--metrics")
    zellige(*line, "psnr,sim").refused(2, "unknown metric 'sim'", "ssim")
    monkeypatch.setattr("zellige.convert.weights._package_folders", lambda _: [])
    monkeypatch.setenv("ZELLIGE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    zellige(*line, "lpips").refused(2, str(tmp_path / "weights"), "efficientnet_lite0", "metric fd")
    zellige(*line, "fd").refused(2, str(tmp_path / "weights"), "zellige[features]")
    assert not (tmp_path / "out").exists()


def test_it_prints_the_codecs_at_equal_bytes(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    done = zellige("eval", tokenizer, folder, "-o", tmp_path, "--limit", 2, "--metrics", "psnr").done()
    assert "own bytes, 2 images" in done.out
    for coder in ("tokenizer", "JPEG"):
        assert any(coder in line and " dB" in line for line in done.out.splitlines())
    assert "own bytes" in (tmp_path / "report.html").read_text("utf-8")
    study = json.loads((tmp_path / "result.json").read_text("utf-8"))["rates"]
    assert [coded["coder"] for coded in study["at_bytes"]][:2] == ["tokenizer", "JPEG"]


def test_against_an_earlier_evaluation(
    zellige: Run, tokenizer: Path, other_tokenizer: Path, folder: Path, tmp_path: Path
) -> None:
    line = (folder, "-o", tmp_path / "out", "--metrics", "psnr", "--limit")
    zellige("eval", tokenizer, *line, 2).done()
    earlier = tmp_path / "out" / "result.json"
    kept = tmp_path / "kept.json"
    kept.write_bytes(earlier.read_bytes())
    done = zellige("eval", other_tokenizer, *line, 2, "--against", earlier).done()  # which this run writes over
    assert "Against" in done.out
    assert "change" in done.out
    zellige("eval", other_tokenizer, *line, 3, "--against", kept).refused(1, "samples is '2' in one and '3'")
    zellige("eval", tokenizer, *line, 2, "--against", tmp_path / "nothing.json").refused(2, "nothing.json")
    (tmp_path / "text.json").write_text("text")
    zellige("eval", tokenizer, *line, 2, "--against", tmp_path / "text.json").refused(1, "text.json")
