"""A residual net of Flax's older kind: a module, and its variables beside it."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class Small(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(16, (3, 3), use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        y = nn.relu(nn.Conv(16, (3, 3), padding=1)(x))
        x = nn.max_pool(x + y, (2, 2), (2, 2))
        return nn.Dense(4)(x.mean((1, 2)))


def small():
    net = Small()
    return net, net.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def no_weights():
    return Small()
