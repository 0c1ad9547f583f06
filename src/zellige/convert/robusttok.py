"""The tokenizers of RobustTok and XQ-GAN (lxa9867/ImageFolder): ``XQGAN-*.pt``, ``RobustTok-*.pt``, ``best_ckpt.pt``.

The files hold the frozen teachers of training as well (``semantic_model``, ``detail_model``), which are left
out; `semantic_model` gives the first of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from zellige.convert.adapter import Adapter, State, count
from zellige.core.errors import DataError

if TYPE_CHECKING:
    from zellige.core.contract import Model
    from zellige.nn.features.class_token import ClassTokenFeatures

Pairs = Iterable[tuple[str, str]]

SCALES = {
    (10, 11): [1, 1, 2, 3, 3, 4, 5, 6, 8, 11],
    (10, 16): [1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
}
"""Sides of the maps by their number and the last one: all that the shapes of a file tell of them."""

_BLOCK = ("norm1", "attn.qkv", "attn.proj", "ls1", "norm2", "mlp.fc1", "mlp.fc2", "ls2")


class RobustTokAdapter(Adapter):
    """With several branches ``quantizes.i``, with one ``quantize``."""

    system = "robusttok"
    ignored = ("semantic_model.", "detail_model.", "sem_linear.", "encoder.lvl1LC", "decoder.lvl1LC")

    def holds(self, key: str) -> bool:
        return super().holds(key) and not key.endswith(".ema_vocab_hit_SV")

    def matches(self, state: State) -> bool:
        return all(key in state for key in ("encoder.latent_tokens", "decoder.mask_token", "quant_conv.weight"))

    def config(self, state: State) -> dict[str, Any]:
        width, _, patch, _ = state["encoder.model.patch_embed.proj.weight"].shape
        grid = _root(state["encoder.model.pos_embed"].shape[1] - 1)
        dim = state["quant_conv.weight"].shape[0]
        branches = state["post_quant_conv.weight"].shape[1] // dim
        latents = state["encoder.latent_tokens"].shape[1] // branches
        own = "encoder.latent_pos_embed" in state
        return {
            "image_size": grid * patch,
            "patch": patch,
            "width": width,
            "depth": count(state, "encoder.model.blocks.{}.norm1.weight"),
            "decoder_width": state["decoder.mask_token"].shape[-1],
            "decoder_depth": count(state, "decoder.model.blocks.{}.norm1.weight"),
            "latents": latents,
            "branches": branches,
            **({"positions": "own"} if own else {}),
            "dim": dim,
            **_quantizer(state, "quantizes.0" if branches > 1 else "quantize", dim, latents),
        }

    def build(self, state: State, source: str = "this state dict", **settings: Any) -> Model:
        if "quantizer_settings" not in settings and self.matches(state) and self._untold_scales(state):
            known = ", ".join(f"{count} up to {last}×{last}" for count, last in SCALES)
            raise DataError(f"{source} does not tell the sides of its scales; known are those of {known}")
        return super().build(state, source, **settings)

    def _untold_scales(self, state: State) -> bool:
        try:
            return self.config(state).get("quantizer_settings", {}).get("scales") == []
        except (LookupError, ValueError, ArithmeticError):  # which the base class puts into words
            return False

    def modules(self, config: Any) -> Pairs:
        yield from (("quant_conv", "project_in"), ("post_quant_conv", "project_out"))
        yield from (("decoder.to_pixel.model", "decoder.to_pixels"), ("encoder.model.patch_embed.proj", _PATCHES))
        for side, depth in (("encoder", config.depth), ("decoder", config.decoder_depth)):
            yield from ((side, side), (f"{side}.lvl_embed", f"{side}.levels"))
            yield from trunk(f"{side}.model", f"{side}.trunk", depth)
        for official, ours in _quantizers(config.branches):
            yield f"{official}.embedding", f"{ours}.embedding"
            for blend in range(config.quantizer_settings.get("blends", 4)):
                yield f"{official}.quant_resi.qresi_ls.{blend}", f"{ours}.blends.{blend}"

    def tensors(self, config: Any) -> Pairs:
        for side in ("encoder", "decoder"):
            yield f"{side}.latent_pos_embed", f"{side}.latent_positions"
        for official, ours in _quantizers(config.branches):
            yield f"{official}.scaler", f"{ours}.values"


def semantic_model(state: State) -> ClassTokenFeatures:
    """The frozen teacher in an official state dict.

    Raises `DataError` if the state dict has none.
    """
    from zellige.core.tensors import check_state
    from zellige.nn.features.class_token import ClassTokenFeatures

    prefix = "semantic_model."
    found = {key.removeprefix(prefix): value.float() for key, value in state.items() if key.startswith(prefix)}
    if "patch_embed.proj.weight" not in found:
        raise DataError("this checkpoint holds no semantic model")
    width, _, patch, _ = found["patch_embed.proj.weight"].shape
    size = _root(found["pos_embed"].shape[1] - 1) * patch
    network = ClassTokenFeatures(width, count(found, "blocks.{}.norm1.weight"), patch=patch, size=size)
    check_state(network.trunk.state_dict(), found, "the semantic model")
    network.trunk.load_state_dict(found)
    return network.eval().requires_grad_(False)


def trunk(official: str, ours: str, depth: int) -> Pairs:
    """A vision transformer under timm's names, which are those of `ViTTrunk`; all but its patch embedding."""
    yield from ((official, ours), (f"{official}.norm", f"{ours}.norm"))
    for index in range(depth):
        for part in _BLOCK:
            yield f"{official}.blocks.{index}.{part}", f"{ours}.blocks.{index}.{part}"


_PATCHES = "encoder.trunk.patch_embed.proj"


def _quantizers(branches: int) -> list[tuple[str, str]]:
    """The quantizer of each branch, official and ours."""
    if branches == 1:
        return [("quantize", "quantizer")]
    return [(f"quantizes.{index}", f"quantizer.groups.{index}") for index in range(branches)]


def _quantizer(state: State, name: str, dim: int, latents: int) -> dict[str, Any]:
    """Kind and settings of the quantizer `name`, with those of training that all released files share."""
    hits = state[f"{name}.ema_vocab_hit_SV"].shape
    if len(hits) == 1:
        return {"quantizer_settings": {"codes": state[f"{name}.embedding.weight"].shape[0], "normalize": True}}
    scales = SCALES.get((hits[0], _root(latents)), [])
    common = {"codes": hits[1], "scales": scales, "dropout": 0.1, "least_scales": 3}
    # Signs average the commitment over the scales as ours do; codebooks add it up.
    special = (
        {"search": "cosine", "beta": 0.25 * hits[0]}
        if f"{name}.embedding.weight" in state
        else {"search": "sign", "entropy_weight": 0.1}
    )
    return {"quantizer": "multiscale", "quantizer_settings": {**common, **special}}


def _root(count: int) -> int:
    return round(max(count, 0) ** 0.5)
