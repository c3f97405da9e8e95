"""Pools over a sliding window, and over everything. x: (N, C, *sizes).

ONNX pads each end by its own amount and counts the last, incomplete window in ceil_mode; torch
pads symmetrically. So what torch cannot say is padded beforehand: with -inf under a maximum, and
under a mean with zeros whose share in each window is divided out again.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from spa.bridge.ops.convolution import CONV, torch_pads
from spa.bridge.registry import Function, OpNode, converter, elementwise
from spa.errors import BridgeError
from spa.graph.windows import window_pads

_MAX: dict[int, Any] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}
_MEAN: dict[int, Any] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}

Pads = list[tuple[int, int]]


def _window(node: OpNode, x: Tensor) -> tuple[Pads, Pads, list[int], list[int]]:
    """Return the declared pads, the pads with ceil_mode's extra, strides and dilations."""
    attrs, kernel = node.attrs, node.attrs["kernel_shape"]
    rank = len(kernel)
    strides = attrs.get("strides", [1] * rank)
    dilations = attrs.get("dilations", [1] * rank)
    pads = window_pads(attrs, x.shape[2:], kernel)
    if not attrs.get("ceil_mode", 0):
        return pads, pads, strides, dilations
    grown = []
    for i, (start, end) in enumerate(pads):
        size, reach = int(x.shape[2 + i]), (kernel[i] - 1) * dilations[i] + 1
        steps = -(-(size + start + end - reach) // strides[i])
        if steps * strides[i] >= size + start:  # the last window would begin in the end's padding
            steps -= 1
        grown.append((start, max(end, steps * strides[i] + reach - size - start)))
    return pads, grown, strides, dilations


def _native(pads: Pads, kernel: list[int]) -> bool:
    """Tell whether torch's pools can pad so by themselves: symmetric, at most half a window."""
    return all(s == e and 2 * s <= k for (s, e), k in zip(pads, kernel, strict=True))


@converter("MaxPool")
def max_pool(node: OpNode) -> Function:
    """Indices number the places of all of x, which only unpooling reads."""
    kernel = node.attrs["kernel_shape"]
    if node.wants(1):
        return _max_pool_with_places(node)

    def run(x: Tensor) -> Tensor:
        _, pads, strides, dilations = _window(node, x)
        padding = [start for start, _ in pads]
        if not _native(pads, kernel):
            low = -torch.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
            x, padding = functional.pad(x, torch_pads(pads), value=low), [0] * len(kernel)
        y: Tensor = _MAX[len(kernel)](x, kernel, strides, padding, dilations)
        return y

    return run


def _max_pool_with_places(node: OpNode) -> Function:
    """Torch numbers the places of each channel."""
    kernel = node.attrs["kernel_shape"]
    if node.attrs.get("storage_order", 0):
        raise ValueError("indices that count columns first are not known")

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        _, pads, strides, dilations = _window(node, x)
        if not _native(pads, kernel):
            raise BridgeError(f"indices with pads {pads} are not known")
        padding = [start for start, _ in pads]
        pool = _MAX[len(kernel)]
        y, places = pool(x, kernel, strides, padding, dilations, return_indices=True)
        return y, places + _first_of_channel(x.shape, x)

    return run


def _first_of_channel(shape: torch.Size, like: Tensor) -> Tensor:
    """The number of each channel's first place in all of a tensor of a shape."""
    n, c, *sizes = shape
    first = torch.arange(n * c, device=like.device) * math.prod(sizes)
    return first.reshape(n, c, *[1] * len(sizes))


@converter("MaxUnpool", host=(2,))
def max_unpool(node: OpNode) -> Function:
    """x, indices: (N, C, *sizes)   y: zeros but for the values of x at the indices."""
    kernel = node.attrs["kernel_shape"]
    strides = node.attrs.get("strides", [1] * len(kernel))
    pads = node.attrs.get("pads", [0] * (2 * len(kernel)))

    def run(x: Tensor, places: Tensor, shape: Tensor | None = None) -> Tensor:
        sizes = [
            (size - 1) * stride - start - end + window
            for size, stride, window, start, end in zip(
                x.shape[2:], strides, kernel, pads, pads[len(kernel) :], strict=False
            )
        ]
        inferred = [*x.shape[:2], *sizes]
        # Indices count in what was pooled; where that was larger, the rest is filled up.
        flat = torch.zeros(math.prod(inferred), dtype=x.dtype, device=x.device)
        y = flat.index_put((places.reshape(-1),), x.reshape(-1)).reshape(inferred)
        if shape is None:
            return y
        wanted = shape.tolist()
        more = [
            each for a, b in zip(wanted[::-1], inferred[::-1], strict=True) for each in (0, a - b)
        ]
        return functional.pad(y, more)

    return run


@converter("AveragePool")
def average_pool(node: OpNode) -> Function:
    """Padding counts in the mean only with count_include_pad, ceil_mode's extra never."""
    kernel = node.attrs["kernel_shape"]
    include = bool(node.attrs.get("count_include_pad", 0))

    def run(x: Tensor) -> Tensor:
        declared, pads, strides, dilations = _window(node, x)
        if declared == pads and _native(pads, kernel) and max(dilations) == 1:
            padding = [start for start, _ in pads]
            y: Tensor = _MEAN[len(kernel)](x, kernel, strides, padding, False, include)
            return y
        # share: (1, 1, *padded), 1 where an element counts
        share = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        share = functional.pad(share, torch_pads(declared), value=float(include))
        rest = [(0, full[1] - told[1]) for told, full in zip(declared, pads, strict=True)]
        share = functional.pad(share, torch_pads(rest))
        total = _window_sum(functional.pad(x, torch_pads(pads)), kernel, strides, dilations)
        return total / _window_sum(share, kernel, strides, dilations)

    return run


@converter("LpPool")
def lp_pool(node: OpNode) -> Function:
    """The p-norm of each window."""
    kernel, p = node.attrs["kernel_shape"], node.attrs.get("p", 2)

    def run(x: Tensor) -> Tensor:
        _, pads, strides, dilations = _window(node, x)
        powers = functional.pad(x.abs() ** p, torch_pads(pads))
        y: Tensor = _window_sum(powers, kernel, strides, dilations) ** (1.0 / p)
        return y

    return run


def _window_sum(x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> Tensor:
    """Sum each window of each channel: a convolution with ones, channel by channel."""
    n, c = x.shape[:2]
    ones = torch.ones((1, 1, *kernel), dtype=x.dtype, device=x.device)
    flat = x.reshape(n * c, 1, *x.shape[2:])
    y: Tensor = CONV[len(kernel)](flat, ones, None, strides, 0, dilations)
    return y.reshape(n, c, *y.shape[2:])


def _spatial(x: Tensor) -> list[int]:
    return list(range(2, x.dim()))


elementwise("GlobalAveragePool", lambda x: x.mean(_spatial(x), keepdim=True))
elementwise("GlobalMaxPool", lambda x: x.amax(_spatial(x), keepdim=True))


@converter("GlobalLpPool")
def global_lp_pool(node: OpNode) -> Function:
    """The p-norm of each channel."""
    p = node.attrs.get("p", 2)
    return lambda x: torch.linalg.vector_norm(x, p, dim=_spatial(x), keepdim=True)
