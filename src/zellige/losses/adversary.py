"""A discriminator together with what its training needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from zellige.losses.adversarial import discriminator_loss, generator_loss
from zellige.losses.augment import DiffAugment
from zellige.losses.lecam import LeCAM


class Adversary(nn.Module):
    """Both sides of an adversarial loss: `forward` trains the discriminator, `judge` the reconstruction.

    The state dict holds the discriminator and LeCAM's averages, all that a run needs to go on. Under data
    parallelism wrap the whole and call the wrapper for `forward`, the module itself for `judge`.

    Args:
        discriminator: images (B, 3, H, W) in [-1, 1] to logits, high for originals.
        loss: of the discriminator, one of `DISCRIMINATOR_LOSSES`.
        generator: of the reconstruction, one of `GENERATOR_LOSSES`.
        augment: what is done to originals and reconstructions, with draws of their own.
        lecam: weight of the regulariser.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        *,
        loss: str = "hinge",
        generator: str = "linear",
        augment: DiffAugment | None = None,
        lecam: float = 0.0,
    ) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.loss, self.generator = loss, generator
        self.augment = augment
        self.lecam_weight, self.lecam = lecam, LeCAM()

    def forward(self, real: Tensor, fake: Tensor, *, blur: float = 0.0) -> dict[str, Tensor]:
        """The discriminator's own loss, by weighted terms, and the mean logits of both kinds to look at.

        Args:
            real: originals (B, 3, H, W).
            fake: reconstructions, to which no gradient goes.
            blur: strength of the blur of both, see `DiffAugment`.
        """
        real_logits, fake_logits = self._logits(real, blur), self._logits(fake.detach(), blur)
        terms = {"discriminator": discriminator_loss(real_logits, fake_logits, self.loss)}
        if self.lecam_weight:
            self.lecam.update(real_logits, fake_logits)
            terms["lecam"] = self.lecam_weight * self.lecam(real_logits, fake_logits)
        return terms | {"logits_real": real_logits.detach().mean(), "logits_fake": fake_logits.detach().mean()}

    def judge(self, fake: Tensor, *, blur: float = 0.0) -> Tensor:
        """The adversarial loss of reconstructions, a scalar; no gradient goes to the discriminator's weights."""
        with _held(self.discriminator):
            return generator_loss(self._logits(fake, blur), self.generator)

    def _logits(self, x: Tensor, blur: float) -> Tensor:
        return self.discriminator(x if self.augment is None else self.augment(x, blur=blur))


def ramp(step: int, start: int, length: int = 0) -> float:
    """The share of a loss that counts at `step`: 0 before `start`, then up to 1 over `length` steps."""
    return min(max((step - start + 1) / (length + 1), 0.0), 1.0)


@contextmanager
def _held(module: nn.Module) -> Iterator[None]:
    """Weights without gradients while a graph is built."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
