"""What recipes of all kinds are made of: images, the optimizer, and how long and how exactly a run goes on."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
        flip: mirror half of the crops, left to right.
    """

    train: list[str] = Field(min_length=1)
    crop: int = Field(128, ge=8)
    crops_per_image: int = Field(1, ge=1)
    scale: tuple[Share, Share] = (0.5, 1.0)
    min_side: int = Field(1, ge=1)
    draw: Literal["image", "area"] = "image"
    flip: bool = True

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


class RunSettings(Part):
    """Settings of both loops.

    Attributes:
        config: settings of the model that replace those of its preset.
        start: ``fresh`` draws new weights; ``trained`` loads those of the model named.
        batch_size: samples that a process sees at a time.
        accumulate: batches whose gradients make one step.
        steps: optimizer steps; a step sees `accumulate` × `batch_size` samples on each process.
        precision: ``bf16`` runs the networks under autocast, weights stay float32; ``auto`` is bf16 where the
            hardware multiplies it natively, else fp32, and a run that is resumed keeps what it began with.
        ema: decay of the averaged weights, which are what is saved as the model.
        checkpoint_every: steps between checkpoints, from which a run resumes exactly; curves are drawn then.
        sample_every: steps between pictures of what the model does by then; 0 makes none.
        dtype: of the saved model's weights; checkpoints keep all of float32.
        name: by which the saved model knows itself; by default its preset.
        licence: terms of the saved weights, which their header states; those that a run goes on from keep theirs
            unless told.
        shard: divide weights, their averages, gradients and optimizer states among the processes (FSDP2); in a step
            each still has whole weights for a while.
        tensorboard: also write the log for TensorBoard, which comes with the extra of that name.
    """

    config: dict[str, Any] = Field(default_factory=dict)
    start: Literal["fresh", "trained"] = "fresh"
    optimizer: Optimizer = Optimizer()
    batch_size: int = Field(16, ge=1)
    accumulate: int = Field(1, ge=1)
    steps: int = Field(1000, ge=1)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    ema: Decay = 0.999
    seed: int = Field(0, ge=0)
    log_every: int = Field(20, ge=1)
    checkpoint_every: int = Field(500, ge=1)
    sample_every: int = Field(500, ge=0)
    dtype: Literal["fp32", "bf16"] = "fp32"
    name: str | None = None
    licence: str | None = None
    shard: bool = False
    tensorboard: bool = False

    @model_validator(mode="after")
    def _trained_weights_bring_settings(self) -> Self:
        if self.start == "trained" and self.config:
            raise ValueError("trained weights bring their settings: leave config out, or override it with config={}")
        return self
