"""What the networks share. A layer is named as the PyTorch network names its module."""

from __future__ import annotations

import keras
from keras import layers

SMALL = 64  # below this many pixels the stem keeps the resolution


def conv(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int = 1, *, name: str
) -> keras.KerasTensor:
    """Convolution without bias. Both sides get the same padding; "same" is uneven at stride 2."""
    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    return layers.Conv2D(
        filters,
        kernel,
        stride,
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
    )(x)


def norm(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """Batch norm, with the usual numbers of PyTorch."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def conv_bn(
    x: keras.KerasTensor, filters: int, kernel: int, stride: int = 1, *, name: str
) -> keras.KerasTensor:
    """Convolution without bias, then batch norm."""
    return norm(conv(x, filters, kernel, stride, name=f"{name}.0"), name=f"{name}.1")
