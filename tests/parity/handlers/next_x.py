"""xAR: velocities of noisy cells, whole samples with the official noise, the order of cells, and the solvers."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from tests.parity.case import Case
from tests.parity.draw import official_state
from tests.parity.runner import handler
from zellige.convert.xar import XARAdapter
from zellige.core.noise import Noise
from zellige.generate.cells import make_units
from zellige.generate.flow import flow_times, sample_flow
from zellige.nn.conv import to_grid
from zellige.nn.scan import cell_order
from zellige.systems.xar import XAR


class Recorded(Noise):
    """The normal draws of a case, (n, B, …), in their order."""

    def __init__(self, draws: Tensor) -> None:
        self._draws, self._next = draws, 0

    def __len__(self) -> int:
        return self._draws.shape[1]

    def normal(self, *shape: int) -> Tensor:
        found = self._draws[self._next]
        self._next += 1
        return found.reshape(len(self), *shape)


def _model(case: Case) -> XAR:
    """Heads are told by the tables of rotary positions, which the case keeps out of the weights."""
    keys = case.meta["keys"]
    tables = {key: torch.zeros(shape) for key, shape in keys.items() if key.endswith("rope.freqs")}
    model = XARAdapter().build({**official_state(keys, case.meta), **tables}, "the case")
    assert isinstance(model, XAR)
    return model


def _number(case: Case, name: str, pattern: str, default: float) -> float:
    """A number of the case: an entry of its meta, or what `pattern` finds in the texts of the meta."""
    if name in case.meta:
        return float(case.meta[name])
    found = re.search(pattern, " ".join(str(case.meta.get(key, "")) for key in ("config", "note")))
    return float(found[1]) if found else default


@handler(lambda meta: meta.get("official") == "models.xar.xAR")
def velocities(case: Case) -> None:
    model = _model(case)
    x, labels, flat = case.read("x"), case.read("y"), case.read("t")
    times = flat.view(-1, len(labels)).T  # the case lists the samples of one cell after the other
    condition = model.modulating(times, model.condition(labels))
    kept = case.arrays["cond"].shape[-1]  # the first channels
    case.check("cond", condition.transpose(0, 1).flatten(0, 1)[:, :kept])
    halfway: list[Tensor] = []
    hook = model.trunk.norm_middle.register_forward_hook(lambda module, given, output: halfway.append(output))
    case.check("velocity", model.velocity(x, times, labels))
    case.check("enc", halfway[0])
    hook.remove()


@handler(lambda meta: meta.get("official") == "models.xar.xAR.sample_tokens")
def samples(case: Case) -> None:
    model, noise, labels = _model(case), case.read("noise"), case.read("y")
    cells = len(model.units.sizes)
    stochastic = len(noise) > cells
    options = {
        "guidance": _number(case, "cfg", r"cfg ([\d.]+)", 1.0),
        "steps": int(_number(case, "num_steps", r"(\d+) steps", len(noise) // cells)),
        "stochastic": stochastic,
        "grid": "stop-short" if stochastic else "uniform",
    }
    settings = model.settings(options)
    drawn = model._sample(labels, Recorded(noise), settings)
    case.check("latent", to_grid(drawn, model.config.layout[0]))


@handler(lambda meta: str(meta.get("official")).startswith("models.xar.xAR.clusterify"))
def functions(case: Case) -> None:
    """The stored field is linear, with a term for labels that are not null."""
    found = re.search(r"(\d+) cells of (\d+)x(\d+) on a (\d+)x(\d+) grid", str(case.meta["config"]))
    assert found is not None
    _, height, width, *grid = map(int, found.groups())
    if "cell_order" in case.arrays:
        case.check_ids("cell_order", cell_order(grid, (height, width)))
        units = make_units("cell", tuple(grid), grid[0] // height)
        raster = torch.arange(grid[0] * grid[1])[None, :, None]
        case.check_ids("cell_order", units.split(raster))
    steps, guidance = int(_number(case, "num_steps", r"(\d+) steps", 6)), _number(case, "cfg", r"cfg ([\d.]+)", 2.0)
    labelled = _number(case, "label_term", r"\+ ([\d.]+)\*\[y", 0.1)
    timed = _number(case, "time_term", r"- ([\d.]+)\*t", 0.3)
    x, matrix = case.read("latents").double(), case.read("A").double()

    def velocity(x: Tensor, time: float) -> Tensor:
        null = torch.arange(len(x))[:, None, None] >= len(x) // (2 if guidance != 1 else 1)
        return x @ matrix - timed * time + labelled * ~null

    noise = Recorded(case.read("em_noise"))
    case.check("em_out", sample_flow(velocity, x, flow_times(steps, "stop-short"), guidance=guidance, noise=noise))
    case.check("euler_out", sample_flow(velocity, x, flow_times(steps), guidance=guidance))
    # The released code goes by the score; ours by the drift in which it is a term: (2 - t)·v + x = v - t·score.
    v, xt, t = case.read("v"), case.read("xt"), case.read("t").view(-1, 1, 1)
    case.check("score", (v - ((2 - t) * v + xt)) / t)
