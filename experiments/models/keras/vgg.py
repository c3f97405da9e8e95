"""VGG-16 with batch norm.

Simonyan and Zisserman (arXiv 1409.1556). On small pictures the head is one Dense after a global
average, and a pool is left out where there is nothing left to halve.
"""

from __future__ import annotations

import keras
from blocks import norm
from keras import layers

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
IMAGENET = 64  # pictures from this many pixels on get the network's full head


def vgg16_bn(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """13 convolutions."""
    x = inputs = keras.Input(input_shape)
    place = 0
    for widths in VGG16:
        for width in widths:
            x = layers.Conv2D(
                width, 3, padding="same", use_bias=False, kernel_initializer="he_normal",
                name=f"features.{place}",
            )(x)  # fmt: skip
            x = layers.ReLU()(norm(x, name=f"features.{place + 1}"))
            place += 3
        if min(x.shape[1:3]) >= 2:
            x = layers.MaxPooling2D(2)(x)
            place += 1
    if min(input_shape[:2]) < IMAGENET:
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, layers.Dense(classes, name="head")(x))
    x = layers.Flatten()(layers.Permute((3, 1, 2))(x))  # channels first, as the weights have it
    for i in (0, 3):
        x = layers.Dense(4096, activation="relu", name=f"head.{i}")(x)
        x = layers.Dropout(0.5)(x)
    return keras.Model(inputs, layers.Dense(classes, name="head.6")(x))
