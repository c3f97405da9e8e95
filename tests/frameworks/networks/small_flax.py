"""A residual net with a depthwise convolution."""

import jax
import jax.numpy as jnp
from flax import nnx


class Small(nnx.Module):
    def __init__(self, channels, classes, rngs):
        self.stem = nnx.Conv(channels, 16, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.conv = nnx.Conv(16, 16, (3, 3), strides=2, rngs=rngs)
        self.depthwise = nnx.Conv(16, 16, (3, 3), feature_group_count=16, rngs=rngs)
        self.shortcut = nnx.Conv(16, 16, (1, 1), strides=2, rngs=rngs)
        self.last = nnx.BatchNorm(32, rngs=rngs)
        self.head = nnx.Linear(32, classes, rngs=rngs)

    def __call__(self, x):
        x = jax.nn.relu(self.norm(self.stem(x)))
        y = self.depthwise(jax.nn.relu(self.conv(x)))
        x = jnp.concatenate([y + self.shortcut(x), y], axis=-1)
        return self.head(jax.nn.relu(self.last(x)).mean((1, 2)))


def small(input_shape, classes, rngs):
    return Small(input_shape[-1], classes, rngs)
