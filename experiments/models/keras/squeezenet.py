"""SqueezeNet 1.1 (Iandola et al., arXiv 1602.07360); small pictures keep their size in the stem."""

from __future__ import annotations

import keras
from blocks import SMALL
from keras import layers

# Channels of each fire module: squeezed, and expanded to by each of the two convolutions.
FIRES = (
    *((16, 64), (16, 64), (32, 128), (32, 128)),
    *((48, 192), (48, 192), (64, 256), (64, 256)),
)
POOLED = (2, 4)  # fire modules that a pool comes before


def squeezenet1_1(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """26 convolutions."""
    inputs = keras.Input(input_shape)
    if min(input_shape[:2]) < SMALL:
        x = _conv(inputs, 64, 3, padding="same", name="conv1")
    else:
        x = _pool(_conv(inputs, 64, 3, 2, name="conv1"))
    for i, (squeezed, expanded) in enumerate(FIRES):
        x = _pool(x) if i in POOLED else x
        x = _conv(x, squeezed, 1, name=f"fire{i + 2}.squeeze1x1")
        one = _conv(x, expanded, 1, name=f"fire{i + 2}.expand1x1")
        three = _conv(x, expanded, 3, padding="same", name=f"fire{i + 2}.expand3x3")
        x = layers.Concatenate()([one, three])
    x = _conv(x, classes, 1, name="conv10")
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def _conv(
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    stride: int = 1,
    padding: str = "valid",
    *,
    name: str,
) -> keras.KerasTensor:
    return layers.Conv2D(
        filters, kernel, stride, padding, activation="relu", kernel_initializer="he_uniform",
        name=name,
    )(x)  # fmt: skip


def _pool(x: keras.KerasTensor) -> keras.KerasTensor:
    """3x3 at stride 2, what is left over at the border too; "same" is uneven at odd sizes."""
    left = [(size - 3) % 2 for size in x.shape[1:3]]
    if any(left):  # nothing is below zero here
        x = layers.ZeroPadding2D(((0, left[0]), (0, left[1])))(x)
    return layers.MaxPooling2D(3, 2)(x)
