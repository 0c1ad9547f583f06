"""The smallest configuration of each available system that still has all of its parts."""

from __future__ import annotations

from typing import Any

_CONV = {"channels": 32, "multipliers": (1, 2), "blocks": 1, "decoder_blocks": 1, "latent": 16}
_SIZES = {"image_size": 32, "patch": 8, "width": 32, "depth": 2, "decoder_width": 32, "decoder_depth": 2}
_VIT = {**_SIZES, "head_width": 16, "dim": 4, "quantizer_settings": {"codes": 32, "normalize": True}}
_PAINTER = {"teacher_channels": 32, "teacher_multipliers": (1, 1, 1, 1), "teacher_blocks": 1}
_TEACHER = {**_PAINTER, "teacher_codes": 16, "teacher_dim": 8}
_TOKENS = {"layout": ((2, 3),), "codebook": (13,), "classes": 3}
_HEADS = {"dim": 16, "depth": 2, "heads": 2}
_SMALL = {**_HEADS, "hidden": 32}
_FLOW = {"dim": 16, "depths": (1, 1), "heads": (2, 1), "head_width": 16, "head_depth": 1, "cross": True}

TINY: dict[str, dict[str, Any]] = {
    "enat": {
        **_TOKENS,
        "dim": 16,
        "encoder_depth": 2,
        "decoder_depth": 1,
        "heads": 2,
        "temperature": 1.0,
        "reuse": 0.8,
    },
    "flowar": {"layout": ((4, 4),), "latent_dim": 4, "classes": 3, "steps": 3, **_FLOW},
    "kl-vae": {**_CONV, "dim": 4},
    "llamagen": {**_TOKENS, **_SMALL},
    "llamagen-vq": {**_CONV, "dim": 4, "quantizer_settings": {"codes": 32, "normalize": True}},
    "maskgen": {
        "layout": ((6,),),
        "codebook": (13,),
        **_SMALL,
        "text_dim": 6,
        "text_tokens": 7,
        "score_waves": 4,
        "temperature": 1.0,
        "steps": 3,
    },
    "maskgen-kl": {
        "layout": ((6,),),
        "latent_dim": 3,
        **_SMALL,
        "text_dim": 6,
        "text_tokens": 7,
        "score_waves": 4,
        "head_width": 16,
        "head_depth": 1,
        "steps": 3,
        "diffusion_steps": 4,
    },
    "maskgit": {**_TOKENS, **_SMALL, "steps": 3},
    "maskgit-vqgan": {**_CONV, "dim": 16, "quantizer_settings": {"codes": 32}},
    "rar": {**_TOKENS, **_SMALL, "extra_positions": 2, "extra_steps": 2},
    "robusttok": {**_VIT, "latents": 16, "drop_path": 0.0},
    "titok": {**_VIT, **_TEACHER, "latents": 8},
    "titok-maskgit": {**_TOKENS, **_SMALL, "network": "skip", "temperature": 1.0, "steps": 3},
    "token-shuffle": {**_TOKENS, "layout": ((2, 4),), **_SMALL},
    "var": {"layout": ((1, 1), (2, 2)), "codebook": (13,), "classes": 3, **_HEADS, "code_dim": 4},
    "var-vq": {**_CONV, "dim": 16, "quantizer_settings": {"codes": 32, "scales": [1, 2, 4], "blends": 2}},
    "vqgan": {**_CONV, "dim": 4, "quantizer_settings": {"codes": 32}},
    "zellige-emoji": {**_TOKENS, **_SMALL},
    "xar": {
        "layout": ((2, 4),),
        "latent_dim": 3,
        "classes": 3,
        "dim": 16,
        "depths": (1, 1),
        "heads": (2, 1),
        "steps": 3,
    },
    "zellige-photo": {"channels": 16, "multipliers": (1, 2)},
}
"""Overrides of the default preset, by slug."""
