"""Operators that sample: pictures at computed places, and random numbers.

Random numbers come from torch's own generator: what a model draws, and not which.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from spa.bridge.ops.casting import DTYPES
from spa.bridge.registry import Function, OpNode, converter
from spa.errors import BridgeError

Maybe = Tensor | None


@converter("GridSample")
def grid_sample(node: OpNode) -> Function:
    """x: (N, C, in...)   grid: (N, out..., rank)   y: (N, C, out...)."""
    names = {"linear": "bilinear", "cubic": "bicubic"}  # as they are called from opset 20 on
    mode = node.attrs.get("mode", "linear")
    mode = names.get(mode, mode)
    padding = node.attrs.get("padding_mode", "zeros")
    corners = bool(node.attrs.get("align_corners", 0))
    return lambda x, grid: functional.grid_sample(x, grid, mode, padding, corners)


@converter("AffineGrid", host=(1,))
def affine_grid(node: OpNode) -> Function:
    """theta: (N, 2, 3) or (N, 3, 4)   size: N, C, and the sizes of the grid."""
    corners = bool(node.attrs.get("align_corners", 0))
    return lambda theta, size: functional.affine_grid(theta, size.tolist(), corners)


@converter("DeformConv")
def deform_conv(node: OpNode) -> Function:
    """x: (N, I, H, W)   w: (O, I/g, kH, kW)   offsets: (N, G*kH*kW*2, H', W')   y: (N, O, H', W').

    Every point of the window is sampled by itself; then it is a product like any other. mask: (N,
    G*kH*kW, H', W'). The I channels are of G groups that share their offsets.
    """
    attrs = node.attrs
    pads, strides = attrs.get("pads", [0] * 4), attrs.get("strides", [1, 1])
    steps, groups = attrs.get("dilations", [1, 1]), attrs.get("group", 1)
    shared = attrs.get("offset_group", 1)

    def run(
        x: Tensor, w: Tensor, offsets: Tensor, bias: Maybe = None, mask: Maybe = None
    ) -> Tensor:
        if x.dim() != 4:
            raise BridgeError("of deformed convolutions, those over pictures are known")
        n, channels, height, width = x.shape
        window, out = list(w.shape[2:]), list(offsets.shape[2:])
        # moved: (N, G, points, 2, H', W'), rows and columns; at: the same without the offsets
        moved = offsets.reshape(n, shared, math.prod(window), 2, *out)
        axes = [
            (torch.arange(o, device=x.device) * s - p, torch.arange(k, device=x.device) * d)
            for o, s, p, k, d in zip(out, strides, pads, window, steps, strict=False)
        ]
        rows = (axes[0][0][None, None, :, None] + axes[0][1][:, None, None, None]).expand(
            *window, *out
        )
        columns = (axes[1][0][None, None, None] + axes[1][1][None, :, None, None]).expand(
            *window, *out
        )
        at = torch.stack([rows.reshape(-1, *out), columns.reshape(-1, *out)], 1) + moved
        # grid_sample: columns first, from -1 to 1 between the outer edges
        sizes = x.new_tensor([height, width])[:, None, None]
        grid = ((2 * at + 1) / sizes - 1).flip(3).permute(0, 1, 2, 4, 5, 3)
        found = functional.grid_sample(
            x.reshape(n * shared, channels // shared, height, width),
            grid.reshape(n * shared, -1, out[1], 2),
            align_corners=False,
        )  # (N*G, I/G, points*H', W')
        found = found.reshape(n, shared, channels // shared, -1, *out)
        if mask is not None:
            found = found * mask.reshape(n, shared, 1, -1, *out)
        found = found.reshape(n, groups, channels // groups, -1, *out)
        kernel = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
        y = torch.einsum("ngikhw,goik->ngohw", found, kernel).reshape(n, -1, *out)
        return y if bias is None else y + bias[:, None, None]

    return run


@converter("RandomNormalLike", "RandomUniformLike")
def random_like(node: OpNode) -> Function:
    """As large as the input, and of its type unless another is named."""
    kind = DTYPES[node.attrs["dtype"]] if "dtype" in node.attrs else None
    draw = _drawer(node)
    return lambda x: draw(x.shape, kind or x.dtype, x.device)


@converter("RandomNormal", "RandomUniform")
def random(node: OpNode) -> Function:
    """Of a shape that the node has."""
    kind, shape = DTYPES[node.attrs.get("dtype", 1)], node.attrs["shape"]
    draw = _drawer(node)
    return lambda: draw(shape, kind, None)


def _drawer(node: OpNode) -> Callable[..., Tensor]:
    attrs = node.attrs
    if "Normal" in node.op:
        mean, scale = attrs.get("mean", 0.0), attrs.get("scale", 1.0)
        return lambda shape, kind, place: (
            torch.randn(tuple(shape), dtype=kind, device=place) * scale + mean
        )
    low, high = attrs.get("low", 0.0), attrs.get("high", 1.0)
    return lambda shape, kind, place: (
        torch.rand(tuple(shape), dtype=kind, device=place) * (high - low) + low
    )


@converter("Bernoulli")
def bernoulli(node: OpNode) -> Function:
    """1 by the probability that the input gives."""
    kind = DTYPES[node.attrs["dtype"]] if "dtype" in node.attrs else None
    return lambda x: torch.bernoulli(x).to(kind or x.dtype)


@converter("Multinomial")
def multinomial(node: OpNode) -> Function:
    """x: (N, classes), logarithms of what may be drawn   y: (N, samples)."""
    kind, count = DTYPES[node.attrs.get("dtype", 6)], node.attrs.get("sample_size", 1)
    return lambda x: torch.multinomial(torch.softmax(x, -1), count, replacement=True).to(kind)
