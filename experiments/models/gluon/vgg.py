"""VGG-16 with batch norm.

Simonyan and Zisserman (arXiv 1409.1556). On small pictures the head is one Dense after a global
average, and a pool is left out where there is nothing left to halve.
"""

from __future__ import annotations

from typing import Any

from blocks import conv, norm, sequential
from mxnet.gluon import HybridBlock, nn

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
IMAGENET = 64  # pictures from this many pixels on get the network's full head


def vgg16_bn(input_shape: tuple[int, int, int], classes: int) -> HybridBlock:
    """13 convolutions."""
    return Vgg(input_shape, classes)


class Vgg(HybridBlock):
    """Stages of convolutions and pools, then ``head`` on the flattened map."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        small, side = min(input_shape[1:]) < IMAGENET, min(input_shape[1:])
        with self.name_scope():
            parts = []
            for widths in VGG16:
                for width in widths:
                    parts += [conv(width, 3), norm(), nn.Activation("relu")]
                if side >= 2:
                    parts.append(nn.MaxPool2D(2))
                    side //= 2
            self.features = sequential(*parts, *([nn.GlobalAvgPool2D()] if small else []))
            self.head = nn.Dense(classes) if small else _full_head(classes)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W) -> (N, classes)."""
        return self.head(self.features(x))


def _full_head(classes: int) -> nn.HybridSequential:
    return sequential(
        *(nn.Dense(4096), nn.Activation("relu"), nn.Dropout(0.5)),
        *(nn.Dense(4096), nn.Activation("relu"), nn.Dropout(0.5)),
        nn.Dense(classes),
    )
