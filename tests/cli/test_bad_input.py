"""Bad input: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import Run, draw


def contents(folder: Path) -> list[str]:
    """Everything under `folder`, hidden and temporary files too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def jpeg(width: int = 64, height: int = 48) -> bytes:
    """A JPEG of noise, large enough to be cut."""
    data = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(data).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a few bytes of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder for results."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


BROKEN = {
    "text.jpg": b"this is no picture\n" * 20,
    "truncated.jpg": jpeg()[:900],
    "empty.jpg": b"",
    "bomb.png": png_header(60_000, 60_000),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("target", ["x.zel", "x.parquet", "folder"])
def test_broken_image(zellige: Run, tokenizer: Path, tmp_path: Path, out: Path, name: str, target: str) -> None:
    (tmp_path / name).write_bytes(BROKEN[name])
    zellige("encode", tmp_path / name, "-o", out / target, "-t", tokenizer).refused(1, name)
    assert contents(out) == []


@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_missing_path(zellige: Run, tokenizer: Path, out: Path, command: str) -> None:
    zellige(command, "nowhere.jpg", "-o", out / "x", "-t", tokenizer).refused(2, "nowhere.jpg")
    assert contents(out) == []


def test_missing_path_beside_a_good_one(zellige: Run, tokenizer: Path, photo: Path, out: Path) -> None:
    zellige("encode", photo, "nowhere.jpg", "-o", out / "x.parquet", "-t", tokenizer).refused(2, "nowhere.jpg")
    assert contents(out) == []


@pytest.mark.parametrize("files", [[], ["notes.txt"]])
def test_folder_without_images(zellige: Run, tokenizer: Path, tmp_path: Path, out: Path, files: list[str]) -> None:
    (tmp_path / "nothing").mkdir()
    for name in files:
        (tmp_path / "nothing" / name).write_text("hello")
    zellige("encode", tmp_path / "nothing", "-o", out / "x.parquet", "-t", tokenizer).refused(2, "nothing")
    zellige("eval", tokenizer, tmp_path / "nothing", "-o", out / "report").refused(2, "nothing")
    assert contents(out) == []


def test_folder_of_broken_images_only(zellige: Run, tokenizer: Path, tmp_path: Path, out: Path) -> None:
    (tmp_path / "broken").mkdir()
    for name, data in BROKEN.items():
        (tmp_path / "broken" / name).write_bytes(data)
    zellige("encode", tmp_path / "broken", "-o", out / "x.parquet", "-t", tokenizer).refused(1, "4", "text.jpg")
    assert contents(out) == []


def test_broken_images_among_good_ones_are_named(zellige: Run, tokenizer: Path, folder: Path, out: Path) -> None:
    for name, data in BROKEN.items():
        (folder / name).write_bytes(data)
    done = zellige("encode", folder, "-o", out / "x.parquet", "-t", tokenizer).done()
    assert "6 images" in done.out
    for name in BROKEN:
        assert name in done.err
    assert contents(out) == ["x.parquet"]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20_000, 20)])
def test_extreme_sizes_work(zellige: Run, tokenizer: Path, tmp_path: Path, width: int, height: int) -> None:
    picture = draw(tmp_path / "extreme.png", width, height)
    zellige("encode", picture, "-o", tmp_path / "x.zel", "-t", tokenizer).done()
    zellige("decode", tmp_path / "x.zel", "-o", tmp_path / "out", "-t", tokenizer).done()
    with Image.open(tmp_path / "out" / "x.png") as image:
        assert image.size == (width, height)


def test_animated_gif_gives_its_first_frame(zellige: Run, tokenizer: Path, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (24, 20), color) for color in ("red", "blue", "green")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.png")
    for name in ("moving.gif", "still.png"):
        zellige("encode", tmp_path / name, "-o", tmp_path / f"{name}.zel", "-t", tokenizer).done()
    assert (tmp_path / "moving.gif.zel").read_bytes() == (tmp_path / "still.png.zel").read_bytes()


def test_a_file_stands_where_the_output_folder_should(
    zellige: Run, tokenizer: Path, photo: Path, folder: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    for arguments in (
        ("encode", folder, "-o", f"{blocked}/"),
        ("encode", folder, "-o", blocked / "x.parquet"),
        ("encode", photo, "-o", blocked / "x.zel"),
        ("reconstruct", photo, "-o", blocked),
    ):
        zellige(*arguments, "-t", tokenizer).refused(1, "blocked")
    assert blocked.read_text() == "a file"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc, a file system that takes no files")
def test_file_system_that_takes_no_files(zellige: Run, tokenizer: Path, photo: Path, folder: Path) -> None:
    zellige("encode", photo, "-o", "/proc/x.zel", "-t", tokenizer).refused(1, "/proc")
    zellige("encode", folder, "-o", "/proc/x.parquet", "-t", tokenizer).refused(1, "/proc")
    zellige("reconstruct", photo, "-o", "/proc/x", "-t", tokenizer).refused(1, "/proc")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 kB."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root and the mount command, to make a small tmpfs")
    point = tmp_path / "disk"
    point.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", point], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {made.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)


