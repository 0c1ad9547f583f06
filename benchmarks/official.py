"""Row `official:FOLDER`: the released sampling code of LlamaGen or RAR, run where it lies, against ours.

FOLDER is a checkout of FoundationVision/LlamaGen or of bytedance/1d-tokenizer; which one shows in what it holds. Their
network is filled with random weights, ours with the same by the names of the released files. Both are as wide as the
smallest released one, with fewer blocks, so that the row is short. Nothing of theirs is in this repository.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.harness import Bench, Peer, require
from zellige.convert.llamagen import LlamaGenAdapter
from zellige.convert.rar import RARAdapter
from zellige.core.errors import UsageError
from zellige.core.generator import Generator

WIDTH, HEADS, SIDE, CLASSES = 768, 12, 16, 1000
DEPTH = 3
"""Blocks; the released ones have 12 (LlamaGen) and 24 (RAR)."""
BATCHES = (1, 4)
SPEEDUP = 1.2

Draw = Callable[[Tensor], Tensor]


def run(bench: Bench, folder: str) -> None:
    """Require equal likeliest ids, then time random samples; both sides batch the halves of guidance."""
    torch.manual_seed(0)
    name, theirs, ours, options = official(Path(folder))
    for batch in BATCHES:
        labels = torch.arange(batch)

        def sample(labels: Tensor = labels) -> Tensor:
            return ours.sample(labels, seed=0, **options).data

        def their_sample(labels: Tensor = labels) -> Tensor:
            return theirs(labels)

        with patch("torch.multinomial", lambda p, num_samples: p.argmax(-1, keepdim=True)):
            found = their_sample()
        likeliest = ours.sample(labels, **{**options, "temperature": 0.0}).data
        require(torch.equal(likeliest, found), f"{int((likeliest != found).sum())} ids differ")
        bench.compare(
            f"{SIDE * SIDE} tokens, {DEPTH} blocks of {WIDTH}, {batch} at a time, guided",
            (f"{ours.system}, with cache", sample),
            [Peer(f"{name}, with cache", their_sample, target=SPEEDUP)],
            equal="all likeliest ids",
        )


def official(folder: Path) -> tuple[str, Draw, Generator, dict[str, Any]]:
    """Name and sampler of the code in a checkout, our model with its weights, and the options that fit."""
    for inside, open_theirs in (("autoregressive/models/generate.py", _llamagen), ("modeling/rar.py", _rar)):
        if (folder / inside).is_file():
            sys.path.insert(0, str(folder))  # first: both have packages with names as plain as `utils`
            return open_theirs()
    raise UsageError(f"{folder} is no checkout of FoundationVision/LlamaGen or bytedance/1d-tokenizer")


def _llamagen() -> tuple[str, Draw, Generator, dict[str, Any]]:
    gpt = importlib.import_module("autoregressive.models.gpt")
    generate = importlib.import_module("autoregressive.models.generate").generate
    numbers = {"dim": WIDTH, "n_layer": DEPTH, "n_head": HEADS, "vocab_size": 16384}
    theirs = gpt.Transformer(gpt.ModelArgs(**numbers, block_size=SIDE**2, num_classes=CLASSES))
    _fill(theirs)
    ours = LlamaGenAdapter().build(theirs.state_dict(), layout=((SIDE, SIDE),))

    def draw(labels: Tensor) -> Tensor:
        return generate(theirs, labels, SIDE**2, cfg_scale=2.0, temperature=1.0, top_k=0, top_p=1.0).long()

    assert isinstance(ours, Generator)
    return "LlamaGen's generate", draw, ours, {"guidance": 2.0, "temperature": 1.0}


def _rar() -> tuple[str, Draw, Generator, dict[str, Any]]:
    with patch.dict(sys.modules, _stand_ins()):
        rar = importlib.import_module("modeling.rar")
    generator = {
        "hidden_size": WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "intermediate_size": 4 * WIDTH,
        "image_seq_len": SIDE**2,
        "condition_num_classes": CLASSES,
        "dropout": 0.1,
        "attn_drop": 0.1,
    }
    model = SimpleNamespace(
        generator=SimpleNamespace(**generator, get=generator.get), vq_model=SimpleNamespace(codebook_size=1024)
    )
    theirs = rar.RAR(SimpleNamespace(model=model))
    _fill(theirs)
    ours = RARAdapter().build(theirs.state_dict())

    def draw(labels: Tensor) -> Tensor:
        return theirs.generate(labels, guidance_scale=4.0, randomize_temperature=1.0, guidance_scale_pow=2.75)

    assert isinstance(ours, Generator)
    return "RAR.generate", draw, ours, {"guidance": 4.0, "temperature": 1.0, "power": 2.75}


def _fill(network: nn.Module) -> None:
    """Random weights where the network starts with zeros, too: its head and its modulations; in evaluation mode."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02)
    network.eval()


def _stand_ins() -> dict[str, ModuleType]:
    """In place of what RAR's file imports beside torch: their base class, which reads files, and timm's MLP.

    Their package would import training losses and torchvision with the base class.
    """
    found = {name: ModuleType(name) for name in ("modeling.modules", "timm", "timm.layers")}
    vars(found["modeling.modules"])["BaseModel"] = nn.Module
    vars(found["timm.layers"])["Mlp"] = _Mlp
    return found


class _Mlp(nn.Module):
    """Two linear layers by timm's names."""

    def __init__(self, in_features: int, hidden_features: int, act_layer: type[nn.Module], drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_features, in_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))
