"""A residual net with a depthwise convolution, a norm that is folded and one that is not."""

import keras
from keras import layers


def small(input_shape, classes):
    images = keras.Input(input_shape)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(images)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(16, 3, padding="same", strides=2)(x)
    y = layers.Activation("gelu")(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, padding="same")(y)
    x = layers.Add()([y, layers.Conv2D(16, 1, strides=2)(x)])
    x = x * (layers.ReLU(6.0)(x + 3.0) / 6.0)
    x = layers.BatchNormalization()(layers.Concatenate()([x, y]))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(images, layers.Dense(classes)(x))


def unfollowed(input_shape, classes):
    """A model with an operator that is not followed where a smaller model is made."""
    images = keras.Input(input_shape)
    x = keras.ops.sin(layers.Conv2D(8, 3)(images))
    return keras.Model(images, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))