@pytest.mark.parametrize("target", ["x.zel", "x.parquet", "folder/"])
def test_disk_full(zellige: Run, tokenizer: Path, tmp_path: Path, small_disk: Path, target: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    zellige("encode", tmp_path / "noise.png", "-o", f"{small_disk}/{target}", "-t", tokenizer).refused(
        1, "space left on device"
    )
    assert contents(small_disk) == []


def test_disk_full_while_images_are_written(zellige: Run, tokenizer: Path, tmp_path: Path, small_disk: Path) -> None:
    picture = draw(tmp_path / "photo.png", 500, 500)
    zellige("reconstruct", picture, "-o", small_disk / "out", "-t", tokenizer).refused(1, "space left on device")
    assert contents(small_disk) == []


def test_read_only_file_system(zellige: Run, tokenizer: Path, photo: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for target in ("x.zel", "x.parquet", "folder/"):
        zellige("encode", photo, "-o", f"{small_disk}/{target}", "-t", tokenizer).refused(1, "read-only")
    zellige("reconstruct", photo, "-o", small_disk, "-t", tokenizer).refused(1, "read-only")
    zellige("eval", tokenizer, photo, "-o", small_disk).refused(1, "read-only")


def test_unknown_tokenizer_suggests_the_nearest(zellige: Run, photo: Path, out: Path) -> None:
    zellige("encode", photo, "-o", out / "x.zel", "-t", "zelige-photo").refused(2, "zelige-photo", "zellige-photo")
    zellige("eval", "zelige-photo", photo).refused(2, "zellige-photo")
    assert contents(out) == []


@pytest.mark.parametrize("name", ["x.zel", "x.parquet"])
def test_token_file_of_another_tokenizer(
    zellige: Run, tokenizer: Path, other_tokenizer: Path, photo: Path, tmp_path: Path, out: Path, name: str
) -> None:
    import zellige as library

    zellige("encode", photo, "-o", tmp_path / name, "-t", tokenizer).done()
    theirs, ours = (library.load(p).fingerprint() for p in (tokenizer, other_tokenizer))
    zellige("decode", tmp_path / name, "-o", out / "d", "-t", other_tokenizer).refused(
        2, name, theirs, ours, "--tokenizer"
    )
    assert contents(out) == []


@pytest.mark.parametrize("name", ["x.zel", "x.parquet"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_damaged_token_file(
    zellige: Run, tokenizer: Path, photo: Path, tmp_path: Path, out: Path, name: str, damage: str
) -> None:
    path = tmp_path / name
    zellige("encode", photo, "-o", path, "-t", tokenizer).done()
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 3] ^= 0xFF
    path.write_bytes(
        {"cut": data[: len(data) // 2], "flipped": data, "empty": b"", "text": b"no tokens\n" * 40}[damage]
    )
    zellige("decode", path, "-o", out / "d", "-t", tokenizer).refused(1, name)
    assert contents(out) == []


def test_decode_of_something_else(zellige: Run, tokenizer: Path, photo: Path, out: Path) -> None:
    zellige("decode", photo, "-o", out / "d", "-t", tokenizer).refused(2, "photo.png", ".zel")
    zellige("decode", "nowhere.zel", "-o", out / "d", "-t", tokenizer).refused(2, "nowhere.zel")
    zellige("info", photo).refused(2, "photo.png")
    zellige("info", "nowhere.zel").refused(2, "nowhere.zel")
    assert contents(out) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_cuda_where_there_is_none(zellige: Run, tokenizer: Path, photo: Path, out: Path, command: str) -> None:
    zellige(command, photo, "-o", out / "x.zel", "-t", tokenizer, "--device", "cuda").refused(2, "cuda", "--device cpu")
    assert contents(out) == []


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:99"])
def test_device_that_does_not_exist(zellige: Run, tokenizer: Path, photo: Path, out: Path, device: str) -> None:
    zellige("encode", photo, "-o", out / "x.zel", "-t", tokenizer, "--device", device).refused(2, device)


def test_several_images_into_one_zel(zellige: Run, tokenizer: Path, photo: Path, folder: Path, out: Path) -> None:
    zellige("encode", photo, photo, "-o", out / "x.zel", "-t", tokenizer).refused(2, "x.zel", ".parquet")
    zellige("encode", folder, "-o", out / "x.zel", "-t", tokenizer).refused(2, "x.zel", ".parquet")
    zellige("encode", photo, "-o", out / "x.png", "-t", tokenizer).refused(2, "x.png", ".zel")
    assert contents(out) == []


@pytest.mark.parametrize(
    ("setting", "words"),
    [("stepz=10", ("stepz", "steps")), ("steps=many", ("steps", "many")), ("steps", ("steps", "="))],
)
def test_recipe_mistakes(zellige: Run, out: Path, setting: str, words: tuple[str, ...]) -> None:
    zellige("train", "zellige-photo/tiny", setting, "-o", out / "run").refused(2, *words)
    assert contents(out) == []


def test_recipe_file_mistakes(zellige: Run, tmp_path: Path, out: Path) -> None:
    zellige("train", tmp_path / "nowhere.yaml", "-o", out / "run").refused(2, "nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("steps: [1, 2\n")
    zellige("train", tmp_path / "bad.yaml", "-o", out / "run").refused(2, "bad.yaml")
    assert contents(out) == []


def test_options_that_do_not_exist(zellige: Run, photo: Path) -> None:
    zellige("encode", photo, "--colour").refused(2, "--colour", "zellige encode --help")
    zellige("encode", photo).refused(2, "--output")
    zellige("encodde", photo).refused(2, "encode")
    zellige("encode", photo, "-o", "x.zel", "--batch-size", "0").refused(2, "--batch-size")
