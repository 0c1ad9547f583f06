"""Semantic alignment: an image's tokens, taken together, tell it from the others as a frozen encoder does.

Legend: B samples, N positions, D dimensions of a latent, F features of the encoder, S pixels a side.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from zellige.core.contract import Tokenizer
from zellige.core.errors import UsageError, nearest
from zellige.latent.technique import Pass, Technique
from zellige.losses.contrastive import contrastive_loss
from zellige.nn.features.frozen import Frozen
from zellige.nn.precision import full_precision

Codes = Literal["clean", "perturbed"]
Projection = Literal["own", "tokenizer"]


class SemanticAlignment(Technique):
    """A contrastive loss between images as the encoder and as the tokens see them (XQ-GAN, arXiv 2412.01762).

    With a_i the projected feature of image i and b_i the mean of its quantized latents: `semantic` = weight ·
    symmetric InfoNCE of (a, b) over the batches of all processes, features at their own lengths. Its gradient
    reaches encoder and projection.

    Args:
        encoder: images (B, 3, S, S) in [-1, 1] to features (B, F), frozen here; it has F as `width`.
        weight: of the loss, above 0.
        codes: the "clean" ones, as the paper says, or, as the released code has it, the "perturbed" ones, which are
            those that the decoder gets.
        projection: from F to D: a linear layer of its "own", or the one that the "tokenizer" has before its quantizer
            (`project_in`), whose D may be that of the last of several sub-codebooks.
        scale: of the logits, one over the temperature.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        weight: float = 0.1,
        codes: Codes = "clean",
        projection: Projection = "own",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not isinstance(getattr(encoder, "width", None), int):
            raise UsageError(f"{type(encoder).__name__} gives no feature vectors to align tokens with")
        if weight <= 0 or scale <= 0:
            raise UsageError(f"weight and scale of the alignment are above 0; got {weight:g} and {scale:g}")
        if codes not in ("clean", "perturbed"):
            raise nearest(codes, ["clean", "perturbed"], "kind of codes")
        if projection not in ("own", "tokenizer"):
            raise nearest(projection, ["own", "tokenizer"], "projection")
        self.encoder, self.width = Frozen(encoder), cast(int, encoder.width)
        self.weight, self.codes, self.projection, self.scale = weight, codes, projection, scale
        self.project: nn.Module | None = None

    def prepare(self, tokenizer: Tokenizer, batch_size: int) -> None:
        if batch_size < 2:
            raise UsageError("alignment tells the images of a batch apart; set batch_size to 2 or more")
        if self.projection == "own":
            self.project = nn.Linear(self.width, tokenizer.quantizer.dim)
            return
        layer = getattr(tokenizer, "project_in", None)
        seen = getattr(layer, "in_channels", None)
        if seen != self.width:
            has = "has no projection" if seen is None else f"projects {seen} channels"
            raise UsageError(
                f"{tokenizer.name} {has}, but the encoder gives {self.width} features; set projection to 'own'"
            )

    def loss(self, seen: Pass) -> dict[str, Tensor]:
        if seen.x is None:
            raise UsageError(f"{seen.tokenizer.name} hands no images to its techniques; alignment needs them")
        with torch.no_grad():
            features = self.encoder(seen.x)
        with full_precision(features):
            if self.project is not None:
                a = self.project(features.float())
            else:
                a = cast(nn.Module, seen.tokenizer.project_in)(features.float()[..., None, None]).flatten(1)
            z_q = seen.clean.z_q if self.codes == "clean" else seen.quantized
            b = z_q.float().mean(1)[:, -a.shape[1] :]
            return {"semantic": self.weight * contrastive_loss(a, b, scale=self.scale, normalize=False)}
