"""Recipes: what a training run is, in one YAML file.

A recipe names a tokenizer or a generator, its data and its schedule; `key=value` on the command line overrides a
line, with dots for nested keys (`optimizer.lr=1e-4`).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from zellige.core.errors import UsageError, nearest
from zellige.train.generator_recipe import GeneratorRecipe
from zellige.train.parts import Data, Decay, Optimizer, Part, RunSettings


class AdversaryOptimizer(Optimizer):
    """The optimizer of a discriminator, which remembers less; its schedule begins when it does."""

    betas: tuple[Decay, Decay] = (0.5, 0.9)


class Perceptual(Part):
    """A distance between features of a fixed network.

    Attributes:
        weight: 0 leaves the term out, and no network is loaded.
        network: ``efficientnet_lite0``, whose weights come with the extra ``features``, or LPIPS.
        weights: file of the network; None looks where such files usually lie.
        heads: file of the LPIPS heads, likewise.
    """

    weight: float = Field(0.0, ge=0)
    network: Literal["efficientnet_lite0", "lpips-vgg", "lpips-alex", "lpips-squeeze"] = "efficientnet_lite0"
    weights: str | None = None
    heads: str | None = None


class Adversarial(Part):
    """A discriminator that learns to tell reconstructions from originals, and a loss for deceiving it.

    Attributes:
        weight: 0 leaves the term out, and no discriminator is made; 0.5 is usual.
        start: step at which the discriminator enters; it is trained from then on.
        ramp: steps over which its weight then grows to all of `weight`.
        adaptive: scale the loss so that its gradient is as long as that of pixel and perceptual terms together.
        discriminator: ``patch``, ``blur-pool``, or heads on the features of a frozen network: ``features`` of
            EfficientNet-Lite0, ``dino`` of DINO's ViT-S/16.
        settings: of the discriminator: channels, layers, norm, …
        loss: of the discriminator.
        generator: of the reconstruction: ``linear`` goes with hinge losses, ``non-saturating`` with vanilla.
        lecam: weight of the regulariser that keeps the discriminator from growing sure of itself.
        augment: chance of each change that DiffAugment makes to what the discriminator sees.
    """

    weight: float = Field(0.0, ge=0)
    start: int = Field(0, ge=0)
    ramp: int = Field(0, ge=0)
    adaptive: bool = True
    discriminator: Literal["patch", "blur-pool", "features", "dino"] = "patch"
    settings: dict[str, Any] = Field(default_factory=dict)
    loss: Literal["hinge", "leaky-hinge", "vanilla", "wasserstein", "swapped"] = "hinge"
    generator: Literal["linear", "non-saturating"] = "linear"
    lecam: float = Field(1e-3, ge=0)
    augment: float = Field(1.0, ge=0, le=1)
    optimizer: AdversaryOptimizer = AdversaryOptimizer()


class Teacher(Part):
    """The codes of a frozen tokenizer, for tokenizers that predict them, which is how TiTok begins.

    Attributes:
        tokenizer: what `zellige.load` takes; None leaves the term out. Its decoder becomes part of what is trained,
            and stays as it is: to train that too, go on without a teacher.
        weight: of the cross-entropy.
    """

    tokenizer: str | None = None
    weight: float = Field(1.0, gt=0)


class Loss(Part):
    """Weights of the loss terms; the quantizer adds its own."""

    mse: float = Field(1.0, ge=0)
    l1: float = Field(0.0, ge=0)
    charbonnier: float = Field(0.0, ge=0)
    perceptual: Perceptual = Perceptual()
    adversarial: Adversarial = Adversarial()
    teacher: Teacher = Teacher()

    @property
    def pixel(self) -> dict[str, float]:
        """The weights of the pixel terms by name."""
        return {"mse": self.mse, "l1": self.l1, "charbonnier": self.charbonnier}

    @model_validator(mode="after")
    def _something_to_reconstruct(self) -> Self:
        if not any(self.pixel.values()) and not self.perceptual.weight and self.teacher.tokenizer is None:
            raise ValueError("give one of mse, l1, charbonnier and perceptual a weight above zero, or name a teacher")
        return self


class Recipe(RunSettings):
    """One run of the tokenizer loop; further settings are those of `RunSettings`.

    Attributes:
        tokenizer: ``system/preset``; or, to go on from trained weights, what `zellige.load` takes.
        backbone: name or folder of a DINOv2, from which vision transformers in a fresh tokenizer start, with the
            extra ``lm``; where it cannot be had they start from random weights, with a warning.
        trains: ``all`` of the tokenizer, or the ``decoder`` alone: codes and their meaning stay as they are.
        techniques: what training does to latents beside quantizing them: settings by name, or a list of names.
    """

    tokenizer: str
    backbone: str | None = None
    trains: Literal["all", "decoder"] = "all"
    data: Data
    loss: Loss = Loss()
    techniques: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @field_validator("techniques", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return _by_name(value)

    @model_validator(mode="after")
    def _weights_come_from_one_place(self) -> Self:
        if self.start == "trained" and self.backbone:
            raise ValueError("a tokenizer starts from trained weights or from a backbone: leave one of them out")
        return self

    @model_validator(mode="after")
    def _divided_weights_have_no_last_layer(self) -> Self:
        adversarial = self.loss.adversarial
        if self.shard and adversarial.weight and adversarial.adaptive:
            raise ValueError("shard divides the layer that loss.adversarial.adaptive needs: set one of them to false")
        return self


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe | GeneratorRecipe:
    """A recipe from a file or from the wheel (``zellige-photo/tiny``), with overrides applied.

    It is a `GeneratorRecipe` if it names a generator.

    Raises `UsageError` that names the recipe, the key and what was expected of it.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise UsageError(f"no recipe at '{name}'")
        try:
            text = path.read_text("utf-8")
        except ValueError:
            raise UsageError(f"recipe '{name}' is no text in UTF-8") from None
    else:
        known = bundled_recipes()
        if name not in known:
            raise nearest(name, known, "recipe")
        text = (resources.files("zellige.recipes") / f"{name}.yaml").read_text("utf-8")
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"recipe '{name}' is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UsageError(f"recipe '{name}' holds no settings; it starts with 'tokenizer:' or 'generator:'")
    kind: type[Recipe] | type[GeneratorRecipe] = GeneratorRecipe if "generator" in data else Recipe
    for override in _spell_out(data, overrides or []) if kind is Recipe else overrides or []:
        _apply(data, override)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"recipe '{name}': {_first_problem(error, kind)}") from None


