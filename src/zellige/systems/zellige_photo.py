"""The tokenizer in the box: a small, local VQGAN for photographs.

Most of the work happens at 1/4 and 1/8 of the size, there is no attention, and norms act on each
position alone: so it is fast on a CPU, takes any size, and tiles without seams. The quantizer is FSQ
(Mentzer et al., arXiv 2309.15505): nothing to collapse, and 16 bits a position of 8×8 pixels.
"""

from __future__ import annotations

from zellige.systems.vqgan import VQGAN


class ZelligePhoto(VQGAN):
    """A `VQGAN` of the shape above; its presets are all there is to it."""

    system = "zellige-photo"
