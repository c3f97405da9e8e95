"""MobileNetV2 (Sandler et al., arXiv 1801.04381); on small pictures the first strides go."""

from __future__ import annotations

import jax
from blocks import SMALL, BatchNorm, conv
from flax import nnx

# Expansion, channels, blocks, stride of each stage.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
          (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip


def mobilenet_v2(input_shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
    """17 inverted residuals."""
    return MobileNetV2(input_shape, classes, rngs)


class MobileNetV2(nnx.Module):
    """``features``, global average, ``classifier``."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        side = min(input_shape[:2])
        whole = (side < SMALL, side < 16)  # stages 1 and 2 keep the resolution
        parts = [conv_bn_relu6(input_shape[-1], 32, 3, 1 if whole[0] else 2, rngs=rngs)]
        chs = 32
        for stage, (expansion, width, blocks, stride) in enumerate(STAGES):
            if stage in (1, 2) and whole[stage - 1]:
                stride = 1
            for i in range(blocks):
                parts.append(InvertedResidual(chs, width, 1 if i else stride, expansion, rngs))
                chs = width
        parts.append(conv_bn_relu6(chs, 1280, 1, rngs=rngs))
        self.features = nnx.Sequential(*parts)
        self.classifier = nnx.Sequential(
            nnx.Dropout(0.2, rngs=rngs), nnx.Linear(1280, classes, rngs=rngs)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C) -> (N, classes)."""
        return self.classifier(self.features(x).mean(axis=(1, 2)))


class InvertedResidual(nnx.Module):
    """A wide depthwise convolution between two narrow 1x1 ones."""

    def __init__(
        self, in_chs: int, out_chs: int, stride: int, expansion: int, rngs: nnx.Rngs
    ) -> None:
        wide = expansion * in_chs
        self.adds = stride == 1 and in_chs == out_chs
        parts = [conv_bn_relu6(in_chs, wide, 1, rngs=rngs)] if expansion > 1 else []
        self.conv = nnx.Sequential(
            *parts,
            conv_bn_relu6(wide, wide, 3, stride, groups=wide, rngs=rngs),
            conv(wide, out_chs, 1, rngs=rngs),
            BatchNorm(out_chs, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C)."""
        y = self.conv(x)
        return x + y if self.adds else y


def conv_bn_relu6(
    in_chs: int, out_chs: int, kernel: int, stride: int = 1, groups: int = 1, *, rngs: nnx.Rngs
) -> nnx.Sequential:
    """Convolution without bias, batch norm, and a ReLU that ends at six."""
    return nnx.Sequential(
        conv(in_chs, out_chs, kernel, stride, groups, rngs=rngs),
        BatchNorm(out_chs, rngs=rngs),
        jax.nn.relu6,
    )
