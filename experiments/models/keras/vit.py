"""A vision transformer for small pictures: patches of 4x4, width 192, 6 blocks of 3 heads.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv 2010.11929).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

PATCH, WIDTH, DEPTH, HEADS, MLP_RATIO = 4, 192, 6, 3, 4
EPSILON = 1e-6


@keras.saving.register_keras_serializable("vit")
class Embedding(layers.Layer):
    """A class token before the others; a learned position is added to each."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """shape: (N, T, width)."""
        _, tokens, width = shape
        normal = keras.initializers.RandomNormal(stddev=0.02)
        self.class_token = self.add_weight((1, 1, width), "zeros", name="class_token")
        self.positions = self.add_weight((1, tokens + 1, width), normal, name="positions")

    def call(self, x: Any) -> Any:
        """x: (N, T, width) -> (N, 1 + T, width)."""
        first = ops.broadcast_to(self.class_token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([first, x], axis=1) + self.positions


def vit_p4_192(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Norms come first in a block; the class token is classified."""
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(WIDTH, PATCH, strides=PATCH, name="embedding.patches")(inputs)
    x = layers.Reshape((-1, WIDTH))(x)  # (N, h, w, width) -> (N, T, width)
    x = Embedding(name="embedding")(x)
    for i in range(DEPTH):
        x = _block(x, name=f"blocks.{i}")
    x = layers.LayerNormalization(epsilon=EPSILON, name="norm")(x)
    return keras.Model(inputs, layers.Dense(classes, name="head")(x[:, 0]))


def _block(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    y = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}.norm1")(x)
    y = layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name=f"{name}.attention")(y, y)
    x = layers.Add()([x, y])
    y = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}.norm2")(x)
    y = layers.Dense(MLP_RATIO * WIDTH, name=f"{name}.mlp.0")(y)
    y = layers.Activation("gelu")(y)
    y = layers.Dense(WIDTH, name=f"{name}.mlp.2")(y)
    return layers.Add()([x, y])
