"""Two processes that divide the weights train what one process with all of them would train."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.tensor import DTensor

from tests.distributed.test_training_gloo import agree, free_port
from tests.distributed.test_training_gloo import recipe as usual
from tests.parts.train.test_generator_loop import TINY, write_set
from tests.parts.train.test_generator_loop import recipe as generator_recipe
from zellige.core.hub import load
from zellige.core.tensors import read_tensors
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.generator import train_generator
from zellige.train.generator_recipe import GeneratorRecipe
from zellige.train.recipe import Recipe
from zellige.train.run import TrainingRun
from zellige.train.sharding import part
from zellige.train.tokenizer import TokenizerRun, train_tokenizer

# The codes are trained by gradients, revived, and started by k-means: the forward pass and the optimizer write them.
SETTINGS = ["shard=true", "loss.adversarial.adaptive=false", "config.quantizer=vq", "sample_every=2"]


def recipe(batch_size: int, *more: str) -> Recipe:
    return usual(batch_size, *SETTINGS, *more)


def next_token(tokens: str, batch_size: int) -> GeneratorRecipe:
    config = {**TINY["llamagen"], "dropout": 0.0, "class_dropout": 0.0}
    settings: dict[str, Any] = {"precision": "fp32", "steps": 3, "optimizer": {"lr": 1e-4, "warmup": 0}}
    return generator_recipe(tokens=tokens, batch_size=batch_size, config=config, shard=True, **settings)


def shares(run: TrainingRun[Any, Any, Any]) -> dict[str, float]:
    """Of what is divided: the share of its numbers that this process holds."""
    held = {
        "weights": list(run.model.parameters()),
        "average": list(run.average.values()),
        "states": [v for state in run.optimizer.state.values() for v in state.values()],
    }
    divided = {name: [t for t in tensors if isinstance(t, DTensor)] for name, tensors in held.items()}
    return {name: sum(part(t).numel() for t in ts) / sum(t.numel() for t in ts) for name, ts in divided.items()}


def worker(rank: int, folder: str, port: str) -> None:
    torch.set_num_threads(1)
    addresses = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    os.environ.update(addresses, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    run = TokenizerRun(recipe(4), Path(folder) / "two", resume=False)
    run.train(None)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(shares(run)))

    def interrupt(line: dict[str, Any]) -> None:
        if line["step"] == 2:
            signal.raise_signal(signal.SIGINT)

    with suppress(KeyboardInterrupt):
        train_tokenizer(recipe(4), Path(folder) / "resumed", on_log=interrupt)
    dist.barrier()
    train_tokenizer(recipe(4), Path(folder) / "resumed", resume=True)
    train_generator(next_token(str(Path(folder) / "set.parquet"), 4), Path(folder) / "generator")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharding")
    write_set(folder / "set.parquet")
    mp.spawn(worker, args=(str(folder), free_port()), nprocs=2)
    return folder


def test_losses_weights_and_averages_agree_with_one_process(folder: Path) -> None:
    train_tokenizer(recipe(8), folder / "one")
    agree(folder / "two", folder / "one")
    for key, value in load(folder / "two").state_dict().items():
        torch.testing.assert_close(value, load(folder / "one").state_dict()[key], rtol=1e-3, atol=1e-4)
    assert (folder / "two" / "samples" / "step-000002.png").is_file()


def test_each_process_holds_about_half(folder: Path) -> None:
    for rank in (0, 1):
        found = json.loads((folder / f"{rank}.json").read_text())
        assert found.keys() == {"weights", "average", "states"}
        assert all(0.4 < share < 0.6 for share in found.values()), found


def test_a_run_with_divided_weights_goes_on(folder: Path) -> None:
    whole, resumed = (read_tensors(folder / name / CHECKPOINT) for name in ("two", "resumed"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


def test_generators_agree_too(folder: Path) -> None:
    train_generator(next_token(str(folder / "set.parquet"), 8), folder / "one generator")
    agree(folder / "generator", folder / "one generator")
