"""SqueezeNet 1.1 (Iandola et al., arXiv 1602.07360); small pictures keep their size in the stem."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from blocks import SMALL
from flax import nnx

# Channels of each fire module: squeezed, and expanded to by each of the two convolutions.
FIRES = (
    *((16, 64), (16, 64), (32, 128), (32, 128)),
    *((48, 192), (48, 192), (64, 256), (64, 256)),
)
POOLED = (2, 4)  # fire modules that a pool comes before

Conv = partial(nnx.Conv, kernel_init=nnx.initializers.he_uniform())


def squeezenet1_1(input_shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
    """26 convolutions."""
    return SqueezeNet(min(input_shape[:2]) < SMALL, input_shape[-1], classes, rngs)


class Fire(nnx.Module):
    """A 1x1 convolution to few channels, and two from these, side by side."""

    def __init__(self, in_chs: int, squeezed: int, expanded: int, rngs: nnx.Rngs) -> None:
        self.squeeze1x1 = Conv(in_chs, squeezed, (1, 1), rngs=rngs)
        self.expand1x1 = Conv(squeezed, expanded, (1, 1), rngs=rngs)
        self.expand3x3 = Conv(squeezed, expanded, (3, 3), padding=1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C)."""
        x = nnx.relu(self.squeeze1x1(x))
        expanded = [nnx.relu(self.expand1x1(x)), nnx.relu(self.expand3x3(x))]
        return jnp.concatenate(expanded, axis=-1)


class SqueezeNet(nnx.Module):
    """``conv1``, ``fire2`` to ``fire9`` and ``conv10``, whose map is averaged."""

    def __init__(self, small: bool, in_chs: int, classes: int, rngs: nnx.Rngs) -> None:
        self.small = small
        stride, padding = (1, 1) if small else (2, 0)
        self.conv1 = Conv(in_chs, 64, (3, 3), stride, padding=padding, rngs=rngs)
        chs = 64
        for i, (squeezed, expanded) in enumerate(FIRES):
            setattr(self, f"fire{i + 2}", Fire(chs, squeezed, expanded, rngs))
            chs = 2 * expanded
        self.conv10 = Conv(chs, classes, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C) -> (N, classes)."""
        x = nnx.relu(self.conv1(x))
        x = x if self.small else _pool(x)
        for i in range(len(FIRES)):
            x = getattr(self, f"fire{i + 2}")(_pool(x) if i in POOLED else x)
        return nnx.relu(self.conv10(x)).mean(axis=(1, 2))


def _pool(x: jax.Array) -> jax.Array:
    """3x3 at stride 2, what is left over at the border too; "SAME" is uneven at odd sizes."""
    left = [(0, (size - 3) % 2) for size in x.shape[1:3]]
    return nnx.max_pool(x, (3, 3), (2, 2), left)
