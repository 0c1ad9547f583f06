"""The recipe of a generator."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from zellige.train.parts import Data, RunSettings


class GeneratorRecipe(RunSettings):
    """One run of the generator loop, on a token set or on images that are tokenized as they come.

    Further settings are those of `RunSettings`. Layout and codebook of the generator are those of its tokens.

    Attributes:
        generator: ``system/preset``; or, to go on from trained weights, what `zellige.load` takes.
        tokens: a token set that `zellige encode` wrote; the other way is `data`.
        tokenizer: makes the tokens of `data`, and images of the samples; it is saved beside the generator. A token
            set does without it, but then there are no pictures.
        condition: of each sample: the ``class`` or the ``text`` that comes with it, or ``none``.
        text_encoder: name on the Hub or folder of the text encoder whose features condition on texts.
        gradient_checkpointing: compute the inside of blocks a second time instead of keeping it in memory.
        samples: of each picture that the run makes.
    """

    generator: str
    tokens: str | None = None
    tokenizer: str | None = None
    data: Data | None = None
    condition: Literal["class", "text", "none"] = "class"
    text_encoder: str | None = None
    gradient_checkpointing: bool = False
    samples: int = Field(16, ge=1)

    @model_validator(mode="after")
    def _tokens_come_from_one_place(self) -> Self:
        if (self.tokens is None) == (self.data is None):
            raise ValueError("a generator learns from tokens=set.parquet, or from images: data.train=[…] and tokenizer")
        if self.data is not None and self.tokenizer is None:
            raise ValueError("images become tokens by a tokenizer: name one, or pass a token set in place of data")
        if (self.condition == "text") != (self.text_encoder is not None):
            raise ValueError("condition=text needs a text_encoder, and nothing else takes one")
        return self
