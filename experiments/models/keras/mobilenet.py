"""MobileNetV2 (Sandler et al., arXiv 1801.04381); on small pictures the first strides go."""

from __future__ import annotations

import keras
from blocks import SMALL, conv_bn, norm
from keras import layers

# Expansion, channels, blocks, stride of each stage.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
          (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip


def mobilenet_v2(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """17 inverted residuals."""
    side = min(input_shape[:2])
    whole = (side < SMALL, side < 16)  # stages 1 and 2 keep the resolution
    inputs = keras.Input(input_shape)
    x = layers.ReLU(6.0)(conv_bn(inputs, 32, 3, 1 if whole[0] else 2, name="features.0"))
    place = 1
    for stage, (expansion, filters, blocks, stride) in enumerate(STAGES):
        if stage in (1, 2) and whole[stage - 1]:
            stride = 1
        for i in range(blocks):
            name = f"features.{place}.conv"
            x = _inverted_residual(x, filters, 1 if i else stride, expansion, name=name)
            place += 1
    x = layers.ReLU(6.0)(conv_bn(x, 1280, 1, name=f"features.{place}"))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(classes, name="classifier.1")(x))


def _inverted_residual(
    x: keras.KerasTensor, filters: int, stride: int, expansion: int, *, name: str
) -> keras.KerasTensor:
    y, place = x, 0
    if expansion > 1:
        y = layers.ReLU(6.0)(conv_bn(y, expansion * x.shape[-1], 1, name=f"{name}.0"))
        place = 1
    y = layers.ReLU(6.0)(_depthwise_bn(y, stride, name=f"{name}.{place}"))
    y = layers.Conv2D(
        filters, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}.{place + 1}"
    )(y)
    y = norm(y, name=f"{name}.{place + 2}")
    return layers.Add()([x, y]) if stride == 1 and x.shape[-1] == filters else y


def _depthwise_bn(x: keras.KerasTensor, stride: int, *, name: str) -> keras.KerasTensor:
    x = layers.ZeroPadding2D(1)(x)
    x = layers.DepthwiseConv2D(
        3, stride, use_bias=False, depthwise_initializer="he_normal", name=f"{name}.0"
    )(x)
    return norm(x, name=f"{name}.1")
