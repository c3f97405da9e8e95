"""ResNet-8, -20 and -56 for small pictures: three stages of widths 16, 32, 64.

He et al., "Deep Residual Learning" (arXiv 1512.03385), section 4.2: depth 6n + 2. Where a stage
changes the width, the shortcut is a 1x1 convolution (their option B), so that it can be pruned.
"""

from __future__ import annotations

import torch
from torch import nn

from experiments.models import MODELS, Shape

WIDTHS = (16, 32, 64)


def conv_bn(in_chs: int, out_chs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, then batch norm."""
    conv = nn.Conv2d(in_chs, out_chs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_chs))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_chs: int, out_chs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_bn(in_chs, out_chs, 3, stride)
        self.second = conv_bn(out_chs, out_chs, 3)
        same = in_chs == out_chs and stride == 1
        self.shortcut = nn.Identity() if same else conv_bn(in_chs, out_chs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, C, H, W)."""
        y = self.second(torch.relu(self.first(x)))
        return torch.relu(y + self.shortcut(x))


class CifarResNet(nn.Module):
    """Stem, three stages of n blocks, global average, one Linear."""

    def __init__(self, n: int, in_chs: int, classes: int) -> None:
        super().__init__()
        self.stem = conv_bn(in_chs, WIDTHS[0], 3)
        blocks, chs = [], WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            for i in range(n):
                blocks.append(Block(chs, width, stride=2 if stage and not i else 1))
                chs = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(chs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, C, H, W) -> (N, classes)."""
        y = self.blocks(torch.relu(self.stem(x)))
        return self.head(torch.flatten(self.pool(y), 1))


@MODELS.register("resnet8")
def resnet8(input_shape: Shape, classes: int) -> nn.Module:
    """One block a stage; 78,000 parameters."""
    return CifarResNet(1, input_shape[0], classes)


@MODELS.register("resnet20")
def resnet20(input_shape: Shape, classes: int) -> nn.Module:
    """Three blocks a stage; 0.27 million parameters."""
    return CifarResNet(3, input_shape[0], classes)


@MODELS.register("resnet56")
def resnet56(input_shape: Shape, classes: int) -> nn.Module:
    """Nine blocks a stage; 0.86 million parameters."""
    return CifarResNet(9, input_shape[0], classes)
