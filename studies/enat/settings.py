"""What is trained and how it is judged. Legend: L tokens of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zellige.train.generator_recipe import GeneratorRecipe

ARMS: dict[str, dict[str, Any]] = {
    "6+2": {"generator": "enat/small", "encoder_depth": 6, "decoder_depth": 2},
    "2+6": {"generator": "enat/small", "encoder_depth": 2, "decoder_depth": 6},
    "no reuse": {"generator": "enat/small", "encoder_depth": 6, "decoder_depth": 2, "reuse": 0.0},
    "uniform": {"generator": "maskgit/small", "depth": 4, "attention_dropout": 0.0},
}
"""Generators that are compared: encoder + decoder blocks of ENAT; one that never reuses features in training, for as
many steps as the first; and MaskGIT, all of whose blocks see all tokens."""
RATES = {"enat/small": 3e-3, "maskgit/small": 1e-3}
"""Of learning: MaskGIT normalizes after each block, and does not bear the higher one."""
CHAINED = ("6+2", "no reuse")
"""Arms whose reuse of features is measured."""
RATIOS = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
"""Shares of the tokens that are masked where arms are compared."""
DECODINGS: dict[str, dict[str, Any]] = {
    "1 step": {"steps": 1},
    "8 steps": {"steps": 8, "choice_temperature": 4.5},
    "8 steps, little noise on the order": {"steps": 8, "choice_temperature": 1.0},
    "8 steps, random order": {"steps": 8, "choice_temperature": 1e6},
}
"""How the uniform generator is sampled, on the cosine schedule. Noise that drowns the confidence leaves a random
order."""


@dataclass(frozen=True)
class Scale:
    """Sizes of the study.

    Attributes:
        patch: pixels a token spans on each side; ``codes`` of them are told apart.
        images: of the training set that become tokens.
        steps: of training of the first arm; the others take as many floating-point operations.
        counted: training steps whose operations are counted, for the mean over draws of masks.
        width: channels of all generators.
        heads: of attention.
        probed: held-out images whose tokens are to be predicted.
        samples: that are drawn for a distance, and held-out images they are compared with.
    """

    patch: int = 4
    codes: int = 256
    images: int = 50_000
    batch_size: int = 32
    steps: int = 1600
    counted: int = 32
    width: int = 192
    heads: int = 3
    probed: int = 512
    samples: int = 1000

    def recipe(self, arm: str, steps: int, tokens: Path, seed: int) -> GeneratorRecipe:
        """The training of one generator, conditioned on classes."""
        given = dict(ARMS[arm])
        generator = given.pop("generator")
        config = {"dim": self.width, "heads": self.heads, "dropout": 0.0, **given}
        if generator.startswith("maskgit"):
            config["hidden"] = 4 * self.width
        return GeneratorRecipe.model_validate(
            {
                "generator": generator,
                "config": config,
                "tokens": str(tokens),
                "optimizer": {
                    "lr": RATES[generator],
                    "weight_decay": 0.03,
                    "warmup": min(40, steps // 4),
                    "final": 0.02,
                },
                "batch_size": self.batch_size,
                "steps": steps,
                "ema": 0.98,
                "seed": seed,
                "log_every": 20,
                "checkpoint_every": 100,
                "sample_every": 0,
            }
        )


QUICK = Scale(codes=32, images=16, batch_size=4, steps=2, counted=2, width=16, heads=2, probed=4, samples=8)
"""The same in seconds, to see that everything runs; its figures say nothing."""
