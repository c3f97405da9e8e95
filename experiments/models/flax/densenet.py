"""DenseNet-121 (Huang et al., arXiv 1608.06993); on small pictures a 3x3 stem without pool."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from blocks import SMALL, BatchNorm, conv
from flax import nnx

GROWTH, BOTTLENECK, DEPTHS = 32, 4, (6, 12, 24, 16)


def densenet121(input_shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
    """Four dense blocks with transitions between them."""
    return DenseNet(min(input_shape[:2]) < SMALL, input_shape[-1], classes, rngs)


class DenseNet(nnx.Module):
    """``features``, global average, ``classifier``."""

    def __init__(self, small: bool, in_chs: int, classes: int, rngs: nnx.Rngs) -> None:
        self.features = Features(small, in_chs, rngs)
        self.classifier = nnx.Linear(self.features.out_chs, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C) -> (N, classes)."""
        x = nnx.relu(self.features(x))
        return self.classifier(x.mean(axis=(1, 2)))


class Features(nnx.Module):
    """The stem, and the dense blocks with transitions between them."""

    def __init__(self, small: bool, in_chs: int, rngs: nnx.Rngs) -> None:
        self.small = small
        self.conv0 = conv(in_chs, 64, *((3, 1) if small else (7, 2)), rngs=rngs)
        self.norm0 = BatchNorm(64, rngs=rngs)
        chs = 64
        for block, depth in enumerate(DEPTHS, 1):
            setattr(self, f"denseblock{block}", DenseBlock(depth, chs, rngs))
            chs += depth * GROWTH
            if block < len(DEPTHS):
                setattr(self, f"transition{block}", Transition(chs, rngs))
                chs //= 2
        self.norm5 = BatchNorm(chs, rngs=rngs)
        self.out_chs = chs

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C)."""
        x = nnx.relu(self.norm0(self.conv0(x)))
        if not self.small:
            x = nnx.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for block in range(1, len(DEPTHS)):
            x = getattr(self, f"denseblock{block}")(x)
            x = getattr(self, f"transition{block}")(x)
        return self.norm5(getattr(self, f"denseblock{len(DEPTHS)}")(x))


class DenseBlock(nnx.Module):
    """Each layer adds its channels to all before."""

    def __init__(self, depth: int, in_chs: int, rngs: nnx.Rngs) -> None:
        self.depth = depth
        for i in range(depth):
            setattr(self, f"denselayer{i + 1}", DenseLayer(in_chs + i * GROWTH, rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C)."""
        for i in range(self.depth):
            x = jnp.concatenate([x, getattr(self, f"denselayer{i + 1}")(x)], axis=-1)
        return x


class DenseLayer(nnx.Module):
    """Norm, ReLU and a 1x1 convolution, then the same with a 3x3 one."""

    def __init__(self, in_chs: int, rngs: nnx.Rngs) -> None:
        wide = BOTTLENECK * GROWTH
        self.norm1 = BatchNorm(in_chs, rngs=rngs)
        self.conv1 = conv(in_chs, wide, 1, rngs=rngs)
        self.norm2 = BatchNorm(wide, rngs=rngs)
        self.conv2 = conv(wide, GROWTH, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C)."""
        x = self.conv1(nnx.relu(self.norm1(x)))
        return self.conv2(nnx.relu(self.norm2(x)))


class Transition(nnx.Module):
    """Halves channels and resolution."""

    def __init__(self, in_chs: int, rngs: nnx.Rngs) -> None:
        self.norm = BatchNorm(in_chs, rngs=rngs)
        self.conv = conv(in_chs, in_chs // 2, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C)."""
        return nnx.avg_pool(self.conv(nnx.relu(self.norm(x))), (2, 2), (2, 2))
