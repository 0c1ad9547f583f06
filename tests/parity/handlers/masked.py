"""Masked generators: MaskGIT's and ENAT's networks, their sampling with stored noise, schedules and losses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tests.parity.case import Case, Line
from tests.parity.handlers.next_token import build, square
from tests.parity.inputs import setting
from tests.parity.runner import handler
from zellige.convert.enat import ENATAdapter
from zellige.convert.maskgit import MaskGITAdapter
from zellige.core.noise import Noise
from zellige.generate.guidance import Guidance
from zellige.generate.masked import Predict, masked_cross_entropy, masked_share, unmask
from zellige.generate.sampling import Sampler
from zellige.quantize.entropy import entropy_of
from zellige.systems.enat import ENAT, Features
from zellige.systems.maskgit import MaskGIT


class StoredNoise(Noise):
    """Gives out the Gumbel noise of a case, a step a call, and draws nothing."""

    def __init__(self, gumbel: Sequence[Tensor]) -> None:
        super().__init__(range(len(gumbel[0])))
        self.left = list(gumbel)

    def gumbel(self, *shape: int) -> Tensor:
        return self.left.pop(0)


def stored_sampler(gumbel: Sequence[Tensor], temperature: float) -> Sampler:
    """A sampler that takes the largest of filtered logits plus the Gumbel noise of a case, a step a call."""
    left = list(gumbel)

    class Stored(Sampler):
        def __call__(self, logits: Tensor, noise: Noise) -> Tensor:
            given = left.pop(0)
            return logits.argmax(-1) if self.temperature == 0 else (self.filter(logits) + given).argmax(-1)

    return Stored(temperature)


def watched(predict: Predict, seen: list[tuple[Tensor, Tensor]]) -> Predict:
    """`predict`, with the ids and masks that it is given kept in `seen`."""

    def watching(ids: Tensor, masked: Tensor) -> Tensor:
        seen.append((ids, masked))
        return predict(ids, masked)

    return watching


def check_inputs(case: Case, name: str, seen: list[tuple[Tensor, Tensor]], mask: int) -> None:
    """Compare what the network was fed at each step (T, B, L), `mask` where there was a mask."""
    count = case.arrays[name].shape[1]
    case.check_ids(name, torch.stack([ids.masked_fill(masked, mask)[:count] for ids, masked in seen]))


@handler(lambda meta: meta["official"].startswith("libs.models.DiT"))
def enat(case: Case) -> None:
    model = build_enat(case)
    labels, before, last = case.read("y").long(), None, None
    for k in range(len(case.meta["masks"])):
        ids = case.read(f"ids_{k}").long()
        last = ids, ids == model.codes
        before = model.features(*last, labels, before)
        case.check(f"feat_{k}", before.x)
        case.check(f"logits_{k}", model.logits(before))
    if last is not None and "logits_last_noreuse" in case.arrays:
        case.check("logits_last_noreuse", model.logits(model.features(*last, labels)))


@handler(lambda meta: "NATSchedule.generate" in meta["official"])
def enat_sampling(case: Case) -> None:
    model, config = build_enat(case), case.meta["config"]
    labels = case.read("y").long()
    labels = torch.cat([labels, torch.full_like(labels, model.classes)])
    features: Features | None = None

    def predict(ids: Tensor, masked: Tensor) -> Tensor:
        nonlocal features
        features = model.features(ids, masked, labels, features)
        return model.logits(features)

    settings = model.settings({"steps": config["steps"], "choice_temperature": config["mask_temp"]})
    guidance = Guidance(1 + config["cfg_scale"], "linear")
    sampler = stored_sampler(case.read("token_gumbel"), config["samp_temp"])
    noise, seen = StoredNoise(case.read("conf_gumbel")), []
    start = torch.zeros(len(labels) // 2, model.length, dtype=torch.long)
    predict = watched(predict, seen)
    ids = unmask(predict, start, start == 0, settings.unmasking(), guidance, sampler, noise)
    check_inputs(case, "ids", seen, model.codes)
    case.check_ids("tokens", ids)


def build_enat(case: Case) -> ENAT:
    """Heads and the split of the blocks are in the configuration or in the note."""
    config, note = case.meta["config"], case.meta.get("note", "")
    found = re.search(r"(\d+) heads, enc_dec (\d+)\+(\d+)", note)
    heads, *depths = [int(n) for n in found.groups()] if found else [0, 0, 0]
    heads, depths = setting(config, "heads") or heads, setting(config, "enc_dec") or depths
    side, keys = config["grid"], case.meta.get("keys") or {}
    table = keys.get("y_embedder.embedding_table.weight")
    dim = keys["norm.weight"][0] if "norm.weight" in keys else config["hidden"]
    settings: dict[str, Any] = {"layout": ((side, side),), "codebook": (config["codebook"],), "dim": dim}
    settings |= {"encoder_depth": depths[0], "decoder_depth": depths[1], "heads": heads}
    model = build(case, ENATAdapter(), settings | {"classes": table[0] - 1 if table else 1000})
    assert isinstance(model, ENAT)
    return model


@handler(lambda meta: meta["official"].endswith("maskgit_transformer.Transformer"))
def maskgit(case: Case) -> None:
    config = case.meta["config"]
    classes = min(1000, config["vocab"] - 2)
    settings = {
        "layout": square(config["max_pos"] - 1),
        "codebook": (config["vocab"] - classes - 1,),
        "classes": classes,
        "dim": config["hidden"],
        "depth": config["layers"],
        "heads": config["heads"],
        "hidden": config["intermediate"],
    }
    model = build(case, MaskGITAdapter(), settings)
    assert isinstance(model, MaskGIT)
    ids = case.read("ids").long()
    case.check("logits", model.scores(torch.where(ids < 0, model.mask, ids)))


@handler(lambda meta: meta["official"].endswith("parallel_decode.decode"))
def maskgit_sampling(case: Case) -> None:
    config, rows, places = case.meta["config"], case.read("W"), case.read("P")
    start, seen = case.read("init").long(), []
    chosen: list[Tensor] = []

    def predict(ids: Tensor, masked: Tensor) -> Tensor:
        x = rows[ids.masked_fill(masked, len(rows) - 1)]
        return 0.5 * x + x.mean(1, keepdim=True) + places

    drawn = stored_sampler(case.read("cat_gumbel"), 1.0)

    class Watched(type(drawn)):  # type: ignore[misc]
        def __call__(self, logits: Tensor, noise: Noise) -> Tensor:
            chosen.append(super().__call__(logits, noise))
            return chosen[-1]

    plan = replace(
        MaskGIT.config_class().unmasking(),
        steps=config["num_iter"],
        schedule=schedule_name(config.get("method", "cosine")),
        choice_temperature=config["choice_temperature"],
    )
    known, noise = start >= 0, StoredNoise(case.read("conf_gumbel"))
    predict, sampler, first = watched(predict, seen), Watched(1.0), int(config.get("start_iter", 0))
    unmask(predict, start.clamp(min=0), ~known, plan, Guidance(), sampler, noise, start=first)
    check_inputs(case, "ids", seen, -1)
    finals = [torch.where(masked, new, ids) for (ids, masked), new in zip(seen, chosen, strict=True)]
    case.seen.add("final")
    want = case.arrays["final"][:, first:]
    wrong = int((torch.stack(finals, 1).numpy() != want).sum())
    case.lines.append(Line("final", wrong == 0 and want.size > 0, f"{wrong} of {want.size} ids differ"))


@handler(lambda meta: "mask_schedule.schedule" in meta["official"])
def maskgit_functions(case: Case) -> None:
    ratio, total = case.read("ratio"), int(case.meta["config"]["total_unknown"])
    for name in sorted(case.arrays):
        if name.startswith("schedule_"):
            case.check(name, masked_share(ratio, schedule_name(name.removeprefix("schedule_")), total))
    affinity = case.read("affinity")
    for name in sorted(case.arrays):
        if name.startswith("ent_"):
            case.check(name, entropy(affinity, "argmax" in name, 1.0 if name.endswith("_t1") else 0.01))
    loss = masked_cross_entropy(
        case.read("logits"), case.read("labels"), case.read("weights"), smoothing=0.1, each=True
    )
    case.check("ce", loss)


def schedule_name(official: str) -> str:
    return {"uniform": "linear"}.get(official, official)


def entropy(affinity: Tensor, hard: bool, temperature: float) -> Tensor:
    """Mean entropy of the assignments less the entropy of their mean."""
    p = (affinity / temperature).softmax(-1)
    target = torch.nn.functional.one_hot(p.argmax(-1), p.shape[-1]).to(p) if hard else p
    each = -(target * (affinity / temperature + 1e-5).log_softmax(-1)).sum(-1)
    return each.mean() - entropy_of(target.mean(0))
