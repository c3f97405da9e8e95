"""What the networks share. A block is named as the PyTorch network names its module."""

from __future__ import annotations

from typing import Any

from mxnet.gluon import HybridBlock, nn

SMALL = 64  # below this many pixels the stem keeps the resolution


def sequential(*parts: HybridBlock) -> nn.HybridSequential:
    """Blocks one after another."""
    net = nn.HybridSequential()
    net.add(*parts)
    return net


def conv(out_chs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2D:
    """Convolution without bias."""
    return nn.Conv2D(out_chs, kernel, stride, kernel // 2, groups=groups, use_bias=False)


def norm() -> nn.BatchNorm:
    """Batch norm, with the usual numbers of PyTorch."""
    return nn.BatchNorm(momentum=0.9, epsilon=1e-5)


def conv_bn(out_chs: int, kernel: int, stride: int = 1) -> nn.HybridSequential:
    """Convolution without bias, then batch norm."""
    return sequential(conv(out_chs, kernel, stride), norm())


class Identity(HybridBlock):
    """Gives what it takes."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: anything."""
        return x
