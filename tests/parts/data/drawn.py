"""Sets of images that the data tests draw for themselves."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(number: int, width: int = 40, height: int = 30) -> bytes:
    """A picture whose grey level is `number`."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (number,) * 3).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def noise(path: Path, count: int, size: tuple[int, int] = (48, 40)) -> None:
    """A folder of pictures of noise, no two alike."""
    path.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path / f"{number}.png")


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def shard(path: Path, numbers: range, mode: str = "w") -> Path:
    """WebDataset samples: image, class, caption, and things nobody should look at."""
    members: dict[str, bytes] = {}
    for number in numbers:
        members[f"{number:04d}.jpg"] = jpeg(number)
        members[f"{number:04d}.cls"] = str(number % 3).encode()
        members[f"{number:04d}.json"] = json.dumps({"text": f"number {number}"}).encode()
        members[f"{number:04d}.pyd"] = b"cos\nsystem\n(S'touch unpickled'\ntR."
        members[f"{number:04d}.mask.png"] = b"another picture of the same sample"
    return write_tar(path, members, mode)
