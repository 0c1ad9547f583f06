"""The Inception network of Fréchet distances: TensorFlow's of 2015, which torchvision's does not equal.

Average pools do not count their padding, the last block pools by maximum, and there are 1,008
classes. Tensors have the names of the published PyTorch files (``Mixed_5b.branch1x1.conv.weight``),
so these load as they are. Legend: B samples, C channels, H W positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Size = tuple[int, int]


@dataclass(frozen=True)
class Unit:
    """One convolution: name, channels out, kernel (height, width). Without a stride its size stays."""

    name: str
    channels: int
    kernel: Size = (1, 1)
    stride: int = 1
    padded: bool = True


Branch = tuple["Unit | tuple[Unit, ...]", ...]
"""Units in sequence; a tuple of units at the end runs side by side."""


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, channels: int, unit: Unit) -> None:
        super().__init__()
        high, wide = unit.kernel
        padding = (high // 2, wide // 2) if unit.padded and unit.stride == 1 else (0, 0)
        self.conv = nn.Conv2d(channels, unit.channels, unit.kernel, unit.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(unit.channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class MixedBlock(nn.Module):
    """Branches side by side, the last of which pools, joined along channels.

    Args:
        channels: of the input.
        branches: convolutional ones.
        pool: ``average`` or ``max`` of 3×3 in place, or ``reduce``, a maximum at stride 2.
        pooled: channels of the convolution after the pool; 0 if there is none.
    """

    def __init__(self, channels: int, branches: Sequence[Branch], pool: str, pooled: int = 0) -> None:
        super().__init__()
        self.branches, self.pool, self.channels = branches, pool, 0
        for branch in branches:
            width = channels
            for step in branch:
                units = step if isinstance(step, tuple) else (step,)
                for unit in units:
                    self.add_module(unit.name, ConvUnit(width, unit))
                width = sum(unit.channels for unit in units)
            self.channels += width
        self.branch_pool = ConvUnit(channels, Unit("branch_pool", pooled)) if pooled else nn.Identity()
        self.channels += pooled or channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*(self._run(branch, x) for branch in self.branches), self.branch_pool(self._pool(x))], 1)

    def _run(self, branch: Branch, x: Tensor) -> Tensor:
        for step in branch:
            units = step if isinstance(step, tuple) else (step,)
            outputs = [self.get_submodule(unit.name)(x) for unit in units]
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
        return x

    def _pool(self, x: Tensor) -> Tensor:
        if self.pool == "average":
            return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return F.max_pool2d(x, 3, stride=2) if self.pool == "reduce" else F.max_pool2d(x, 3, stride=1, padding=1)


def _block_35(channels: int, pooled: int) -> MixedBlock:
    five: Branch = (Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, (5, 5)))
    double: Branch = (
        Unit("branch3x3dbl_1", 64),
        Unit("branch3x3dbl_2", 96, (3, 3)),
        Unit("branch3x3dbl_3", 96, (3, 3)),
    )
    return MixedBlock(channels, ((Unit("branch1x1", 64),), five, double), "average", pooled)


def _reduce_35(channels: int) -> MixedBlock:
    double: Branch = (
        Unit("branch3x3dbl_1", 64),
        Unit("branch3x3dbl_2", 96, (3, 3)),
        Unit("branch3x3dbl_3", 96, (3, 3), stride=2),
    )
    return MixedBlock(channels, ((Unit("branch3x3", 384, (3, 3), stride=2),), double), "reduce")


def _block_17(channels: int, width: int) -> MixedBlock:
    row, column = (1, 7), (7, 1)
    seven: Branch = (Unit("branch7x7_1", width), Unit("branch7x7_2", width, row), Unit("branch7x7_3", 192, column))
    double: Branch = (
        Unit("branch7x7dbl_1", width),
        Unit("branch7x7dbl_2", width, column),
        Unit("branch7x7dbl_3", width, row),
        Unit("branch7x7dbl_4", width, column),
        Unit("branch7x7dbl_5", 192, row),
    )
    return MixedBlock(channels, ((Unit("branch1x1", 192),), seven, double), "average", 192)


def _reduce_17(channels: int) -> MixedBlock:
    three: Branch = (Unit("branch3x3_1", 192), Unit("branch3x3_2", 320, (3, 3), stride=2))
    seven: Branch = (
        Unit("branch7x7x3_1", 192),
        Unit("branch7x7x3_2", 192, (1, 7)),
        Unit("branch7x7x3_3", 192, (7, 1)),
        Unit("branch7x7x3_4", 192, (3, 3), stride=2),
    )
    return MixedBlock(channels, (three, seven), "reduce")


def _block_8(channels: int, pool: str) -> MixedBlock:
    def split(name: str) -> tuple[Unit, Unit]:
        return Unit(f"{name}a", 384, (1, 3)), Unit(f"{name}b", 384, (3, 1))

    three: Branch = (Unit("branch3x3_1", 384), split("branch3x3_2"))
    double: Branch = (Unit("branch3x3dbl_1", 448), Unit("branch3x3dbl_2", 384, (3, 3)), split("branch3x3dbl_3"))
    return MixedBlock(channels, ((Unit("branch1x1", 320),), three, double), pool, 192)


@dataclass(frozen=True)
class InceptionFeatures:
    """What the network gives for B images.

    Attributes:
        pools: mean over positions at four depths, by channels: 64, 192, 768 and 2048, each (B, C).
        spatial: seven channels of a 1×1 branch at 17×17 positions, (B, 7, 17, 17), which sFID uses.
        logits: of 1,008 classes without their bias, (B, 1008), which the Inception Score uses.
        bias: of the classes, (1008,).
    """

    pools: dict[int, Tensor]
    spatial: Tensor
    logits: Tensor
    bias: Tensor


class FIDInception(nn.Module):
    """Inception v3 (arXiv:1512.00567) as in TensorFlow's 2015 graph; in evaluation mode when built."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvUnit(3, Unit("", 32, (3, 3), stride=2))
        self.Conv2d_2a_3x3 = ConvUnit(32, Unit("", 32, (3, 3), padded=False))
        self.Conv2d_2b_3x3 = ConvUnit(32, Unit("", 64, (3, 3)))
        self.Conv2d_3b_1x1 = ConvUnit(64, Unit("", 80))
        self.Conv2d_4a_3x3 = ConvUnit(80, Unit("", 192, (3, 3), padded=False))
        self.Mixed_5b = _block_35(192, 32)
        self.Mixed_5c = _block_35(256, 64)
        self.Mixed_5d = _block_35(288, 64)
        self.Mixed_6a = _reduce_35(288)
        self.Mixed_6b = _block_17(768, 128)
        self.Mixed_6c = _block_17(768, 160)
        self.Mixed_6d = _block_17(768, 160)
        self.Mixed_6e = _block_17(768, 192)
        self.Mixed_7a = _reduce_17(768)
        self.Mixed_7b = _block_8(1280, "average")
        self.Mixed_7c = _block_8(2048, "max")
        self.fc = nn.Linear(2048, 1008)
        self.eval()

    def forward(self, x: Tensor) -> InceptionFeatures:
        """Features of images (B, 3, 299, 299) in [-1, 1]."""
        stem = F.max_pool2d(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))), 3, stride=2)
        early = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(stem)), 3, stride=2)
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(early))))
        x = self.Mixed_6c(self.Mixed_6b(x))
        spatial = self.Mixed_6d.get_submodule("branch1x1")(x)[:, :7]
        late = self.Mixed_6e(self.Mixed_6d(x))
        last = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(late)))
        pools = {maps.shape[1]: maps.mean((2, 3)) for maps in (stem, early, late, last)}
        return InceptionFeatures(pools, spatial, F.linear(pools[2048], self.fc.weight), self.fc.bias)
