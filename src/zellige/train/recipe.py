"""Recipes: what a training run is, in one YAML file.

A recipe names a tokenizer, its data and its schedule; `key=value` on the command line overrides a
line, with dots for nested keys (`optimizer.lr=1e-4`).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from zellige.core.errors import UsageError, nearest

Share = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
SHARE = 4
"""Crops, in area, for which an image is drawn once where images are drawn by area."""


class Part(BaseModel):
    """A group of settings; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Part):
    """Training images.

    Attributes:
        train: folders, tars, Parquet files or ``hf:`` names.
        crop: pixels a side of a training crop.
        crops_per_image: crops taken from one decoded image.
        scale: smallest and largest side of a crop before it is resized, as a share of the short side.
        min_side: images with a shorter side, in pixels, are left out.
        draw: ``image`` draws each image once an epoch; ``area`` once for every `SHARE` crops that it has room
            for, so that large photographs are not drowned by many small ones.
    """

    train: list[str] = Field(min_length=1)
    crop: int = Field(128, ge=8)
    crops_per_image: int = Field(1, ge=1)
    scale: tuple[Share, Share] = (0.5, 1.0)
    min_side: int = Field(1, ge=1)
    draw: Literal["image", "area"] = "image"

    @property
    def area(self) -> int | None:
        """Pixels for which an image is drawn once."""
        return SHARE * self.crop**2 if self.draw == "area" else None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale starts with the smaller share")
        return self


class Optimizer(Part):
    """AdamW with linear warm-up and cosine decay to `final` × `lr`; gradients longer than `clip` are shortened."""

    lr: float = Field(3e-4, gt=0)
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    weight_decay: float = Field(0.0, ge=0)
    warmup: int = Field(100, ge=0)
    final: float = Field(0.05, ge=0, le=1)
    clip: float = Field(1.0, gt=0)


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
        discriminator: ``patch``, ``blur-pool``, or ``features`` of EfficientNet-Lite0.
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
    discriminator: Literal["patch", "blur-pool", "features"] = "patch"
    settings: dict[str, Any] = Field(default_factory=dict)
    loss: Literal["hinge", "leaky-hinge", "vanilla", "wasserstein", "swapped"] = "hinge"
    generator: Literal["linear", "non-saturating"] = "linear"
    lecam: float = Field(1e-3, ge=0)
    augment: float = Field(1.0, ge=0, le=1)
    optimizer: AdversaryOptimizer = AdversaryOptimizer()


class Loss(Part):
    """Weights of the loss terms; the quantizer adds its own."""

    mse: float = Field(1.0, ge=0)
    l1: float = Field(0.0, ge=0)
    charbonnier: float = Field(0.0, ge=0)
    perceptual: Perceptual = Perceptual()
    adversarial: Adversarial = Adversarial()

    @property
    def pixel(self) -> dict[str, float]:
        """The weights of the pixel terms by name."""
        return {"mse": self.mse, "l1": self.l1, "charbonnier": self.charbonnier}

    @model_validator(mode="after")
    def _something_to_reconstruct(self) -> Self:
        if not any(self.pixel.values()) and not self.perceptual.weight:
            raise ValueError("give one of mse, l1, charbonnier and perceptual a weight above zero")
        return self


class Recipe(Part):
    """One run of the tokenizer loop.

    Attributes:
        tokenizer: ``system/preset``; `config` overrides its settings. Or, to go on from trained weights, what
            `zellige.load` takes.
        start: ``fresh`` draws new weights; ``trained`` loads those of `tokenizer`.
        trains: ``all`` of the tokenizer, or the ``decoder`` alone: codes and their meaning stay as they are.
        techniques: what training does to latents beside quantizing them: settings by name, or a list of names.
        batch_size: crops that a process sees at a time.
        accumulate: batches whose gradients make one step.
        steps: optimizer steps; a step sees `accumulate` × `batch_size` crops on each process.
        precision: ``bf16`` runs the networks under autocast; weights stay float32.
        ema: decay of the averaged weights, which are what is saved as the model.
        checkpoint_every: steps between checkpoints, from which a run resumes exactly; curves are drawn then.
        sample_every: steps between pictures of originals and reconstructions; 0 makes none.
        dtype: of the saved model's weights; checkpoints keep all of float32.
        licence: terms of the saved weights, which their header states; those that a run goes on from keep theirs
            unless told.
        tensorboard: also write the log for TensorBoard, which comes with the extra of that name.
    """

    tokenizer: str
    config: dict[str, Any] = Field(default_factory=dict)
    start: Literal["fresh", "trained"] = "fresh"
    trains: Literal["all", "decoder"] = "all"
    data: Data
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    techniques: dict[str, dict[str, Any]] = Field(default_factory=dict)
    batch_size: int = Field(16, ge=1)
    accumulate: int = Field(1, ge=1)
    steps: int = Field(1000, ge=1)
    precision: Literal["bf16", "fp32"] = "bf16"
    ema: Decay = 0.999
    seed: int = Field(0, ge=0)
    log_every: int = Field(20, ge=1)
    checkpoint_every: int = Field(500, ge=1)
    sample_every: int = Field(500, ge=0)
    dtype: Literal["fp32", "bf16"] = "fp32"
    licence: str | None = None
    tensorboard: bool = False

    @field_validator("techniques", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return _by_name(value)

    @model_validator(mode="after")
    def _trained_weights_fit(self) -> Self:
        if self.start == "trained" and self.config:
            raise ValueError("trained weights bring their settings: leave config out, or override it with config={}")
        return self


def load_recipe(name: str, overrides: list[str] | None = None) -> Recipe:
    """A recipe from a file or from the wheel (``zellige-photo/tiny``), with overrides applied.

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
        raise UsageError(f"recipe '{name}' holds no settings; it starts with 'tokenizer:' and 'data:'")
    for override in _spell_out(data, overrides or []):
        _apply(data, override)
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise UsageError(f"recipe '{name}': {_first_problem(error)}") from None


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


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the recipe"
    if first["type"] == "extra_forbidden":
        group: type[BaseModel] = Recipe
        for part in first["loc"][:-1]:
            inner = group.model_fields[str(part)].annotation
            group = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else group
        return f"unknown key '{where}'; there is {', '.join(group.model_fields)}"
    got = "" if first["type"] == "missing" or not first["loc"] else f" (got {first['input']!r})"
    return f"'{where}': {first['msg'].lower()}{got}"
