"""VGG-16 with batch norm.

Simonyan and Zisserman (arXiv 1409.1556). On small pictures the head is one Linear after a global
average, and a pool is left out where there is nothing left to halve.
"""

from __future__ import annotations

from functools import partial

import jax
from blocks import BatchNorm, conv
from flax import nnx

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
IMAGENET = 64  # pictures from this many pixels on get the network's full head


def vgg16_bn(input_shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
    """13 convolutions."""
    return Vgg(input_shape, classes, rngs)


class Vgg(nnx.Module):
    """Stages of convolutions and pools, then ``head``."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        h, w, chs = input_shape
        self.small = min(h, w) < IMAGENET
        parts = []
        for widths in VGG16:
            for width in widths:
                parts += [conv(chs, width, 3, rngs=rngs), BatchNorm(width, rngs=rngs), nnx.relu]
                chs = width
            if min(h, w) >= 2:
                parts.append(partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2)))
                h, w = h // 2, w // 2
        self.features = nnx.Sequential(*parts)
        if self.small:
            self.head = nnx.Linear(chs, classes, rngs=rngs)
        else:
            self.head = nnx.Sequential(
                *(nnx.Linear(chs * h * w, 4096, rngs=rngs), nnx.relu, nnx.Dropout(0.5, rngs=rngs)),
                *(nnx.Linear(4096, 4096, rngs=rngs), nnx.relu, nnx.Dropout(0.5, rngs=rngs)),
                nnx.Linear(4096, classes, rngs=rngs),
            )

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: (N, H, W, C) -> (N, classes)."""
        x = self.features(x)
        if self.small:
            return self.head(x.mean(axis=(1, 2)))
        x = x.transpose(0, 3, 1, 2)  # channels first, as the weights have it
        return self.head(x.reshape(x.shape[0], -1))
