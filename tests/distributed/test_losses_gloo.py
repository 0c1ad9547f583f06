"""Losses of two processes are those of one process on the batches of both."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor

from zellige.losses.adversary import Adversary
from zellige.losses.balance import adaptive_weight
from zellige.losses.contrastive import contrastive_loss
from zellige.losses.discriminators.norms import ActNorm
from zellige.losses.discriminators.patch import PatchDiscriminator
from zellige.losses.lecam import LeCAM
from zellige.nn.ranks import sum_ranks


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


def adversary_state(rank: int, world: int) -> dict[str, Tensor]:
    """An adversary after three steps on the mean of the ranks' gradients, as data parallelism has it."""
    torch.manual_seed(0)
    made = Adversary(PatchDiscriminator(4, 2, norm="group", spectral=True), lecam=0.1)
    for step in range(3):
        batch = torch.rand(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(step)) * 2 - 1
        real, fake = (part.chunk(world)[rank] for part in batch)
        made.zero_grad()
        terms = made(real, fake)
        (terms["discriminator"] + terms["lecam"]).backward()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter -= 0.1 * sum_ranks(parameter.grad) / world
        made.judge(fake)
    return {f"adversary {key}": value for key, value in made.state_dict().items()}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        found = results(rank, 2) | adversary_state(rank, 2)
        save_file({k: v.contiguous() for k, v in found.items()}, f"{folder}/{rank}.safetensors")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """What each of two processes found."""
    folder = Path(tmp_path_factory.mktemp("losses"))
    mp.spawn(worker, args=(str(folder),), nprocs=2)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def test_two_processes_agree_with_one(ranks: list[dict[str, Tensor]]) -> None:
    for name, value in (results(0, 1) | adversary_state(0, 1)).items():
        mean = (ranks[0][name] + ranks[1][name]) / 2
        torch.testing.assert_close(mean, value, msg=lambda text, name=name: f"{name}: {text}")


def test_state_is_the_same_on_both(ranks: list[dict[str, Tensor]]) -> None:
    states = {name for name in ranks[0] if name.startswith("adversary")}
    for name in states | {"lecam real", "lecam fake", "weight", "actnorm scale", "actnorm shift"}:
        assert torch.equal(ranks[0][name], ranks[1][name]), name
