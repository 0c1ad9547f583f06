"""The discriminator on frozen DINO features."""

from __future__ import annotations

from tests.parity.case import Case
from tests.parity.draw import official_state
from tests.parity.inputs import images, setting
from tests.parity.runner import handler
from zellige.losses.discriminators.features import FeatureDiscriminator
from zellige.nn.features.vit import ViTFeatures

HEAD = {"0.": "0.0.", "1.": "0.1.", "3.layers.0.": "1.fn.0.", "3.layers.1.": "1.fn.1.", "4.": "2."}
"""Layers of our heads under their official names."""
SPECTRAL = {"parametrizations.weight.original": "weight_orig", "parametrizations.weight.0.u": "weight_u"}


@handler(lambda meta: "discriminator_dino" in meta["official"])
def dino(case: Case) -> None:
    config, keys = case.meta["config"], case.meta["keys"]
    channels, patch = keys["dino.patch_embed.proj.weight"][0], keys["dino.patch_embed.proj.weight"][-1]
    x = images(case, unit=False, shape=())
    network = ViTFeatures(
        channels,
        setting(config, "depth") or 12,
        setting(config, "num_heads") or channels // 64,
        patch=patch,
        size=x.shape[-1],
        readouts=tuple(setting(config, "key_depths")),
    )
    model = FeatureDiscriminator(
        network,
        network.channels,
        kernel=setting(config, "ks") or 9,
        group=setting(config, "virtual_bs") or 8,
    )
    state = official_state(keys, case.meta)
    network.load_state_dict({key: state[f"dino.{key}"] for key in network.state_dict()})
    model.load_state_dict({key: state[official_name(key)] for key in model.state_dict()})
    for index, readout in enumerate(network(x)):
        name = f"readout_{index}"
        case.check(name, readout[:, : case.arrays[name].shape[1]])  # the first channels, every n-th position
    case.check("logits", model.train()(x))


def official_name(key: str) -> str:
    """The official name of a tensor of our heads, ``heads.L.layer.tensor``."""
    _, index, rest = key.split(".", 2)
    ours = next(ours for ours in HEAD if rest.startswith(ours))
    tensor = rest.removeprefix(ours)
    return f"heads.{index}.{HEAD[ours]}{SPECTRAL.get(tensor, tensor)}"
