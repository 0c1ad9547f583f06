"""What is trained and how it is judged. Legend: N tokens of an image, S pixels a side."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studies.digits import HELD_OUT, SIDE, TEST, TRAIN
from studies.measure import HeldOut
from zellige.train.generator_recipe import GeneratorRecipe
from zellige.train.recipe import Recipe

TOKENS = (8, 16, 32)
"""N of the tokenizers whose errors are compared; `GRID` is the one of 4×4 tokens, as many as the second has."""
GRID = "grid"
GUIDED, UNGUIDED = 4.0, 1.0
"""Guidance 3 and 0 as the paper counts it, which adds to the conditional scores: one more as the library does."""
DRAWS: dict[str, dict[str, Any]] = {
    "8 steps": {"steps": 8, "guidance": UNGUIDED},
    "8 steps, guided": {"steps": 8, "guidance": GUIDED},
    "1 step": {"steps": 1, "guidance": UNGUIDED},
}
"""How the generator is sampled, beside the temperatures of its preset."""


@dataclass(frozen=True)
class Images:
    """What tokenizers are trained on and judged by.

    Attributes:
        train: files of the data folder.
        held_out: its source a file of the data folder.
        data: further settings of the recipe's data.
    """

    train: tuple[str, ...]
    held_out: HeldOut
    data: dict[str, Any] = field(default_factory=dict)

    def settings(self, folder: Path) -> dict[str, Any]:
        """The part of a recipe."""
        return {"train": [str(folder / name) for name in self.train], "crop": self.held_out.side, **self.data}


PHOTOS = Images(
    ("photos-train-0.tar", "photos-train-1.tar"),
    HeldOut("photos-val.tar", images=100, crops=5, side=64, scale=(0.4, 1.0)),
    {"scale": [0.4, 1.0], "crops_per_image": 4},
)
DIGITS = Images((TRAIN,), HeldOut(TEST, images=HELD_OUT, crops=1, side=SIDE), {"scale": [1.0, 1.0], "flip": False})


@dataclass(frozen=True)
class Scale:
    """Sizes of the study.

    Attributes:
        width: channels of both transformers, of ``depth`` blocks each.
        codes: of the tokenizers that are compared, of ``dim`` dimensions and unit length.
        channels: of the convolutional tokenizer with a grid, which make it as large as the others.
        steps: of training of a tokenizer.
        teacher_codes: of the teacher; ``teacher_channels`` the width of its first level.
        teacher_steps: of its training.
        proxy_steps: of the first stage; ``finish_steps`` of the second.
        short_codes: of the tokenizer in two stages, which has ``short`` tokens.
        learned: digits, at most, that generator and classifier learn from.
        generator_steps: of training of the generator.
    """

    photos: Images = PHOTOS
    digits: Images = DIGITS
    batch_size: int = 8
    width: int = 192
    depth: int = 4
    codes: int = 4096
    dim: int = 12
    channels: int = 86
    steps: int = 2400
    teacher_codes: int = 128
    teacher_channels: int = 32
    teacher_steps: int = 200
    proxy_steps: int = 1000
    finish_steps: int = 600
    short: int = 32
    short_codes: int = 512
    learned: int = 2000
    generator_steps: int = 600

    def compared(self, folder: Path, arm: int | str, seed: int) -> Recipe:
        """The training of a tokenizer of `arm` tokens, or of the one with a grid, on photographs."""
        quantizer = self._quantizer(self.codes)
        if arm == GRID:
            network = {"channels": self.channels, "multipliers": [1, 2], "patch": 8, "norm": "channel"}
            depth = {"blocks": 1, "decoder_blocks": 1, "middle_blocks": 1, "latent": 64}
            name, config = "vqgan/f16", network | depth | {"dim": self.dim, "quantizer_settings": quantizer}
        else:
            name = "titok"
            config = self._network(self.photos, arm) | {"head": "pixels", "quantizer_settings": quantizer}
            config["even_start"] = True
        return self._recipe(name, config, self.photos, folder, self.steps, seed)

    def teacher(self, folder: Path, seed: int) -> Recipe:
        """The training of the teacher, a MaskGIT VQGAN whose codes span a patch each."""
        config = {**self._teacher, "blocks": 1, "quantizer_settings": self._quantizer(self.teacher_codes)}
        return self._recipe("maskgit-vqgan/f16", config, self.digits, folder, self.teacher_steps, seed)

    def proxy(self, folder: Path, teacher: Path, seed: int) -> Recipe:
        """The first stage: the teacher's codes are to be told."""
        painter = {
            "head": "codes",
            "teacher_codes": self.teacher_codes,
            "teacher_dim": self._teacher["dim"],
            "teacher_channels": self.teacher_channels,
            "teacher_multipliers": self._teacher["multipliers"],
            "teacher_blocks": 1,
        }
        config = self._network(self.digits, self.short) | painter
        config["quantizer_settings"] = self._quantizer(self.short_codes)
        recipe = self._recipe("titok", config, self.digits, folder, self.proxy_steps, seed, lr=5e-4)
        loss = {"mse": 0.0, "teacher": {"tokenizer": str(teacher), "weight": 1.0}}
        return Recipe.model_validate(recipe.model_dump(exclude_unset=True) | {"loss": loss})

    def finish(self, folder: Path, model: Path, seed: int) -> Recipe:
        """The second stage: decoder and painter learn the pixels, from the model that the first has left."""
        recipe = self._recipe(str(model), {}, self.digits, folder, self.finish_steps, seed)
        return Recipe.model_validate(
            recipe.model_dump(exclude_unset=True) | {"start": "trained", "trains": "decoder", "config": {}}
        )

    def generator(self, tokens: Path, tokenizer: Path, seed: int) -> GeneratorRecipe:
        """The training of the generator of the tokens of two stages."""
        network = {"dim": self.width, "depth": self.depth, "heads": self._heads, "hidden": 4 * self.width}
        return GeneratorRecipe.model_validate(
            {
                "generator": "titok-maskgit/small",
                "config": {**network, "dropout": 0.0, "attention_dropout": 0.0},
                "tokens": str(tokens),
                "tokenizer": str(tokenizer),
                "optimizer": self._optimizer(self.generator_steps) | {"weight_decay": 0.03},
                **self._run(self.generator_steps, seed),
                "batch_size": 4 * self.batch_size,
            }
        )

    @property
    def _heads(self) -> int:
        return max(1, self.width // 64)

    @property
    def _teacher(self) -> dict[str, Any]:
        """Numbers of the teacher that its decoder shares with the tokenizer's painter."""
        return {
            "channels": self.teacher_channels,
            "multipliers": [1, 1, 2],
            "latent": 32,
            "dim": 32,
            "decoder_blocks": 1,
            "middle_blocks": 1,
        }

    def _network(self, images: Images, tokens: int | str) -> dict[str, Any]:
        """Two transformers, for images of 8×8 patches."""
        sides = {"image_size": images.held_out.side, "patch": images.held_out.side // 8, "scrambled": False}
        widths = {"width": self.width, "decoder_width": self.width, "depth": self.depth, "decoder_depth": self.depth}
        return {**sides, **widths, "latents": tokens, "dim": self.dim}

    def _quantizer(self, codes: int) -> dict[str, Any]:
        """Codes that are replaced within some ten steps if nothing uses them: they are to follow transformers which
        begin with much the same latents for all images, or these end in a few codes for good.
        """
        return {"codes": codes, "normalize": True, "beta": 0.1, "kmeans_start": True, "revive_below": 0.95}

    def _recipe(
        self,
        tokenizer: str,
        config: dict[str, Any],
        images: Images,
        folder: Path,
        steps: int,
        seed: int,
        lr: float = 1e-3,
    ) -> Recipe:
        return Recipe.model_validate(
            {
                "tokenizer": tokenizer,
                "config": config,
                "data": images.settings(folder),
                "optimizer": self._optimizer(steps) | {"lr": lr},
                "batch_size": self.batch_size,
                **self._run(steps, seed),
            }
        )

    def _optimizer(self, steps: int) -> dict[str, Any]:
        return {"lr": 1e-3, "warmup": min(40, steps // 4), "final": 0.1}

    def _run(self, steps: int, seed: int) -> dict[str, Any]:
        return {"steps": steps, "ema": 0.98, "seed": seed, "log_every": 20, "checkpoint_every": 100, "sample_every": 0}


QUICK = Scale(
    photos=replace(PHOTOS, held_out=replace(PHOTOS.held_out, images=4, crops=1)),
    digits=replace(DIGITS, held_out=replace(DIGITS.held_out, images=8)),
    batch_size=4,
    width=16,
    depth=1,
    codes=32,
    dim=4,
    channels=8,
    steps=2,
    teacher_codes=16,
    teacher_steps=2,
    proxy_steps=2,
    finish_steps=2,
    short_codes=32,
    learned=12,
    generator_steps=2,
)
"""The same in seconds, to see that everything runs; its figures say nothing."""
