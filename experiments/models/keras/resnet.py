"""ResNet-8 and -20 for small pictures, and ResNet-18.

He et al., "Deep Residual Learning" (arXiv 1512.03385).
"""

from __future__ import annotations

import keras
from blocks import SMALL, conv, conv_bn, norm
from keras import layers


def resnet8(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """One block a stage."""
    return _cifar(1, input_shape, classes)


def resnet20(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Three blocks a stage."""
    return _cifar(3, input_shape, classes)


def _cifar(n: int, input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Stem, three stages of n blocks, global average, one Dense."""
    inputs = keras.Input(input_shape)
    x = layers.ReLU()(conv_bn(inputs, 16, 3, name="stem"))
    for i in range(3 * n):
        stage, rank = divmod(i, n)
        x = _cifar_block(x, 16 * 2**stage, 2 if stage and not rank else 1, name=f"blocks.{i}")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, name="head")(x))


def _cifar_block(
    x: keras.KerasTensor, filters: int, stride: int, *, name: str
) -> keras.KerasTensor:
    y = layers.ReLU()(conv_bn(x, filters, 3, stride, name=f"{name}.first"))
    y = conv_bn(y, filters, 3, name=f"{name}.second")
    if stride > 1 or x.shape[-1] != filters:
        x = conv_bn(x, filters, 1, stride, name=f"{name}.shortcut")
    return layers.ReLU()(layers.Add()([y, x]))


def resnet18(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Two blocks a stage; on small pictures a 3x3 stem without pool."""
    inputs = keras.Input(input_shape)
    if min(input_shape[:2]) < SMALL:
        x = layers.ReLU()(norm(conv(inputs, 64, 3, name="conv1"), name="bn1"))
    else:
        x = layers.ReLU()(norm(conv(inputs, 64, 7, 2, name="conv1"), name="bn1"))
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # nothing is below zero here
    for stage in range(4):
        for i in range(2):
            stride = 2 if stage and not i else 1
            x = _basic_block(x, 64 * 2**stage, stride, name=f"layer{stage + 1}.{i}")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes, name="fc")(x))


def _basic_block(
    x: keras.KerasTensor, filters: int, stride: int, *, name: str
) -> keras.KerasTensor:
    y = norm(conv(x, filters, 3, stride, name=f"{name}.conv1"), name=f"{name}.bn1")
    y = norm(conv(layers.ReLU()(y), filters, 3, name=f"{name}.conv2"), name=f"{name}.bn2")
    if stride > 1 or x.shape[-1] != filters:
        x = conv_bn(x, filters, 1, stride, name=f"{name}.downsample")
    return layers.ReLU()(layers.Add()([y, x]))
