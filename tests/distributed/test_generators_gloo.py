"""Two processes train the generator that one process would train on the batches of both, and resume it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.distributed.test_training_gloo import free_port
from tests.parts.train.test_generator_loop import TINY, curve, recipe, write_set
from zellige.core.tensors import read_tensors
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.generator import train_generator
from zellige.train.generator_recipe import GeneratorRecipe


def settings(tokens: str, batch_size: int, **changes: Any) -> GeneratorRecipe:
    """Draws of dropout go by the batch of a process, so there are none."""
    config = {**TINY["llamagen"], "dropout": 0.0, "class_dropout": 0.0}
    usual = {"config": config, "precision": "fp32", "steps": 4, "optimizer": {"lr": 1e-4, "warmup": 0}}
    return recipe(tokens=tokens, batch_size=batch_size, **usual, **changes)


def worker(rank: int, folder: str, port: str) -> None:
    torch.set_num_threads(1)
    addresses = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    os.environ.update(addresses, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    tokens, two = str(Path(folder) / "set.parquet"), Path(folder) / "two"
    train_generator(settings(tokens, 4, checkpoint_every=2), two)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(sorted(path.name for path in two.iterdir())))
    dist.barrier()
    shorter = settings(tokens, 4).model_copy(update={"steps": 2})
    train_generator(shorter, Path(folder) / "resumed")
    dist.barrier()
    train_generator(settings(tokens, 4), Path(folder) / "resumed", resume=True)
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generators")
    write_set(folder / "set.parquet")
    mp.spawn(worker, args=(str(folder), free_port()), nprocs=2)
    return folder


def test_two_processes_are_one_with_both_batches(folder: Path) -> None:
    train_generator(settings(str(folder / "set.parquet"), 8), folder / "one")
    losses = [[line["loss"] for line in curve(folder / name)] for name in ("two", "one")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    two, one = (read_tensors(folder / name / CHECKPOINT) for name in ("two", "one"))
    assert two.keys() == one.keys()
    for key in two:
        if not key.startswith("optimizer"):
            torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=1e-4, msg=lambda m, k=key: f"{k}: {m}")


def test_a_run_of_two_processes_goes_on(folder: Path) -> None:
    assert curve(folder / "resumed")[-1]["step"] == 4
    for rank in (0, 1):
        assert "model.safetensors" in json.loads((folder / f"{rank}.json").read_text())
