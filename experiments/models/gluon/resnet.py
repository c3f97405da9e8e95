"""ResNet-8 and -20 for small pictures, and ResNet-18.

He et al., "Deep Residual Learning" (arXiv 1512.03385).
"""

from __future__ import annotations

from typing import Any

from blocks import SMALL, Identity, conv, conv_bn, norm, sequential
from mxnet.gluon import HybridBlock, nn


def resnet8(classes: int) -> HybridBlock:
    """One block a stage."""
    return CifarResNet(1, classes)


def resnet20(classes: int) -> HybridBlock:
    """Three blocks a stage."""
    return CifarResNet(3, classes)


def resnet18(input_shape: tuple[int, int, int], classes: int) -> HybridBlock:
    """Two blocks a stage; on small pictures a 3x3 stem without pool."""
    return ResNet(min(input_shape[1:]) < SMALL, classes)


class CifarResNet(HybridBlock):
    """Stem, three stages of n blocks, global average, one Dense."""

    def __init__(self, n: int, classes: int) -> None:
        super().__init__()
        with self.name_scope():
            self.stem = conv_bn(16, 3)
            blocks, chs = [], 16
            for stage, width in enumerate((16, 32, 64)):
                for i in range(n):
                    blocks.append(CifarBlock(chs, width, 2 if stage and not i else 1))
                    chs = width
            self.blocks = sequential(*blocks)
            self.pool = nn.GlobalAvgPool2D()
            self.head = nn.Dense(classes)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W) -> (N, classes)."""
        return self.head(self.pool(self.blocks(F.relu(self.stem(x)))))


class CifarBlock(HybridBlock):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_chs: int, out_chs: int, stride: int) -> None:
        super().__init__()
        with self.name_scope():
            self.first = conv_bn(out_chs, 3, stride)
            self.second = conv_bn(out_chs, 3)
            same = in_chs == out_chs and stride == 1
            self.shortcut = Identity() if same else conv_bn(out_chs, 1, stride)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W)."""
        y = self.second(F.relu(self.first(x)))
        return F.relu(y + self.shortcut(x))


class ResNet(HybridBlock):
    """Stem, four stages of two blocks, global average, one Dense."""

    def __init__(self, small: bool, classes: int) -> None:
        super().__init__()
        with self.name_scope():
            self.conv1 = conv(64, 3) if small else conv(64, 7, 2)
            self.bn1 = norm()
            self.maxpool = Identity() if small else nn.MaxPool2D(3, 2, 1)
            self.layer1 = sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
            self.layer2 = sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
            self.layer3 = sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
            self.layer4 = sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
            self.pool = nn.GlobalAvgPool2D()
            self.fc = nn.Dense(classes)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W) -> (N, classes)."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.pool(x))


class BasicBlock(HybridBlock):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_chs: int, out_chs: int, stride: int) -> None:
        super().__init__()
        with self.name_scope():
            self.conv1 = conv(out_chs, 3, stride)
            self.bn1 = norm()
            self.conv2 = conv(out_chs, 3)
            self.bn2 = norm()
            same = in_chs == out_chs and stride == 1
            self.downsample = Identity() if same else conv_bn(out_chs, 1, stride)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))
