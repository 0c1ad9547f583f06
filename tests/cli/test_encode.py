"""`zellige encode`: files, folders and sets, in batches, resumable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zellige as library
from tests.cli.conftest import Run, draw
from zellige.cli.names import FileNames
from zellige.cli.runtime import Session
from zellige.codec import TokenSet, read_zel
from zellige.core.images import load_image
from zellige.core.tokens import Tokens


def rows(path: Path) -> dict[str, tuple[tuple[int, int], Tokens]]:
    """A token set by key: size and tokens."""
    return {
        key: (size, batch.tokens[i])
        for batch in TokenSet(path).batches(100)
        for i, (key, size) in enumerate(zip(batch.keys, batch.sizes, strict=True))
    }


def same(a: Path, b: Path) -> bool:
    """Whether two token sets hold the same rows, in any order."""
    left, right = rows(a), rows(b)
    return left.keys() == right.keys() and all(
        left[key][0] == right[key][0] and torch.equal(left[key][1].data, right[key][1].data) for key in left
    )


def test_one_photo(zellige: Run, tokenizer: Path, photo: Path, tmp_path: Path) -> None:
    out = zellige("encode", photo, "-o", tmp_path / "x.zel", "-t", tokenizer, "--precision", "fp32").done().out
    assert "41×27" in out
    assert "bits per pixel" in out
    image = read_zel(tmp_path / "x.zel")
    model = library.load(tokenizer)
    assert (image.width, image.height, image.fingerprint) == (41, 27, model.fingerprint())
    assert torch.equal(image.tokens.data, model.encode(photo).data)


def test_folder_to_a_file_each(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    zellige("encode", folder, "-o", tmp_path / "out", "-t", tokenizer).done()
    found = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.zel"))
    assert found == ["0.zel", "1.zel", "2.zel", "3.zel", "4.zel", "sub/5.zel"]


def test_batches_give_the_ids_of_single_images(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    common = ("-t", tokenizer, "--precision", "fp32")
    done = zellige("encode", folder, "-o", tmp_path / "x.parquet", *common, "--json").done()
    facts = json.loads(done.out)
    assert (facts["images"], facts["skipped"], facts["bytes"]) == (6, [], (tmp_path / "x.parquet").stat().st_size)
    model = library.load(tokenizer)
    found = rows(tmp_path / "x.parquet")
    assert found.keys() == {"0.png", "1.png", "2.png", "3.png", "4.png", "sub/5.png"}
    for key, (size, tokens) in found.items():
        pixels = load_image(folder / key)
        assert size == (pixels.shape[1], pixels.shape[0])
        assert torch.equal(tokens.data, model.encode(pixels).data)


def test_size_makes_squares_of_one_layout(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    zellige("encode", folder, "-o", tmp_path / "x.parquet", "-t", tokenizer, "--size", 32).done()
    found = TokenSet(tmp_path / "x.parquet")
    assert found.info.layout == ((8, 8),)
    assert all(size == (32, 32) for size, _ in rows(tmp_path / "x.parquet").values())


def test_tar_and_parquet_of_images(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted(folder.glob("*.png"))
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for file in files:
            tar.add(file, file.name)
    pq.write_table(pa.table({"image": [file.read_bytes() for file in files]}), tmp_path / "images.parquet")
    for source in ("set.tar", "images.parquet"):
        zellige("encode", tmp_path / source, "-o", tmp_path / f"{source}.tokens.parquet", "-t", tokenizer).done()
        assert len(TokenSet(tmp_path / f"{source}.tokens.parquet")) == len(files)


def test_files_of_one_name_in_two_folders(zellige: Run, tokenizer: Path, tmp_path: Path) -> None:
    for number in range(2):
        draw(tmp_path / f"set{number}" / "a.png", seed=number)
    zellige("encode", tmp_path / "set0", tmp_path / "set1", "-o", tmp_path / "x.parquet", "-t", tokenizer).done()
    assert rows(tmp_path / "x.parquet").keys() == {"a.png", "a.png~2"}
    twice = [tmp_path / "set0" / "a.png"] * 2
    zellige("encode", *twice, "-o", tmp_path / "y.parquet", "-t", tokenizer).done()
    assert rows(tmp_path / "y.parquet").keys() == {"a.png", "a.png~2"}


def test_damaged_tar_beside_a_folder_is_named(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.tar").write_bytes(b"no tar" * 200)
    line = ("encode", folder, tmp_path / "broken.tar", "-o", tmp_path / "x.parquet", "-t", tokenizer)
    assert "broken.tar" in zellige(*line).done().err


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names that are any bytes")
def test_file_name_that_is_no_text(zellige: Run, tokenizer: Path, photo: Path, tmp_path: Path) -> None:
    strange = os.path.join(os.fsencode(tmp_path), b"set", b"caf\xe9.png")
    os.makedirs(os.path.dirname(strange))
    os.rename(photo, strange)
    zellige("encode", tmp_path / "set", "-o", tmp_path / "x.parquet", "-t", tokenizer).done()
    (key,) = rows(tmp_path / "x.parquet")
    assert key.startswith("caf")
    zellige("encode", tmp_path / "set", "-o", tmp_path / "tokens", "-t", tokenizer).done()
    zellige("reconstruct", tmp_path / "set", "-o", tmp_path / "out", "-t", tokenizer).done()


def interrupt_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Ctrl-C in the encoding of batch number `calls`."""
    original, count = Session.encode, 0

    def encode(self: Session, pixels: torch.Tensor) -> Tokens:
        nonlocal count
        count += 1
        if count > calls:
            raise KeyboardInterrupt
        return original(self, pixels)

    monkeypatch.setattr(Session, "encode", encode)


