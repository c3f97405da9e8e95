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


def nested(input_shape, classes):
    """Models inside of a model: what Keras calls a base and a head, with names that recur."""
    images = keras.Input(input_shape)
    x = keras.Sequential([layers.RandomFlip(), layers.Rescaling(0.5)], name="augment")(images)
    x = _base(input_shape)(x)
    head = keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dense(20, "relu", name="in")])
    return keras.Model(images, layers.Dense(classes)(head(x)))


def _base(input_shape):
    images = keras.Input(input_shape)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(layers.Conv2D(12, 3)(images)))
    block = keras.Sequential([layers.Conv2D(16, 3), layers.BatchNormalization(name="norm")])
    return keras.Model(images, layers.ReLU()(block(x)), name="base")


def attending(input_shape, classes):
    """Two blocks of a transformer over patches, read by the first token and by the mean."""
    images = keras.Input(input_shape)
    x = layers.Conv2D(24, 2, strides=2)(images)
    x = layers.Reshape((-1, 24))(x)
    for _ in range(2):
        y = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(4, 6)(y, y)
        y = keras.ops.gelu(layers.Dense(48)(layers.LayerNormalization()(x)))
        x = x + layers.Dense(24)(y)
    x = layers.Concatenate()([x[:, 0], keras.ops.mean(x, axis=1)])
    return keras.Model(images, layers.Dense(classes)(x))


def transfer(input_shape, classes):
    """A head of one's own on a network of the zoo."""
    base = keras.applications.MobileNetV2(input_shape, 0.35, include_top=False, weights=None)
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(classes)]
    return keras.Sequential([keras.Input(input_shape), base, *head])