def bundled_recipes() -> list[str]:
    """Names of the recipes in the wheel, ``<system>/<size>``."""
    found = []
    for folder in resources.files("zellige.recipes").iterdir():
        if folder.is_dir():
            found += [
                f"{folder.name}/{p.name.removesuffix('.yaml')}" for p in folder.iterdir() if p.name.endswith(".yaml")
            ]
    return sorted(found)


def _by_name(techniques: Any) -> Any:
    """``[a, {b: {…}}]`` and ``{a: , b: {…}}`` as ``{a: {}, b: {…}}``; anything else as it is."""
    if isinstance(techniques, list):
        if not all(isinstance(t, str) or (isinstance(t, dict) and len(t) == 1) for t in techniques):
            return techniques
        techniques = dict((t, None) if isinstance(t, str) else next(iter(t.items())) for t in techniques)
    if isinstance(techniques, dict):
        return {name: {} if settings is None else settings for name, settings in techniques.items()}
    return techniques


def _spell_out(data: dict[str, Any], overrides: list[str]) -> list[str]:
    """Overrides with ``technique=NAME`` entered in `data`, and ``technique.KEY=`` as ``techniques.NAME.KEY=``.

    A key belongs to the technique named last before it, or to the only one there is.
    """
    known = _by_name(data.get("techniques") or {})
    if not isinstance(known, dict):
        return overrides
    names = [value for key, _, value in (override.partition("=") for override in overrides) if key == "technique"]
    data["techniques"] = known = {name: {} for name in names} | known
    current = next(iter(known)) if len(known) == 1 else None
    spelled = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key == "technique":
            current = value
        elif key.startswith("technique."):
            if current is None:
                raise UsageError(f"'{override}' names no technique; put technique=NAME before it")
            spelled.append(f"techniques.{current}.{override.removeprefix('technique.')}")
        else:
            spelled.append(override)
    return spelled


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise UsageError(f"'{override}' is no override; write key=value, for example optimizer.lr=1e-4")
    *path, last = key.split(".")
    for part in path:
        data = data.setdefault(part, {})
        if not isinstance(data, dict):
            raise UsageError(f"'{override}' reaches into '{part}', which is a plain value")
    try:
        data[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(f"the value of '{override}' is no YAML; put quotes around it") from None


def _first_problem(error: ValidationError, recipe: type[BaseModel]) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the recipe"
    if first["type"] == "extra_forbidden":
        group = recipe
        for part in first["loc"][:-1]:
            inner = group.model_fields[str(part)].annotation
            group = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else group
        keys = sorted(group.model_fields, key=lambda key: key in RunSettings.model_fields)  # those of its own first
        return f"unknown key '{where}'; there is {', '.join(keys)}"
    got = "" if first["type"] == "missing" or not first["loc"] else f" (got {first['input']!r})"
    return f"'{where}': {first['msg'].lower()}{got}"
