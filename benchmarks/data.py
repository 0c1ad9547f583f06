"""Row 12a: 256×256 crops from JPEG in a tar shard, two workers, against webdataset."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import webdataset
from torch.utils.data import DataLoader

from benchmarks.harness import Bench, Peer, require
from benchmarks.pictures import write_tar
from zellige.data import open_images
from zellige.data.parallel import ordered_map
from zellige.data.transforms import center_crop, resize_short_side

COUNT, WIDTH, HEIGHT, SIDE, WORKERS = 600, 500, 375, 256, 2


def run(bench: Bench) -> None:
    """Compare a pass with the same full decoding and crop on both sides."""
    with tempfile.TemporaryDirectory() as folder:
        shards = [Path(folder) / f"{number}.tar" for number in range(WORKERS)]
        for shard in shards:
            write_tar(shard, COUNT // WORKERS, WIDTH, HEIGHT)
        ours = sorted(crop.tobytes() for crop in our_crops(shards))
        theirs = sorted(crop.tobytes() for crop in their_crops(shards))
        require(ours == theirs, "crops differ")
        bench.compare(
            f"{COUNT} JPEG of {WIDTH}×{HEIGHT} from tars to {SIDE}×{SIDE}, {WORKERS} workers",
            ("open_images", lambda: sum(1 for _ in our_crops(shards))),
            [Peer("webdataset + DataLoader", lambda: sum(1 for _ in their_crops(shards)))],
            equal="all pixels",
        )


def our_crops(shards: list[Path]) -> Iterator[np.ndarray]:
    """Centre crops by our reader, in its decoding threads."""
    entries = open_images(shards).entries()
    return ordered_map(lambda entry: crop(entry.decode().pixels), entries, WORKERS)


def their_crops(shards: list[Path]) -> Iterator[np.ndarray]:
    """The same by webdataset in worker processes, a shard each."""
    urls = [str(shard) for shard in shards]
    dataset = webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8").to_tuple("jpg").map_tuple(crop)
    for batch in DataLoader(dataset, batch_size=None, num_workers=WORKERS):
        yield np.asarray(batch[0])


def crop(image: np.ndarray) -> np.ndarray:
    """The short side scaled to 256, then the centre."""
    return np.ascontiguousarray(center_crop(resize_short_side(image, SIDE), SIDE))
