"""What TiTok is trained with: quantizers with their gradients, discriminator, losses and schedules."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.parity.case import Case
from tests.parity.draw import draw
from tests.parity.runner import handler
from zellige.generate.masked import masked_cross_entropy, masked_share
from zellige.losses.adversarial import discriminator_loss
from zellige.losses.discriminators.blurpool import BlurPoolDiscriminator
from zellige.losses.lecam import LeCAM
from zellige.quantize.gaussian import GaussianQuantizer
from zellige.quantize.vq import VectorQuantizer
from zellige.train.optim import learning_rate, update_average
from zellige.train.parts import Optimizer

SCHEDULES = {"square": "pow2", "root": "pow0.5"}
"""Schedules of masks that have another name there."""
PARTS = {"stem": "block_in", "head": "to_logits", "stages": "blocks"}
"""Parts of our discriminator under their official names."""


@handler(lambda meta: "VectorQuantizer, DiagonalGaussianDistribution, NLayerDiscriminator" in meta["official"])
def titok_functions(case: Case) -> None:
    for name in ("vq", "vq_l2"):
        _check_quantizer(case, name)
    _check_clustering(case)
    _check_gaussian(case)
    _check_adversary(case)
    _check_cross_entropies(case)
    _check_schedules(case)


def _check_quantizer(case: Case, name: str) -> None:
    """Values, and the gradients of (z_q · w).sum() + loss."""
    quantizer = _quantizer(case, normalize=name.endswith("l2"))
    with torch.enable_grad():
        z = case.read(f"{name}.z").requires_grad_()
        out = quantizer(_ours(z))
        loss = torch.stack(list(out.losses.values())).sum()
        ((out.z_q * _ours(case.read(f"{name}.w"))).sum() + loss).backward()
    assert out.ids is not None
    assert z.grad is not None
    assert quantizer.embedding.weight.grad is not None
    case.check(f"{name}.zq", _official(out.z_q))
    case.check_ids(f"{name}.indices", out.ids)
    case.check(f"{name}.loss", loss)
    for part, value in out.losses.items():
        case.check(f"{name}.{part}", value)
    case.check(f"{name}.grad_z", z.grad)
    case.check(f"{name}.grad_codebook", quantizer.embedding.weight.grad)


def _check_clustering(case: Case) -> None:
    """Two steps of training; their uses are shares of the batch, ours are in units of the mean use."""
    quantizer = _quantizer(case, clustering=True).train()
    z = _ours(case.read("cvq.z"))
    first, second = quantizer(z), quantizer(z)
    case.check("cvq.zq1", _official(first.z_q))
    case.check("cvq.zq2", _official(second.z_q))
    assert second.ids is not None
    case.check_ids("cvq.idx2", second.ids)
    assert quantizer.embedding.uses is not None
    case.check("cvq.embed_prob", quantizer.embedding.uses / quantizer.codebook[0])
    case.check("cvq.codebook_after", quantizer.embedding.weight)


def _check_gaussian(case: Case) -> None:
    """The divergence is in nats a token here, of which our loss is the sum over tokens."""
    parameters = _ours(case.read("gauss.params"))
    quantizer = GaussianQuantizer(parameters.shape[2] // 2, kl_weight=1.0)
    mean, log_variance = quantizer.moments(parameters)
    case.check("gauss.mean", _official(mean))
    case.check("gauss.std", _official((log_variance / 2).exp()))
    tokens = [[quantizer(row[None, None]).losses["kl"] for row in sample] for sample in parameters]
    case.check("gauss.kl", torch.tensor(tokens))


def _check_adversary(case: Case) -> None:
    model = BlurPoolDiscriminator()
    model.load_state_dict({key: draw(_official_name(key), value.shape) for key, value in model.state_dict().items()})
    for i, stage in enumerate(model.stages):  # a buffer there, so the case drew it as well
        assert isinstance(stage, torch.nn.Sequential)
        stage[1].kernel = draw(f"blocks.{i}.1.kernel", (1, 1, 4, 4))[0, 0]
    case.check("disc.logits", model(_drawn(14, (1, 3, 128, 128), uniform=True)))
    real, fake = case.read("gan.real"), case.read("gan.fake")
    case.check("gan.hinge_d", discriminator_loss(real, fake))
    lecam = LeCAM()
    lecam.real.fill_(0.3)  # both averages are told in the note
    lecam.fake.fill_(-0.2)
    case.check("gan.lecam", lecam(real.mean(), fake.mean()))  # of the batch's means there, of each logit in the paper


def _check_cross_entropies(case: Case) -> None:
    """Of masked tokens; and of a teacher's codes, to which the first stage adds the loss of its quantizer."""
    logits, ids, masked = case.read("mlm.logits"), case.read("mlm.targets"), case.read("mlm.masks")
    weights = torch.where(masked, 1.0, 0.1)
    case.check("mlm.loss", masked_cross_entropy(logits, ids, weights, smoothing=0.1))
    right = (logits.argmax(-1) == ids) & masked
    case.check("mlm.correct", (right.sum(1) / masked.sum(1)).mean())
    codes = case.read("stage1.targets")
    painted = _drawn(int(case.read("stage1.recon_seed")), (1, 1024, 2, 2)).flatten(2)
    case.check("stage1.loss", F.cross_entropy(painted, codes) + 0.5)


