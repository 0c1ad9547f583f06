"""FlowAR: teacher-forced conditions and velocities, sampling from given noise, and the times of its steps."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from tests.parity.case import Case
from tests.parity.draw import draw, official_state
from tests.parity.runner import handler
from zellige.convert.flowar import FlowARAdapter
from zellige.core.noise import Noise
from zellige.generate.flow import flow_times
from zellige.nn.conv import to_grid, to_sequence
from zellige.systems.flowar import FlowAR


@handler(lambda meta: meta["official"].startswith("models.flowar.FlowAR") and "sample" not in meta["official"])
def forward(case: Case) -> None:
    model = build(case)
    targets = model.targets(to_sequence(case.read("latent")))
    semantics = model.semantics(targets, case.read("y").long())
    case.check("ar_input", model.inputs(targets))
    coarse = torch.cat(targets[:-1], dim=1)
    leaves_out_the_finest = case.arrays["targets"].shape[1] == coarse.shape[1]
    case.check("targets", coarse if leaves_out_the_finest else torch.cat(targets, dim=1))
    case.check("z", semantics)
    time = case.read("t")
    for name in [name for name in case.arrays if name.startswith("eps_")]:
        side = int(name.removeprefix("eps_"))
        index = [height for height, _ in model.scales].index(side)
        mixed = (1 - time[:, None, None]) * targets[index] + time[:, None, None] * case.read(name)
        case.check(f"v_{side}", model.velocity(mixed, time, semantics[:, model._slots(index)], index))


@handler(lambda meta: meta.get("official") == "models.flowar.FlowAR.sample_tokens")
def sample(case: Case) -> None:
    model, meta = build(case), case.meta
    labels, steps = case.read("y").long(), int(meta["num_steps"])
    drawn = [case.read(f"noise_{index}")[: len(labels)] for index in range(len(model.scales))]
    settings = model.settings(
        {
            "guidance": float(meta["cfg"]),
            "schedule": "linear",
            "steps": steps,
            "grid": official_grid(steps),
            "guided": (float(meta.get("guidance_low", 0.0)), float(meta.get("guidance_high", 0.9))),
        }
    )
    latents = model._sample(labels, Given(drawn), settings)
    case.check("latent", to_grid(latents, model.scales[-1]))


@handler(lambda meta: meta.get("official") == "models.sampler.euler_sampler" and meta.get("system") == "flowar")
def times(case: Case) -> None:
    for name in case.arrays:
        if found := re.fullmatch(r"t_steps_(\d+)", name):
            case.check(name, flow_times(int(found[1]), official_grid(int(found[1]))))


def official_grid(steps: int) -> str:
    return "uniform" if steps == 50 else "two-speed"


def build(case: Case) -> FlowAR:
    """Our model of the case, whose shapes tell everything."""
    keys = case.meta["keys"]
    kept = {name: draw(name, shape) for name, shape in keys.items() if name.endswith("rope.freqs")}  # sizes alone
    model = FlowARAdapter().build({**official_state(keys, case.meta), **kept})
    assert isinstance(model, FlowAR)
    return model


class Given(Noise):
    """Draws that the case holds, in their order."""

    def __init__(self, drawn: list[Tensor]) -> None:
        super().__init__(range(len(drawn[0])))
        self._given = iter(drawn)

    def normal(self, *shape: int) -> Tensor:
        return next(self._given)
