"""The other commands on small pictures: decode, reconstruct, info, eval, demo, train."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zellige as library
from tests.cli.conftest import Run, draw
from zellige.codec import EncodedImage, TokenSetWriter, write_zel
from zellige.core.images import load_image
from zellige.core.pixels import to_uint8
from zellige.core.tokens import Tokens
from zellige.systems.vqgan import VQGAN


@pytest.mark.parametrize("name", ["x.zel", "x.parquet"])
def test_decode_gives_what_the_library_gives(
    zellige: Run, tokenizer: Path, photo: Path, tmp_path: Path, name: str
) -> None:
    zellige("encode", photo, "-o", tmp_path / name, "-t", tokenizer, "--precision", "fp32").done()
    common = ("-t", tokenizer, "--precision", "fp32")
    done = zellige("decode", tmp_path / name, "-o", tmp_path / "out", *common, "--json").done()
    (file,) = json.loads(done.out)["files"]
    assert (file["width"], file["height"]) == (41, 27)
    model = library.load(tokenizer)
    expected = to_uint8(model.decode(model.encode(photo)))[0, :27, :41]
    np.testing.assert_array_equal(load_image(file["file"]), expected)


def test_decode_of_a_set(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    zellige("encode", folder, "-o", tmp_path / "x.parquet", "-t", tokenizer).done()
    zellige("decode", tmp_path / "x.parquet", "-o", tmp_path / "out", "-t", tokenizer, "--format", "webp").done()
    for source in folder.rglob("*.png"):
        decoded = (tmp_path / "out" / source.relative_to(folder)).with_suffix(".webp")
        with Image.open(decoded) as image, Image.open(source) as original:
            assert image.size == original.size


def test_decode_asks_for_a_tokenizer_that_is_not_in_the_library(
    zellige: Run, tokenizer: Path, photo: Path, tmp_path: Path
) -> None:
    zellige("encode", photo, "-o", tmp_path / "x.zel", "-t", tokenizer).done()
    zellige("decode", tmp_path / "x.zel", "-o", tmp_path / "out").refused(2, "x.zel", "--tokenizer")
    zellige("decode", tmp_path / "x.zel", "-o", tmp_path / "x.png", "-t", tokenizer).refused(2, "x.png", "folder")


def test_keys_of_a_set_stay_in_the_folder(zellige: Run, tokenizer: Path, tmp_path: Path) -> None:
    model = library.load(tokenizer)
    writer = TokenSetWriter(
        tmp_path / "x.parquet", name=model.name, fingerprint=model.fingerprint(), codebook=model.codebook
    )
    keys = ["../outside.jpg", "/absolute.jpg", "a.jpg", "a.png"]
    writer.append(keys, model.encode(torch.zeros(4, 3, 8, 8)), [(8, 8)] * 4)
    writer.finish()
    zellige("decode", tmp_path / "x.parquet", "-o", tmp_path / "deep" / "out", "-t", tokenizer).done()
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png"))
    assert found == [f"deep/out/{name}.png" for name in ("a", "a.png", "absolute", "outside")]


def test_sizes_that_the_tokens_do_not_have(zellige: Run, tokenizer: Path, tmp_path: Path) -> None:
    model = library.load(tokenizer)
    tokens = Tokens(torch.zeros(1, 4, dtype=torch.int64), ((2, 2),), model.codebook)
    write_zel(tmp_path / "x.zel", EncodedImage(tokens, 500, 400, model.name, model.fingerprint()))
    zellige("decode", tmp_path / "x.zel", "-o", tmp_path / "out", "-t", tokenizer).refused(1, "500×400", "8×8")
    assert not (tmp_path / "out").exists()


def test_reconstruct(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    done = zellige("reconstruct", folder, "-o", tmp_path / "out", "-t", tokenizer).done()
    assert len([line for line in done.out.splitlines() if "PSNR" in line and "bits per pixel" in line]) == 6
    assert len([*(tmp_path / "out").rglob("*.png")]) == 6


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_every_precision(zellige: Run, tokenizer: Path, photo: Path, tmp_path: Path, precision: str) -> None:
    line = ("reconstruct", photo, "-o", tmp_path / "out", "-t", tokenizer, "--precision", precision)
    assert zellige(*line).done().err == ""
    assert load_image(tmp_path / "out" / "photo.png").shape == (27, 41, 3)
    zellige(*line[:-1], "fp8").refused(2, "fp8")


def test_reconstruct_side_by_side(zellige: Run, tokenizer: Path, photo: Path, tmp_path: Path) -> None:
    done = zellige("reconstruct", photo, "-o", tmp_path / "out", "-t", tokenizer, "--compare", "--json").done()
    (file,) = json.loads(done.out)["files"]
    picture, original = load_image(file["file"]), load_image(photo)
    assert picture.shape == (27, 82, 3)
    np.testing.assert_array_equal(picture[:, :41], original)
    error = np.square((picture[:, 41:].astype(float) - original) / 255).mean()
    assert file["psnr"] == pytest.approx(-10 * np.log10(error), abs=1e-3)


def test_originals_are_not_replaced(zellige: Run, tokenizer: Path, photo: Path, tmp_path: Path) -> None:
    original = photo.read_bytes()
    zellige("encode", photo, "-o", tmp_path / "photo.zel", "-t", tokenizer).done()
    zellige("decode", tmp_path / "photo.zel", "-o", tmp_path, "-t", tokenizer).refused(2, "photo.png", "--output")
    zellige("reconstruct", photo, "-o", tmp_path, "-t", tokenizer).refused(2, "photo.png", "--output")
    assert photo.read_bytes() == original
    zellige("reconstruct", photo, "-o", tmp_path, "-t", tokenizer, "--format", "jpg").done()


def test_info_of_every_kind(zellige: Run, tokenizer: Path, photo: Path, tmp_path: Path) -> None:
    fingerprint = library.load(tokenizer).fingerprint()
    for name in ("x.zel", "x.parquet"):
        zellige("encode", photo, "-o", tmp_path / name, "-t", tokenizer).done()
        assert json.loads(zellige("info", tmp_path / name, "--json").done().out)["fingerprint"] == fingerprint
        assert fingerprint in zellige("info", tmp_path / name).done().out
    for path in (tokenizer, tokenizer / "model.safetensors"):
        assert json.loads(zellige("info", path, "--json").done().out)["system"] == "vqgan"
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    zellige("info", tmp_path / "damaged.safetensors").refused(1, "damaged.safetensors")
    zellige("info", tmp_path).refused(2, "folder")


def test_eval(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    done = zellige("eval", tokenizer, folder, "-o", tmp_path / "out", "--limit", 3).done()
    assert "PSNR" in done.out
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["count"] == 3
    assert "<html" in (tmp_path / "out" / "report.html").read_text()
    done = zellige("eval", tokenizer, folder, "-o", tmp_path / "out", "--limit", 1, "--json").done()
    assert json.loads(done.out)["count"] == 1


def test_demo(zellige: Run, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [draw(tmp_path / "photos" / f"{name}.png", 48, 40) for name in ("one", "two")]
    monkeypatch.setattr("zellige.data.samples", lambda: photos)
    done = zellige("demo", "-t", tokenizer, "-o", tmp_path / "demo").done()
    for name in ("report.html", "contact-sheet.png", "tokens/one.zel", "reconstructed/two.png", "result.json"):
        assert (tmp_path / "demo" / name).is_file()
    assert "one.png" in done.out
    assert str(tmp_path / "demo" / "report.html") in done.out
    assert load_image(tmp_path / "demo" / "generated" / "contact-sheet.png").shape == (4 * 64, 8 * 64, 3)
    zellige("decode", tmp_path / "demo" / "tokens" / "one.zel", "-o", tmp_path / "again", "-t", tokenizer).done()
    np.testing.assert_array_equal(
        load_image(tmp_path / "again" / "one.png"), load_image(tmp_path / "demo" / "reconstructed" / "one.png")
    )


def test_train_and_resume(zellige: Run, folder: Path, tmp_path: Path) -> None:
    small = (f"data.train=[{folder}]", "data.crop=16", "batch_size=4", "config.channels=8", "checkpoint_every=1")
    line = ("train", "zellige-photo/tiny", *small, "log_every=1", "-o", tmp_path / "run")
    done = zellige(*line, "steps=1").done()
    assert done.out.split() == [str(tmp_path / "run" / "model.safetensors")]
    zellige(*line, "steps=2").refused(2, "--resume")
    zellige(*line, "steps=2", "--resume").done()
    steps = [json.loads(text)["step"] for text in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2]
    assert json.loads(zellige("info", tmp_path / "run", "--json").done().out)["system"] == "zellige-photo"


def test_train_on_missing_data_leaves_nothing(zellige: Run, tmp_path: Path) -> None:
    line = ("train", "zellige-photo/tiny", "data.train=[nowhere]", "config.channels=8", "-o", tmp_path / "run")
    zellige(*line).refused(2, "nowhere")
    assert not (tmp_path / "run").exists()


def test_eval_crops_for_a_tokenizer_of_one_size(
    zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VQGAN, "image_size", 16)
    out = json.loads(zellige("eval", tokenizer, folder, "-o", tmp_path / "out", "--json").done().out)
    assert out["count"] == 6
    assert "short side to 16, centre crop" in json.dumps(out)
    zellige("encode", folder, "-o", tmp_path / "x.parquet", "-t", tokenizer).refused(2, "--size 16")
    zellige("encode", folder, "-o", tmp_path / "x.parquet", "-t", tokenizer, "--size", 16).done()
    zellige("decode", tmp_path / "x.parquet", "-o", tmp_path / "d", "-t", tokenizer).done()