def _check_schedules(case: Case) -> None:
    """Ours count a step from its start: no warm-up step has rate 0, and the average starts as a copy."""
    done = torch.linspace(0, 1, 11)
    for name in case.arrays:
        if name.startswith("mask_ratio."):
            official = name.removeprefix("mask_ratio.")
            case.check(name, masked_share(done, SCHEDULES.get(official, official), 1))
    config = case.meta["config"]
    decays = [_decay(config["ema"]["decay"], step) for step in config["ema"]["steps"]]
    case.check("ema.decay", torch.tensor(decays))
    warmup, total, base, end = (config["lr"][name] for name in ("warmup", "total", "base", "end"))
    settings = Optimizer(lr=base, warmup=warmup, final=end / base)
    rates = [learning_rate(step - (step < warmup), total, settings) for step in range(total + 1)]
    case.arrays["cosine_lr"] = case.arrays["cosine_lr"] / base  # the rates themselves are below the tolerance
    case.check("cosine_lr", torch.tensor(rates) / base)


def _decay(most: float, step: int) -> float:
    """Of the average at an official step, which copies the weights up to step 1."""
    if step < 2:
        return 0.0
    average = {"x": torch.ones(1, dtype=torch.float64)}
    update_average(average, {"x": torch.zeros(1, dtype=torch.float64)}, most, step - 1)
    return average["x"].item()


def _quantizer(case: Case, *, normalize: bool = False, clustering: bool = False) -> VectorQuantizer:
    config = case.meta["config"]["vq"]
    quantizer = VectorQuantizer(
        config["token_size"],
        config["codebook_size"],
        normalize=normalize,
        beta=config["commitment_cost"],
        clustering=clustering,
    )
    quantizer.embedding.weight.copy_(draw("embedding.weight", quantizer.embedding.weight.shape))
    return quantizer.eval()


def _official_name(key: str) -> str:
    part, _, rest = key.partition(".")
    return f"{PARTS[part]}.{rest}"


def _drawn(seed: int, shape: tuple[int, ...], *, uniform: bool = False) -> Tensor:
    generator = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(generator.random(shape) if uniform else generator.standard_normal(shape)).float()


def _ours(z: Tensor) -> Tensor:
    """(B, D, 1, N) to (B, N, D)."""
    return z[:, :, 0].transpose(1, 2)


def _official(z: Tensor) -> Tensor:
    """(B, N, D) to (B, D, 1, N)."""
    return z.transpose(1, 2)[:, :, None]
