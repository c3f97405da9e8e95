"""MobileNetV2 (Sandler et al., arXiv 1801.04381); on small pictures the first strides go."""

from __future__ import annotations

from typing import Any

from blocks import SMALL, conv, norm, sequential
from mxnet.gluon import HybridBlock, nn

# Expansion, channels, blocks, stride of each stage.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
          (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip


def mobilenet_v2(input_shape: tuple[int, int, int], classes: int) -> HybridBlock:
    """17 inverted residuals."""
    return MobileNetV2(input_shape, classes)


class MobileNetV2(HybridBlock):
    """``features``, global average, ``classifier``."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        side = min(input_shape[1:])
        whole = (side < SMALL, side < 16)  # stages 1 and 2 keep the resolution
        with self.name_scope():
            parts, chs = [conv_bn_relu6(32, 3, 1 if whole[0] else 2)], 32
            for stage, (expansion, width, blocks, stride) in enumerate(STAGES):
                if stage in (1, 2) and whole[stage - 1]:
                    stride = 1
                for i in range(blocks):
                    parts.append(InvertedResidual(chs, width, 1 if i else stride, expansion))
                    chs = width
            self.features = sequential(*parts, conv_bn_relu6(1280, 1))
            self.pool = nn.GlobalAvgPool2D()
            self.classifier = sequential(nn.Dropout(0.2), nn.Dense(classes))

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W) -> (N, classes)."""
        return self.classifier(F.flatten(self.pool(self.features(x))))


class InvertedResidual(HybridBlock):
    """A wide depthwise convolution between two narrow 1x1 ones."""

    def __init__(self, in_chs: int, out_chs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * in_chs
        self.adds = stride == 1 and in_chs == out_chs
        with self.name_scope():
            parts = [conv_bn_relu6(wide, 1)] if expansion > 1 else []
            self.conv = sequential(
                *parts, conv_bn_relu6(wide, 3, stride, groups=wide), conv(out_chs, 1), norm()
            )

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: (N, C, H, W)."""
        y = self.conv(x)
        return x + y if self.adds else y


class ReLU6(HybridBlock):
    """A ReLU that ends at six."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """x: anything."""
        return F.clip(x, 0, 6)


def conv_bn_relu6(
    out_chs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.HybridSequential:
    """Convolution without bias, batch norm, ReLU6."""
    return sequential(conv(out_chs, kernel, stride, groups), norm(), ReLU6())
