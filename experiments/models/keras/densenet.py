"""DenseNet-121 (Huang et al., arXiv 1608.06993); on small pictures a 3x3 stem without pool."""

from __future__ import annotations

import keras
from blocks import SMALL, conv, norm
from keras import layers

GROWTH, BOTTLENECK, DEPTHS = 32, 4, (6, 12, 24, 16)


def densenet121(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Four dense blocks with transitions between them."""
    inputs = keras.Input(input_shape)
    if min(input_shape[:2]) < SMALL:
        x = conv(inputs, 64, 3, name="features.conv0")
        x = layers.ReLU()(norm(x, name="features.norm0"))
    else:
        x = conv(inputs, 64, 7, 2, name="features.conv0")
        x = layers.ReLU()(norm(x, name="features.norm0"))
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # nothing is below zero here
    for block, depth in enumerate(DEPTHS, 1):
        for i in range(1, depth + 1):
            name = f"features.denseblock{block}.denselayer{i}"
            x = layers.Concatenate()([x, _dense_layer(x, name=name)])
        if block < len(DEPTHS):
            x = _transition(x, name=f"features.transition{block}")
    x = layers.ReLU()(norm(x, name="features.norm5"))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, name="classifier")(x))


def _dense_layer(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    x = layers.ReLU()(norm(x, name=f"{name}.norm1"))
    x = conv(x, BOTTLENECK * GROWTH, 1, name=f"{name}.conv1")
    x = layers.ReLU()(norm(x, name=f"{name}.norm2"))
    return conv(x, GROWTH, 3, name=f"{name}.conv2")


def _transition(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    x = layers.ReLU()(norm(x, name=f"{name}.norm"))
    x = conv(x, x.shape[-1] // 2, 1, name=f"{name}.conv")
    return layers.AveragePooling2D(2)(x)
