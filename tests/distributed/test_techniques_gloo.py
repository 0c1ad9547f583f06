"""Two processes train with a technique as one process does on the batches of both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.distributed.test_training_gloo import agree, curve, free_port
from zellige.core.tensors import read_tensors
from zellige.train.checkpoint import CHECKPOINT
from zellige.train.recipe import Recipe, load_recipe
from zellige.train.techniques import ENCODERS
from zellige.train.tokenizer import train_tokenizer

SETTINGS = ["steps=2", "log_every=1", "data.crop=32", "data.crops_per_image=2", "precision=fp32"]
SETTINGS += ["optimizer={lr: 1e-5, warmup: 0}", "technique=alignment", "technique.encoder=colours"]


class Colours(torch.nn.Module):
    """A frozen encoder: mean colours."""

    width = 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def recipe(batch_size: int, *more: str) -> Recipe:
    ENCODERS["colours"] = lambda _: Colours()
    return load_recipe("vqgan/tiny", [*SETTINGS, f"batch_size={batch_size}", *more])


def worker(rank: int, folder: str, port: str) -> None:
    torch.set_num_threads(1)
    addresses = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    os.environ.update(addresses, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    train_tokenizer(recipe(4), Path(folder) / "two")
    train_tokenizer(recipe(4, "technique=perturbation"), Path(folder) / "perturbed")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("techniques")
    mp.spawn(worker, args=(str(folder), free_port()), nprocs=2)
    return folder


def test_alignment_sees_the_images_of_both_processes(folder: Path) -> None:
    train_tokenizer(recipe(8), folder / "one")
    assert curve(folder / "one")[0]["semantic"] == pytest.approx(0.1 * torch.tensor(8.0).log().item(), rel=0.1)
    agree(folder / "two", folder / "one")
    assert "techniques.members.alignment.project.weight" in read_tensors(folder / "two" / CHECKPOINT)


def test_each_process_perturbs_images_of_its_own_batch(folder: Path) -> None:
    for line in curve(folder / "perturbed"):
        assert 0 < line["perturbed"] <= 1 / 4  # one image of four, on both
