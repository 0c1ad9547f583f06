"""What is trained and how it is judged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studies.measure import HeldOut
from zellige.metrics.perturbed import PerturbationGrid
from zellige.train.recipe import Recipe

GRID = PerturbationGrid(alphas=(0.5, 0.9), deltas=(200, 360), scale=True)
"""The corners of the usual grid: every cell costs a pass over the images."""
ARMS = ("plain", "robust")
"""The tokenizers of a pair; `techniques` says what the robust one is trained with."""
PERTURBED_FALLS, CLEAN_RISES = 0.25, 0.20


@dataclass(frozen=True)
class Setting:
    """A set of images and the tokenizers that are trained on it.

    Attributes:
        train: files of the data folder.
        held_out: which images judge, their source a file of the data folder.
        stride: pixels a token spans on each side.
        data: further settings of the recipe's data.
        codes: K.
        dim: of a code.
        quantizer: ``vq`` with unit-length codes, or another that ``quantizer_settings`` make for `codes` codes.
        steps: with a loss of pixels alone.
        finish: further steps with a perceptual loss, which costs three times as much a step.
    """

    name: str
    title: str
    train: tuple[str, ...]
    held_out: HeldOut
    stride: int
    data: dict[str, Any] = field(default_factory=dict)
    codes: int = 512
    dim: int = 16
    quantizer: str = "vq"
    quantizer_settings: dict[str, Any] = field(default_factory=dict)
    channels: int = 64
    batch_size: int = 32
    steps: int = 1000
    finish: int = 800

    def techniques(self, arm: str) -> dict[str, Any]:
        """Those of one of `ARMS`: perturbation at full strength to the end, among four times the usual neighbours."""
        strong = {"alpha": 1.0, "beta": 0.5, "delta": max(2, self.codes // 10), "anneal_ratio": 1.0}
        return {"perturbation": strong} if arm == "robust" else {}

    def recipe(self, folder: Path, arm: str, seed: int) -> Recipe:
        """The training of one tokenizer, a small VQGAN, on images of `folder`."""
        vq = {"codes": self.codes, "normalize": True, "kmeans_start": True, "revive_below": 0.1}
        quantizer = vq if self.quantizer == "vq" else self.quantizer_settings
        network = {"channels": self.channels, "multipliers": [1], "patch": self.stride, "norm": "channel"}
        depth = {"blocks": 1, "decoder_blocks": 1, "middle_blocks": 1, "attention": True}
        codes = {"latent": 32, "dim": self.dim, "quantizer": self.quantizer, "quantizer_settings": quantizer}
        return Recipe.model_validate(
            {
                "tokenizer": "vqgan/f16",
                "config": network | depth | codes,
                "data": {"train": [str(folder / name) for name in self.train], "crop": self.held_out.side} | self.data,
                "techniques": self.techniques(arm),
                "optimizer": {"lr": 2e-3, "warmup": min(50, self.steps // 4), "final": 0.02},
                "batch_size": self.batch_size,
                "steps": self.steps,
                "ema": 0.99,
                "seed": seed,
                "log_every": 50,
                "checkpoint_every": 250,
                "sample_every": 0,
            }
        )

    def finishing(self, recipe: Recipe, model: Path) -> Recipe:
        """The rest of the training that `recipe` began, from the model that it left."""
        given = recipe.model_dump(exclude_unset=True) | {
            "tokenizer": str(model),
            "start": "trained",
            "config": {},
            "loss": {"perceptual": {"weight": 0.5}},
            "optimizer": {"lr": 1e-3, "warmup": min(20, self.finish // 4), "final": 0.02},
            "steps": self.finish,
        }
        return Recipe.model_validate(given)


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "cifar10",
            "CIFAR-10, 32 px",
            ("cifar10-train.parquet",),
            HeldOut("cifar10-test.parquet", images=1500, crops=1, side=32),
            stride=4,
            data={"scale": [1.0, 1.0]},
        ),
        Setting(
            "photos",
            "photographs, 64 px",
            ("photos-train-0.tar", "photos-train-1.tar"),
            HeldOut("photos-val.tar", images=100, crops=15, side=64, scale=(0.4, 1.0)),
            stride=4,
            data={"scale": [0.4, 1.0], "crops_per_image": 4},
            codes=1024,
            batch_size=8,
            steps=2000,
            finish=1600,
        ),
    )
}


def quick(setting: Setting) -> Setting:
    """The same in seconds, to see that everything runs; its figures say nothing."""
    held_out = replace(setting.held_out, images=min(setting.held_out.images, 8), crops=min(setting.held_out.crops, 2))
    codes = 64 if setting.quantizer == "vq" else setting.codes
    return replace(setting, held_out=held_out, codes=codes, channels=16, batch_size=8, steps=4, finish=2)
