"""Metrics by name: which an evaluation measures, and what it cannot for want of weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from zellige.core.errors import UsageError, nearest
from zellige.evaluate.patches import patch_features
from zellige.metrics import PAIRED, PairedMetric, Rounding
from zellige.metrics.discrepancy import KIDSubsets
from zellige.metrics.distribution import FeatureDistances
from zellige.metrics.features import ImageFeatures
from zellige.metrics.neighbours import TORCH_FIDELITY
from zellige.metrics.perceptual import PerceptualDistance

PAIRED_NAMES = tuple(dict.fromkeys(re.sub(r"\W", "", m("uint8").protocol.metric.lower()) for m in PAIRED))
"""``psnr``, ``ssim``, ``msssim``: names of `PAIRED`, which need no weights."""
SET_NAMES = ("fd", "kid", "prc")
"""Fréchet distance, kernel distance, precision and recall: by one pass of one network."""
ON_REQUEST = ("pfid",)
"""Measured only where it is named: it decodes every image once a cell of its grid."""
NAMES = (*PAIRED_NAMES, "lpips", *SET_NAMES, *ON_REQUEST)


@dataclass
class Selection:
    """Fresh metrics of one evaluation.

    Attributes:
        metrics: PSNR first, whether it was named or not: images are listed by it.
        clean: the distance that pFID perturbs, which is not among `metrics`; None unless pFID is wanted.
        patches: network of the Fréchet distance over crops, for the comparison with image codecs.
        missing: name → why it cannot be measured.
    """

    metrics: list[PairedMetric]
    clean: FeatureDistances | None = None
    patches: ImageFeatures | None = None
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, metrics: Sequence[PairedMetric], *, perturbed: bool) -> None:
        """Add a caller's own. If `perturbed`, its first Fréchet distance is the one that pFID perturbs.

        Raises `UsageError` if pFID has no distance at all.
        """
        own = next((m for m in metrics if perturbed and isinstance(m, FeatureDistances)), None)
        if own:
            self.metrics += [self.clean] if self.clean else []
            self.clean = own
        self.metrics += [m for m in metrics if m is not own]
        if perturbed and self.clean is None:
            raise UsageError("a grid is for pFID; name 'pfid' among the metrics, or pass a FeatureDistances")


def select(names: Sequence[str] | None, rounding: Rounding) -> Selection:
    """The metrics called `names`, of `NAMES`; None is all of them but `ON_REQUEST` whose weights are on this machine.

    Raises:
        UsageError: an unknown name; or a named metric's weights are missing, where they are looked for, and what
            serves instead.
    """
    for name in names or ():
        if name not in NAMES:
            raise nearest(name, list(NAMES), "metric")
    wanted = (set(NAMES) - set(ON_REQUEST) if names is None else set(names)) | {"psnr"}
    perturbed = "pfid" in wanted
    wanted |= {"fd"} if perturbed else set()
    found = Selection([m for m in (metric(rounding) for metric in PAIRED) if _name(m) in wanted])

    def add_distances() -> None:
        distances = set_distances(wanted, rounding)
        if perturbed:
            found.clean = distances
        else:
            found.metrics.append(distances)

    loaders: list[tuple[set[str], Callable[[], None]]] = [
        (wanted & {"lpips"}, lambda: found.metrics.append(_lpips(rounding))),
        (wanted & set(SET_NAMES), add_distances),
    ]
    for group, load in loaders:
        try:
            if group:
                load()
        except UsageError as error:
            if names is not None:
                raise
            found.missing |= dict.fromkeys(sorted(group), str(error))
    if "fd" in wanted:
        found.patches = _patches()
    return found


def _name(metric: PairedMetric) -> str:
    return re.sub(r"\W", "", metric.protocol.metric.lower())


def _lpips(rounding: Rounding) -> PerceptualDistance:
    """By the first of AlexNet, VGG-16 and SqueezeNet whose weights are here."""
    from zellige.convert.features import BACKBONES, load_lpips
    from zellige.metrics.perceptual import lpips_distance

    missing: list[UsageError] = []
    for net in BACKBONES:
        try:
            return lpips_distance(load_lpips(net), net, rounding)
        except UsageError as error:
            missing.append(error)
    raise UsageError(f"{missing[0]}, as the metric fd does")


def set_distances(wanted: set[str], rounding: Rounding) -> FeatureDistances:
    """What compares sets, of `SET_NAMES`; `UsageError` if no feature network has its weights on this machine."""
    kernel = KIDSubsets() if "kid" in wanted else None
    manifold = TORCH_FIDELITY if "prc" in wanted else None
    return FeatureDistances(_network(), rounding, kernel=kernel, manifold=manifold)


def _network() -> ImageFeatures:
    """Inception where its weights are found, else EfficientNet-Lite0, each under a name of its own."""
    from zellige.convert.features import INCEPTION, load_features

    try:
        return load_features("inception")
    except UsageError:
        pass
    try:
        return load_features("efficientnet_lite0")
    except UsageError as error:
        names = " or ".join(INCEPTION.names)
        raise UsageError(f"no weights of Inception ({names}), nor of what serves instead: {error}") from None


def _patches() -> ImageFeatures | None:
    from zellige.convert.features import load_efficientnet_lite0

    try:
        return patch_features(load_efficientnet_lite0())
    except UsageError:
        return None
