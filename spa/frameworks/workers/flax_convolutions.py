"""Convolutions that train on a CPU.

XLA hands most convolutions on to fast kernels. Two kinds it computes in plain loops, a hundred
times slower: those with a kernel for every channel, and those whose kernel is larger than the
picture. Both are sums, over the kernel's places, of what lies under that place times its weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

LAYOUT = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def quicken(model: Any) -> None:
    """Gives a model's convolutions another way to be computed where XLA is slow."""
    if jax.default_backend() != "cpu":
        return
    for _, module in nnx.iter_modules(model):
        if isinstance(module, nnx.Conv) and module.conv_general_dilated is lax.conv_general_dilated:
            module.conv_general_dilated = convolve


def convolve(
    x: Any, kernel: Any, strides: Any, padding: Any, *, lhs_dilation: Any = None,
    rhs_dilation: Any = None, dimension_numbers: Any = None, feature_group_count: int = 1,
    **others: Any,
) -> Any:  # fmt: skip
    """As `lax.conv_general_dilated`. x: (N, H, W, C)   kernel: (kH, kW, C / groups, O)."""
    dilated = any(n != 1 for n in (*(lhs_dilation or ()), *(rhs_dilation or ())))
    if x.ndim != 4 or dilated or dimension_numbers != LAYOUT:
        slow = False
    elif feature_group_count == 1:
        slow = kernel.shape[0] > x.shape[1] or kernel.shape[1] > x.shape[2]
    else:
        slow = feature_group_count == x.shape[-1] == kernel.shape[-1]
    if not slow:
        return lax.conv_general_dilated(
            x, kernel, strides, padding, lhs_dilation, rhs_dilation, dimension_numbers,
            feature_group_count, **others,
        )  # fmt: skip
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    parts = [
        part * kernel[i, j, 0] if feature_group_count > 1 else part @ kernel[i, j]
        for i, j, part in _under(x, kernel.shape[:2], strides, padding)
    ]
    return sum(parts[1:], start=parts[0])


def _under(x: Any, sizes: Any, strides: Any, padding: Any) -> Iterator[tuple[int, int, Any]]:
    """For each place of a kernel that ever lies on the picture, what lies under it."""
    n, h, w, chs = x.shape
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    ends = [
        (padded.shape[axis] - size) // stride * stride + 1
        for axis, size, stride in zip((1, 2), sizes, strides, strict=True)
    ]
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            first = (i - padding[0][0], j - padding[1][0])
            meets = [
                any(0 <= at < size for at in range(start, start + end, stride))
                for start, end, size, stride in zip(first, ends, (h, w), strides, strict=True)
            ]
            if all(meets):
                yield (
                    i,
                    j,
                    lax.slice(
                        padded, (0, i, j, 0), (n, i + ends[0], j + ends[1], chs), (1, *strides, 1)
                    ),
                )
