"""Where the tokens of a run come from, and what is known of them before the first is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from zellige.codec import TokenSet
from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError
from zellige.core.hub import bundled, load
from zellige.core.tokens import Tokens, TokenSpec
from zellige.data import ImageSource, TrainStream, open_images
from zellige.data.transforms import RandomScaleCrop
from zellige.train.generator_recipe import GeneratorRecipe
from zellige.train.parts import Data
from zellige.train.token_stream import TokenizingStream, TokenSetStream


@dataclass(frozen=True)
class TokenSource:
    """Tokens for training.

    Attributes:
        stream: endless batches.
        spec: their layout and codebook.
        classes: number of classes, 0 where the condition is none; ``class_names`` where they have names.
        name: of the tokenizer that makes them, and the ``fingerprint`` of its weights.
        tokenizer: turns samples into pictures; None if it is not at hand.
    """

    stream: TokenSetStream | TokenizingStream
    spec: TokenSpec
    classes: int
    class_names: tuple[str, ...]
    name: str
    fingerprint: str
    tokenizer: Tokenizer | None


def open_token_source(recipe: GeneratorRecipe, accelerator: Accelerator) -> TokenSource:
    """The token set or the images of a recipe, for this process.

    Raises `UsageError` for a set that is empty, has several layouts, was made by another tokenizer than the recipe
    names, or lacks what the tokens are to be conditioned on.
    """
    tokenizer: Tokenizer | None = None
    if recipe.tokenizer is not None:
        tokenizer = load(recipe.tokenizer, kind=Tokenizer, device=accelerator.device)  # type: ignore[type-abstract]
    if recipe.tokens is not None:
        return _from_set(recipe, TokenSet(recipe.tokens), tokenizer, accelerator)
    assert recipe.data is not None
    assert tokenizer is not None
    return _from_images(recipe, recipe.data, tokenizer, accelerator)


def _from_set(
    recipe: GeneratorRecipe, tokens: TokenSet, tokenizer: Tokenizer | None, accelerator: Accelerator
) -> TokenSource:
    info, where = tokens.info, str(tokens.path)
    if not len(tokens):
        raise UsageError(f"{where} is empty: there is nothing to learn from")
    if info.layout is None:
        raise UsageError(f"{where} has rows of several layouts, and a generator models one: encode with --size")
    if tokenizer is not None and tokenizer.fingerprint() != info.fingerprint:
        raise UsageError(
            f"{where} holds tokens of {info.name} with weights {info.fingerprint}; {recipe.tokenizer} has weights "
            f"{tokenizer.fingerprint()}: name the tokenizer that made the set"
        )
    names, classes = info.classes, 0
    if recipe.condition == "class":
        found = np.unique(tokens.labels)
        if found[0] < 0:
            raise UsageError(f"{where} has rows without a class; set condition=none to train without classes")
        check_several(len(found), where)
        classes = max(len(names), int(found[-1]) + 1)
    if recipe.condition == "text" and not tokens.any_text():
        raise UsageError(f"{where} holds no texts: encode images with captions, or train with condition=class or none")
    return TokenSource(
        TokenSetStream(
            tokens,
            recipe.condition,
            recipe.batch_size,
            seed=recipe.seed,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
        ),
        TokenSpec(info.layout, info.codebook),
        classes,
        names if len(names) == classes else (),
        info.name,
        info.fingerprint,
        _at_hand(info.name, info.fingerprint, accelerator) if tokenizer is None else tokenizer,
    )


def _from_images(recipe: GeneratorRecipe, data: Data, tokenizer: Tokenizer, accelerator: Accelerator) -> TokenSource:
    images = open_images(data.train)
    stream = TrainStream(
        images,
        RandomScaleCrop(data.crop, data.scale, data.flip),
        recipe.batch_size,
        seed=recipe.seed,
        crops_per_image=data.crops_per_image,
        min_side=data.min_side,
        area=data.area,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )

    def encode(pixels: Tensor) -> Tokens:
        with accelerator.autocast():
            return tokenizer.encode(pixels)

    spec = encode(torch.zeros(1, 3, data.crop, data.crop)).spec
    names = images.classes if recipe.condition == "class" else ()
    return TokenSource(
        TokenizingStream(stream, recipe.condition, encode),
        spec,
        _classes_of(images, recipe) if recipe.condition == "class" else 0,
        names,
        tokenizer.name,
        tokenizer.fingerprint(),
        tokenizer,
    )


def _classes_of(images: ImageSource, recipe: GeneratorRecipe) -> int:
    names = images.classes
    if not names and "classes" not in recipe.config:
        raise UsageError(
            f"{images.name} names no classes: set config.classes to their number, if its images have labels, "
            "or condition=none"
        )
    count = int(recipe.config.get("classes", len(names)))
    check_several(count, images.name)
    return count


def check_several(classes: int, where: str) -> None:
    """`UsageError` if there is one class only, of which a generator learns nothing."""
    if classes == 1:
        raise UsageError(f"all samples of {where} are of one class; set condition=none to train without classes")


def _at_hand(name: str, fingerprint: str, accelerator: Accelerator) -> Tokenizer | None:
    """The tokenizer in the wheel that made a set; None if it was another."""
    known = next((part for part in (name, name.partition("/")[0]) if part in bundled()), None)
    if known is None:
        return None
    found = load(known, device=accelerator.device, quiet=True)
    return found if isinstance(found, Tokenizer) and found.fingerprint() == fingerprint else None
