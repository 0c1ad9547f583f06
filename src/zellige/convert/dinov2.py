"""DINOv2 by name or folder, through transformers: weights to start from, and a frozen teacher (arXiv 2304.07193).

Legend: p pixels a side of a patch as published (14), P as wanted, N patches, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zellige.core.errors import DataError, MissingExtra, UsageError, reason
from zellige.core.tensors import check_state
from zellige.nn.positions import resample_positions
from zellige.nn.vit import resample_patches

if TYPE_CHECKING:
    from zellige.nn.features.class_token import ClassTokenFeatures
    from zellige.nn.vit import ViTTrunk

_NAMES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.(\d+)\.(norm\d|mlp\.fc\d)\.", r"blocks.\1.\2."),
    (r"^encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (r"^encoder\.layer\.(\d+)\.attention\.(?:output\.dense|o_proj)\.", r"blocks.\1.attn.proj."),
)
"""Names of transformers, old and new, and of `ViTTrunk`."""

_PROJECTION = re.compile(
    r"^encoder\.layer\.(?P<block>\d+)\.attention\.(?:attention\.)?"
    r"(?P<part>[qkv])(?:uery|ey|alue|_proj)\.(?P<leaf>weight|bias)$"
)
"""Projections that `ViTTrunk` has as one."""


@dataclass(frozen=True)
class DINOv2:
    """Published weights under the names of `ViTTrunk`.

    Attributes:
        source: the name or folder they were loaded from.
        state: of a trunk with patches of `patch` pixels.
        head_width: channels of an attention head.
    """

    source: str
    state: Mapping[str, Tensor]
    head_width: int

    @property
    def width(self) -> int:
        """C."""
        return self.state["cls_token"].shape[-1]

    @property
    def depth(self) -> int:
        """Blocks."""
        return sum(key.endswith(".norm1.weight") for key in self.state)

    @property
    def patch(self) -> int:
        """p."""
        return self.state["patch_embed.proj.weight"].shape[-1]

    @property
    def size(self) -> int:
        """Pixels a side of the images that the table of positions is for."""
        return round((self.state["pos_embed"].shape[1] - 1) ** 0.5) * self.patch

    @torch.no_grad()
    def fill(self, trunk: ViTTrunk) -> None:
        """Sets all weights of a trunk, patches and positions resampled to its own.

        Raises `UsageError` for a trunk of another width, depth or head width.
        """
        own = trunk.state_dict()
        width = own["cls_token"].shape[-1]
        if (width, trunk.heads) != (self.width, self.width // self.head_width):
            raise UsageError(
                f"'{self.source}' has {self.width} channels in {self.width // self.head_width} heads; a vision "
                f"transformer of {width} channels in {trunk.heads} heads cannot start from it"
            )
        state = dict(self.state)
        state["pos_embed"] = resample_positions(state["pos_embed"], trunk.grid)
        if trunk.patch_embed is None:
            state = {key: value for key, value in state.items() if not key.startswith("patch_embed.")}
        else:
            kernel = state["patch_embed.proj.weight"]
            state["patch_embed.proj.weight"] = resample_patches(kernel, trunk.patch_embed.proj.weight.shape[-1])
        try:
            check_state(own, state, self.source)
        except DataError as error:
            raise UsageError(str(error)) from None
        trunk.load_state_dict(state)

    def teacher(self, *, size: int | None = None, patch: int | None = None) -> ClassTokenFeatures:
        """The class features of images, frozen.

        Args:
            size: pixels a side of the images it is to see; None: of those it was published for.
            patch: P; None keeps p.
        """
        from zellige.nn.features.class_token import ClassTokenFeatures

        network = ClassTokenFeatures(
            self.width,
            self.depth,
            head_width=self.head_width,
            patch=patch or self.patch,
            size=size or self.size,
        )
        self.fill(network.trunk)
        return network.eval().requires_grad_(False)


def load_dinov2(source: str) -> DINOv2:
    """DINOv2 as transformers finds it: a name on the Hub (``facebook/dinov2-base``), or a folder.

    Raises:
        MissingExtra: transformers is not installed.
        UsageError: there is no such model, it cannot be had now, or it is another network.
    """
    try:
        from transformers import Dinov2Model
    except ImportError:
        raise MissingExtra("transformers", "lm") from None
    try:
        loaded: Any = Dinov2Model.from_pretrained(source, output_loading_info=True)  # typed as the model alone
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise UsageError(
            f"cannot load DINOv2 from '{source}', a name on the Hub or a folder: {reason(error)}"
        ) from None
    model, report = loaded
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])[0]
        raise UsageError(f"'{source}' holds another network than DINOv2: it has no {missing}")
    state: dict[str, Tensor] = {}
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, value in model.state_dict().items():
        if match := _PROJECTION.match(key):
            parts.setdefault((match["block"], match["leaf"]), {})[match["part"]] = value.float()
        elif not key.endswith("mask_token"):
            state[_rename(key)] = value.float()
    for (block, leaf), part in parts.items():
        state[f"blocks.{block}.attn.qkv.{leaf}"] = torch.cat([part[name] for name in "qkv"])
    return DINOv2(source, state, model.config.hidden_size // model.config.num_attention_heads)


def _rename(key: str) -> str:
    for pattern, ours in _NAMES:
        key = re.sub(pattern, ours, key)
    return key
