"""ResNet-8 and -20 for small pictures, and ResNet-18.

He et al., "Deep Residual Learning" (arXiv 1512.03385).
"""

from __future__ import annotations

import jax
from blocks import SMALL, BatchNorm, conv, conv_bn
from flax import nnx


def resnet8(input_shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
    """One block a stage."""
    return CifarResNet(1, input_shape[-1], classes, rngs)


def resnet20(input_shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
    """Three blocks a stage."""
    return CifarResNet(3, input_shape[-1], classes, rngs)


def resnet18(input_shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
    """Two blocks a stage; on small pictures a 3x3 stem without pool."""
    return ResNet(min(input_shape[:2]) < SMALL, input_shape[-1], classes, rngs)


class CifarResNet(nnx.Module):
    """Stem, three stages of n blocks, global average, one Linear."""

    def __init__(self, n: int, in_chs: int, classes: int, rngs: nnx.Rngs) -> None:
        self.stem = conv_bn(in_chs, 16, 3, rngs=rngs)
        blocks, chs = [], 16
        for stage, width in enumerate((16, 32, 64)):
            for i in range(n):
                blocks.append(CifarBlock(chs, width, 2 if stage and not i else 1, rngs))
                chs = width
        self.blocks = nnx.Sequential(*blocks)
        self.head = nnx.Linear(chs, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C) -> (N, classes)."""
        x = self.blocks(nnx.relu(self.stem(x)))
        return self.head(x.mean(axis=(1, 2)))


class CifarBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_chs: int, out_chs: int, stride: int, rngs: nnx.Rngs) -> None:
        self.first = conv_bn(in_chs, out_chs, 3, stride, rngs=rngs)
        self.second = conv_bn(out_chs, out_chs, 3, rngs=rngs)
        same = in_chs == out_chs and stride == 1
        self.shortcut = None if same else conv_bn(in_chs, out_chs, 1, stride, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C)."""
        y = self.second(nnx.relu(self.first(x)))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """Stem, four stages of two blocks, global average, one Linear."""

    def __init__(self, small: bool, in_chs: int, classes: int, rngs: nnx.Rngs) -> None:
        self.small = small
        self.conv1 = conv(in_chs, 64, *((3, 1) if small else (7, 2)), rngs=rngs)
        self.bn1 = BatchNorm(64, rngs=rngs)
        self.layer1 = _stage(64, 64, 1, rngs)
        self.layer2 = _stage(64, 128, 2, rngs)
        self.layer3 = _stage(128, 256, 2, rngs)
        self.layer4 = _stage(256, 512, 2, rngs)
        self.fc = nnx.Linear(512, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C) -> (N, classes)."""
        x = nnx.relu(self.bn1(self.conv1(x)))
        if not self.small:
            x = nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(axis=(1, 2)))


def _stage(in_chs: int, out_chs: int, stride: int, rngs: nnx.Rngs) -> nnx.Sequential:
    return nnx.Sequential(
        BasicBlock(in_chs, out_chs, stride, rngs), BasicBlock(out_chs, out_chs, 1, rngs)
    )


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_chs: int, out_chs: int, stride: int, rngs: nnx.Rngs) -> None:
        self.conv1 = conv(in_chs, out_chs, 3, stride, rngs=rngs)
        self.bn1 = BatchNorm(out_chs, rngs=rngs)
        self.conv2 = conv(out_chs, out_chs, 3, rngs=rngs)
        self.bn2 = BatchNorm(out_chs, rngs=rngs)
        same = in_chs == out_chs and stride == 1
        self.downsample = None if same else conv_bn(in_chs, out_chs, 1, stride, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C)."""
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return nnx.relu(y + (x if self.downsample is None else self.downsample(x)))
