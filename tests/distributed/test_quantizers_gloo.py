"""Codebooks of two processes stay equal to each other and to those of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file

from zellige.quantize import Quantizer, make_quantizer

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ema": ("ema", {"codes": 12, "kmeans_start": False, "revive_below": 0.0}),
    "ema started and revived": ("ema", {"codes": 12, "decay": 0.5, "revive_below": 0.6}),
    "ema normalized": ("ema", {"codes": 12, "decay": 0.5, "normalize": True, "revive_below": 0.6}),
    "start over several batches": ("vq", {"codes": 40, "kmeans_start": True}),
    "vq revived": ("vq", {"codes": 30, "revive_below": 0.97}),
    "fsq": ("fsq", {"levels": [5, 5, 5]}),
    "bsq of many codes": ("bsq", {"entropy_weight": 0.0}),
    "residual ema": ("residual", {"of": "ema", "depth": 2, "codes": 10, "decay": 0.5, "revive_below": 0.6}),
}
STEPS, BATCH, DIM = 6, (2, 8), 3


def batches(dim: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(*BATCH, dim, generator=generator) * 2 for _ in range(STEPS)]


def made(case: str) -> Quantizer:
    name, settings = CASES[case]
    torch.manual_seed(0)
    return make_quantizer(name, 24 if case == "bsq of many codes" else DIM, **settings)


def trained(case: str, rank: int, world: int) -> dict[str, torch.Tensor]:
    """The state after training on this rank's share of each batch, and the statistics of the last one."""
    quantizer = made(case).train()
    torch.manual_seed(0 if rank == 0 else 99)  # ranks draw unlike numbers, as in real training
    for batch in batches(quantizer.dim):
        found = quantizer(batch.chunk(world)[rank])
    return quantizer.state_dict() | {f"stats {key}": value for key, value in found.stats.items()}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        for case in CASES:
            save_file(trained(case, rank, 2), f"{folder}/{case} {rank}.safetensors")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have left their states."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(worker, args=(str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_ranks_hold_one_codebook(folder: Path, case: str) -> None:
    first, second = (load_file(folder / f"{case} {rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.mark.parametrize("case", CASES)
def test_two_processes_do_what_one_does(folder: Path, case: str) -> None:
    alone = trained(case, 0, 1)
    start = made(case).state_dict()
    assert not start or any(not torch.equal(value, alone[key]) for key, value in start.items())  # trained, if it can be
    for key, value in load_file(folder / f"{case} 0.safetensors").items():
        torch.testing.assert_close(value, alone[key], rtol=1e-4, atol=1e-5, msg=f"{case}: {key}")
