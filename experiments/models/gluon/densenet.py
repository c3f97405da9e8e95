"""DenseNet-121 (Huang et al., arXiv 1608.06993); on small pictures a 3x3 stem without pool."""

from __future__ import annotations

from typing import Any

from blocks import SMALL, conv, norm
from mxnet.gluon import HybridBlock, nn

GROWTH, BOTTLENECK, DEPTHS = 32, 4, (6, 12, 24, 16)


def densenet121(input_shape: tuple[int, int, int], classes: int) -> HybridBlock:
    """Four dense blocks with transitions between them."""
    return DenseNet(min(input_shape[1:]) < SMALL, classes)


class DenseNet(HybridBlock):
    """``features``, global average, ``classifier``."""

    def __init__(self, small: bool, classes: int) -> None:
        super().__init__()
        with self.name_scope():
            self.features = Features(small)
            self.pool = nn.GlobalAvgPool2D()
            self.classifier = nn.Dense(classes)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W) -> (N, classes)."""
        return self.classifier(self.pool(F.relu(self.features(x))))


class Features(HybridBlock):
    """The stem, and the dense blocks with transitions between them."""

    def __init__(self, small: bool) -> None:
        super().__init__()
        with self.name_scope():
            self.conv0 = conv(64, 3) if small else conv(64, 7, 2)
            self.norm0 = norm()
            self.pool0 = None if small else nn.MaxPool2D(3, 2, 1)
            chs = 64
            for block, depth in enumerate(DEPTHS, 1):
                setattr(self, f"denseblock{block}", DenseBlock(depth))
                chs += depth * GROWTH
                if block < len(DEPTHS):
                    chs //= 2
                    setattr(self, f"transition{block}", Transition(chs))
            self.norm5 = norm()

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W)."""
        x = F.relu(self.norm0(self.conv0(x)))
        if self.pool0 is not None:
            x = self.pool0(x)
        for block in range(1, len(DEPTHS)):
            x = getattr(self, f"denseblock{block}")(x)
            x = getattr(self, f"transition{block}")(x)
        return self.norm5(getattr(self, f"denseblock{len(DEPTHS)}")(x))


class DenseBlock(HybridBlock):
    """Each layer adds its channels to all before."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth
        with self.name_scope():
            for i in range(depth):
                setattr(self, f"denselayer{i + 1}", DenseLayer())

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W)."""
        for i in range(self.depth):
            x = F.concat(x, getattr(self, f"denselayer{i + 1}")(x), dim=1)
        return x


class DenseLayer(HybridBlock):
    """Norm, ReLU and a 1x1 convolution, then the same with a 3x3 one."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.norm1, self.conv1 = norm(), conv(BOTTLENECK * GROWTH, 1)
            self.norm2, self.conv2 = norm(), conv(GROWTH, 3)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W)."""
        x = self.conv1(F.relu(self.norm1(x)))
        return self.conv2(F.relu(self.norm2(x)))


class Transition(HybridBlock):
    """Halves channels and resolution."""

    def __init__(self, out_chs: int) -> None:
        super().__init__()
        with self.name_scope():
            self.norm, self.conv, self.pool = norm(), conv(out_chs, 1), nn.AvgPool2D(2)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W)."""
        return self.pool(self.conv(F.relu(self.norm(x))))