def test_interrupted_run_goes_on(
    zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("encode", folder, "-t", tokenizer, "-b", 1, "-o")
    zellige(*common, tmp_path / "whole.parquet").done()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        zellige(*common, tmp_path / "x.parquet").refused(130, "--resume")
    assert not (tmp_path / "x.parquet").exists()
    zellige(*common, tmp_path / "x.parquet").refused(2, "--resume")
    assert "3 were there before" in zellige(*common, tmp_path / "x.parquet", "--resume").done().out
    assert same(tmp_path / "x.parquet", tmp_path / "whole.parquet")
    assert not (tmp_path / "x.parquet.parts").exists()
    assert "nothing new" in zellige(*common, tmp_path / "x.parquet", "--resume").done().out
    assert same(tmp_path / "x.parquet", tmp_path / "whole.parquet")


def test_interrupted_folder_goes_on(
    zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("encode", folder, "-t", tokenizer, "-b", 1, "-o", tmp_path / "out")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        zellige(*common).refused(130, "--resume")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.zel")}
    assert len(before) == 3
    zellige(*common, "--resume").done()
    assert len([*(tmp_path / "out").rglob("*.zel")]) == 6
    assert all(p.stat().st_mtime_ns == when for p, when in before.items())


def test_killed_run_goes_on(zellige: Run, tokenizer: Path, folder: Path, tmp_path: Path) -> None:
    code = """
import os, signal, sys
from zellige.cli import sinks
from zellige.cli.app import main
sinks.SAFE_EVERY = 0.0
write, count = sinks.TokenSetSink.write, 0
def killing(self, images, tokens):
    global count
    count += 1
    if count > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, images, tokens)
sinks.TokenSetSink.write = killing
main(sys.argv[1:])
"""
    line = [str(a) for a in ("encode", folder, "-t", tokenizer, "-b", 1, "-o", tmp_path / "x.parquet")]
    done = subprocess.run([sys.executable, "-c", code, *line], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "x.parquet").exists()
    assert "2 were there before" in zellige(*line, "--resume").done().out
    assert len(TokenSet(tmp_path / "x.parquet")) == 6


def test_resume_refuses_the_tokens_of_another_tokenizer(
    zellige: Run, tokenizer: Path, other_tokenizer: Path, folder: Path, tmp_path: Path
) -> None:
    zellige("encode", folder, "-o", tmp_path / "x.parquet", "-t", tokenizer).done()
    zellige("encode", folder, "-o", tmp_path / "x.parquet", "-t", other_tokenizer, "--resume").refused(2, "x.parquet")


@settings(max_examples=60, deadline=None)
@given(keys=st.lists(st.text(max_size=30) | st.sampled_from(["a.jpg", "a.png", "../a.jpg", "/etc/x", "..", "a/b.c"])))
def test_file_names_are_unique_and_stay_in_their_folder(keys: list[str]) -> None:
    folder = Path("/somewhere/out")
    names = FileNames(folder, ".png")
    paths = [names.path(key) for key in keys]
    assert len({str(path) for path in paths}) == len(keys)
    for path in paths:
        assert path.is_relative_to(folder)
        assert ".." not in path.parts
        assert path.suffix == ".png"
        assert "\0" not in str(path)


def test_long_names_in_any_script_fit_the_file_system(tmp_path: Path) -> None:
    names = FileNames(tmp_path, ".png")
    paths = [names.path(f"{'図' * 100}{number}.png") for number in range(2)]
    assert len(set(paths)) == 2
    for path in paths:
        path.touch()
