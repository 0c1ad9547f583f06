"""Losses of two processes are those of one process on the batches of both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor

from zellige.losses.balance import adaptive_weight
from zellige.losses.contrastive import contrastive_loss
from zellige.losses.discriminators.norms import ActNorm
from zellige.losses.lecam import LeCAM


def results(rank: int, world: int) -> dict[str, Tensor]:
    """What this rank finds on its share of one batch; its mean over the ranks is to be that of one process."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(4, 3, generator=generator).chunk(world)[rank]
    target = torch.randn(4, 3, generator=generator).chunk(world)[rank]
    w = torch.eye(3).requires_grad_()
    y = x @ w

    lecam = LeCAM(0.5)
    for _ in range(2):
        lecam.update(y, target)
    contrast = contrastive_loss(y, target, scale=2.0)
    (gradient,) = torch.autograd.grad(contrast, w, retain_graph=True)
    norm = ActNorm(3).train()
    norm(y[..., None])
    return {
        "lecam real": lecam.real,
        "lecam fake": lecam.fake,
        "lecam": lecam(y, target).detach(),
        "weight": adaptive_weight((y - target).square().mean(), -y.tanh().mean(), w),
        "contrast": contrast.detach(),
        "contrast gradient": gradient,
        "actnorm scale": norm.scale.detach(),
        "actnorm shift": norm.shift.detach(),
    }


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        save_file({k: v.contiguous() for k, v in results(rank, 2).items()}, f"{folder}/{rank}.safetensors")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """What each of two processes found."""
    folder = Path(tmp_path_factory.mktemp("losses"))
    mp.spawn(worker, args=(str(folder),), nprocs=2)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def test_two_processes_agree_with_one(ranks: list[dict[str, Tensor]]) -> None:
    for name, value in results(0, 1).items():
        mean = (ranks[0][name] + ranks[1][name]) / 2
        torch.testing.assert_close(mean, value, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", ["lecam real", "lecam fake", "weight", "actnorm scale", "actnorm shift"])
def test_state_is_the_same_on_both(ranks: list[dict[str, Tensor]], name: str) -> None:
    assert torch.equal(ranks[0][name], ranks[1][name])
