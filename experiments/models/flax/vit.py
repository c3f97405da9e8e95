"""A vision transformer for small pictures: patches of 4x4, width 192, 6 blocks of 3 heads.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (arXiv 2010.11929).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

PATCH, WIDTH, DEPTH, HEADS, MLP_RATIO = 4, 192, 6, 3, 4

LayerNorm = partial(nnx.LayerNorm, epsilon=1e-6)
Linear = partial(nnx.Linear, kernel_init=nnx.initializers.xavier_uniform())


def vit_p4_192(input_shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
    """Norms come first in a block; the class token is classified."""
    return Vit(input_shape, classes, rngs)


class Vit(nnx.Module):
    """Embedding, blocks, a last norm, one Linear on the class token."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.embedding = Embedding(input_shape, rngs)
        self.blocks = nnx.Sequential(*(Block(rngs) for _ in range(DEPTH)))
        self.norm = LayerNorm(WIDTH, rngs=rngs)
        self.head = Linear(WIDTH, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C) -> (N, classes)."""
        tokens = self.norm(self.blocks(self.embedding(x)))
        return self.head(tokens[:, 0])


class Embedding(nnx.Module):
    """Patches as tokens, after a class token; a learned position is added to each."""

    def __init__(self, input_shape: tuple[int, int, int], rngs: nnx.Rngs) -> None:
        h, w, channels = input_shape
        tokens = h // PATCH * (w // PATCH)
        self.patches = nnx.Conv(channels, WIDTH, (PATCH, PATCH), PATCH, padding="VALID", rngs=rngs)
        self.class_token = nnx.Param(jnp.zeros((1, 1, WIDTH)))
        normal = nnx.initializers.normal(0.02)
        self.positions = nnx.Param(normal(rngs.params(), (1, 1 + tokens, WIDTH)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C) -> (N, 1 + T, width)."""
        tokens = self.patches(x)
        tokens = tokens.reshape(x.shape[0], -1, WIDTH)  # (N, h, w, width) -> (N, T, width)
        first = jnp.broadcast_to(self.class_token[...], (x.shape[0], 1, WIDTH))
        return jnp.concatenate([first, tokens], axis=1) + self.positions[...]


class Block(nnx.Module):
    """Attention, then two linear layers; each after a norm, and added to what came in."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm1 = LayerNorm(WIDTH, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.norm2 = LayerNorm(WIDTH, rngs=rngs)
        self.mlp = nnx.Sequential(
            Linear(WIDTH, MLP_RATIO * WIDTH, rngs=rngs),
            partial(nnx.gelu, approximate=False),
            Linear(MLP_RATIO * WIDTH, WIDTH, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, T, width)."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))
