"""Two processes train the tokenizer that one process would train on the batches of both."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from zellige.core.tensors import read_tensors
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.recipe import Recipe, load_recipe
from zellige.train.tokenizer import train_tokenizer

# Draws of DiffAugment go by the batch of a process, so it is off; the small rate keeps codes from flipping late.
SETTINGS = [
    "steps=3",
    "log_every=1",
    "data.crop=32",
    "data.crops_per_image=2",
    "precision=fp32",
    "optimizer={lr: 1e-5, warmup: 0}",
    "config.quantizer_settings={codes: 64, kmeans_start: true, revive_below: 0.2}",
    "loss.adversarial={weight: 0.5, start: 1, augment: 0, lecam: 0.1, settings: {channels: 8, norm: group}}",
    "loss.adversarial.optimizer={lr: 1e-5, warmup: 0}",
]


# What does not depend on who else is in a batch, and so can be accumulated exactly.
GRADIENT = [
    "loss.adversarial.weight=0",
    "config.quantizer=fsq",
    "config.dim=3",
    "config.quantizer_settings={levels: [8, 8, 8]}",
]


def recipe(batch_size: int, *more: str) -> Recipe:
    return load_recipe("vqgan/tiny", [*SETTINGS, f"batch_size={batch_size}", *more])


def curve(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def worker(rank: int, folder: str, port: str) -> None:
    """One rank: a run, the same with accumulation, and the same interrupted by a signal that only rank 0 gets."""
    torch.set_num_threads(1)
    addresses = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    os.environ.update(addresses, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")

    def interrupt(line: dict[str, Any]) -> None:
        if line["step"] == 2:
            signal.raise_signal(signal.SIGINT)

    whole, accumulated, stopped = (Path(folder) / name for name in ("two", "accumulated", "stopped"))
    train_tokenizer(recipe(4), whole)
    train_tokenizer(recipe(2, *GRADIENT, "accumulate=2"), accumulated)
    try:
        train_tokenizer(recipe(4), stopped, on_log=interrupt)
    except KeyboardInterrupt:
        (Path(folder) / f"interrupted {rank}").touch()
    dist.barrier()
    train_tokenizer(recipe(4), stopped, resume=True)
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs of two processes lie."""
    folder = tmp_path_factory.mktemp("training")
    mp.spawn(worker, args=(str(folder), free_port()), nprocs=2)
    return folder


def agree(two: Path, one: Path, but: frozenset[str] = frozenset()) -> None:
    """Check curves, `but` for some of their values, and checkpoints."""
    for a, b in zip(curve(two), curve(one), strict=True):
        for key in a.keys() - but - {"steps_per_second"}:
            assert a[key] == pytest.approx(b[key], rel=1e-3, abs=1e-5), (a["step"], key)
    first, second = read_tensors(two / CHECKPOINT), read_tensors(one / CHECKPOINT)
    assert first.keys() == second.keys()
    for key, value in first.items():
        if not key.startswith(("optimizer", "adversary_optimizer")):
            torch.testing.assert_close(value, second[key], rtol=1e-3, atol=1e-4, msg=lambda m, k=key: f"{k}: {m}")


def test_losses_codebooks_and_discriminators_agree_with_one_process(folder: Path) -> None:
    train_tokenizer(recipe(8), folder / "one")
    assert "adversarial" in curve(folder / "one")[-1]
    assert recipe(8).config["quantizer"] == "ema"  # whose codebook is made of statistics of all ranks
    agree(folder / "two", folder / "one")


def test_accumulation_on_two_processes_is_one_large_batch(folder: Path) -> None:
    train_tokenizer(recipe(8, *GRADIENT), folder / "large")
    agree(folder / "accumulated", folder / "large", but=frozenset({"usage", "entropy", "perplexity"}))  # of each batch


def test_an_interrupt_of_one_process_stops_both_and_loses_nothing(folder: Path) -> None:
    assert all((folder / f"interrupted {rank}").exists() for rank in range(2))
    whole, stopped = (read_tensors(folder / name / CHECKPOINT) for name in ("two", "stopped"))
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(value, stopped[key]) for key, value in whole.items())


def test_accelerate_launch(tmp_path: Path) -> None:
    """The command of the docs; on a machine without GPUs `ACCELERATE_USE_CPU` says what the two processes run on."""
    overrides = ["zellige-photo/tiny", "steps=2", "log_every=1", "data.crop=32", "precision=fp32", "batch_size=4"]
    launch = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", "--main_process_port", free_port()]
    line = [sys.executable, "-m", "accelerate.commands.launch", *launch, "-m", "zellige", "train", *overrides]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([*line, "-o", str(tmp_path / "two")], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    train_tokenizer(load_recipe(overrides[0], [*overrides[1:], "batch_size=8"]), tmp_path / "one")
    agree(tmp_path / "two", tmp_path / "one")
