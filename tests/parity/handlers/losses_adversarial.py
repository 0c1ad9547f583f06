"""Losses of logits and of features, and the augmentation of what a discriminator sees."""

from __future__ import annotations

import re

import torch

from tests.parity.case import Case
from tests.parity.inputs import setting
from tests.parity.runner import handler
from zellige.losses.adversarial import discriminator_loss, generator_loss
from zellige.losses.augment import DiffAugment, Draws
from zellige.losses.contrastive import contrastive_loss
from zellige.losses.lecam import LeCAM


@handler(lambda meta: "vq_loss.py" in meta["official"])
def losses(case: Case) -> None:
    config = case.meta["config"]
    real, fake = case.read("real"), case.read("fake")
    for name, kind in {"hinge_d": "hinge", "vanilla_d": "vanilla", "ns_d": "swapped"}.items():
        if name in case.arrays:
            case.check(name, discriminator_loss(real, fake, kind))
    if "hinge_g" in case.arrays:
        case.check("hinge_g", generator_loss(fake))
    if "lecam" in case.arrays:
        lecam, found = LeCAM(setting(config, "lecam_decay") or 0.999), []
        for _ in case.arrays["lecam"]:
            lecam.update(real, fake)
            found.append(lecam(real, fake))
        case.check("lecam", torch.stack(found))
    if "clip_loss" in case.arrays:
        a, b = case.read("feat_a"), case.read("feat_b")
        plain, scaled = setting(config, "logit_scale") or (1.0, 100.0)
        case.check("clip_loss", contrastive_loss(a, b, scale=plain, normalize=False))
        case.check(f"clip_loss_norm{scaled:.0f}", contrastive_loss(a, b, scale=scaled))


@handler(lambda meta: "DiffAug(" in meta["official"])
def diffaug(case: Case) -> None:
    draws = Draws(gates=torch.zeros(3), values=case.read("rand01").flatten(1))
    config, cutout = case.meta["config"], re.search(r"cutout=([0-9.]+)", case.meta["official"])
    augment = DiffAugment(cutout=float(cutout[1]) if cutout else 0.2)
    case.check("output", augment(case.read("input"), blur=setting(config, "blur") or 0.0, draws=draws))
