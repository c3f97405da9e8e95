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


def normed(input_shape, classes):
    """Norms in every place: with and without gamma, beta and a bias before; folded and not."""
    images = keras.Input(input_shape)
    x = layers.Conv2D(12, 3, padding="same", bias_initializer="ones")(images)
    x = layers.ReLU()(layers.BatchNormalization(scale=False)(layers.Dropout(0.1)(x)))
    x = layers.SeparableConv2D(16, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(center=False)(x))
    x = layers.BatchNormalization(scale=False, center=False)(x)
    x = layers.Conv2D(16, 3, padding="same")(x)
    x = layers.PReLU(shared_axes=[1, 2])(layers.GroupNormalization(4)(x))
    x = layers.BatchNormalization()(layers.Conv2DTranspose(10, 2, strides=2, use_bias=False)(x))
    x = layers.LayerNormalization()(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    x = layers.BatchNormalization()(layers.Dense(14)(x))
    return keras.Model(images, layers.Dense(classes)(layers.ReLU()(x)))
