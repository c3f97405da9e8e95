"""SqueezeNet 1.1 (Iandola et al., arXiv 1602.07360); small pictures keep their size in the stem."""

from __future__ import annotations

from typing import Any

from blocks import SMALL
from mxnet.gluon import HybridBlock, nn

# Channels of each fire module: squeezed, and expanded to by each of the two convolutions.
FIRES = (
    *((16, 64), (16, 64), (32, 128), (32, 128)),
    *((48, 192), (48, 192), (64, 256), (64, 256)),
)
POOLED = (2, 4)  # fire modules that a pool comes before


def squeezenet1_1(input_shape: tuple[int, int, int], classes: int) -> HybridBlock:
    """26 convolutions."""
    return SqueezeNet(min(input_shape[1:]) < SMALL, classes)


class Fire(HybridBlock):
    """A 1x1 convolution to few channels, and two from these, side by side."""

    def __init__(self, squeezed: int, expanded: int) -> None:
        super().__init__()
        with self.name_scope():
            self.squeeze1x1 = nn.Conv2D(squeezed, 1)
            self.expand1x1 = nn.Conv2D(expanded, 1)
            self.expand3x3 = nn.Conv2D(expanded, 3, padding=1)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W)."""
        x = F.relu(self.squeeze1x1(x))
        return F.concat(F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x)), dim=1)


class SqueezeNet(HybridBlock):
    """``conv1``, ``fire2`` to ``fire9`` and ``conv10``, whose map is averaged."""

    def __init__(self, small: bool, classes: int) -> None:
        super().__init__()
        self.small = small
        with self.name_scope():
            self.conv1 = nn.Conv2D(64, 3, *((1, 1) if small else (2, 0)))
            for i, widths in enumerate(FIRES):
                setattr(self, f"fire{i + 2}", Fire(*widths))
            self.conv10 = nn.Conv2D(classes, 1)
            self.pool = nn.MaxPool2D(3, 2, ceil_mode=True)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W) -> (N, classes)."""
        x = F.relu(self.conv1(x))
        x = x if self.small else self.pool(x)
        for i in range(len(FIRES)):
            x = getattr(self, f"fire{i + 2}")(self.pool(x) if i in POOLED else x)
        return F.relu(self.conv10(x)).mean(axis=(2, 3))
