"""Operators that move data without looking at it: joins, cuts, new shapes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spa.bridge.registry import Function, OpNode, borrowed, converter

borrowed("Concat")


@converter("Split", host=(1,))
def split(node: OpNode) -> Function:
    """Into given sizes, or into as many equal parts as there are outputs (the last may be less)."""
    axis = node.attrs.get("axis", 0)

    def run(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        parts = node.attrs.get("split") if sizes is None else sizes.tolist()
        if parts is None:
            size = x.shape[axis]
            each = math.ceil(size / len(node.outputs))
            parts = [min(each, size - each * i) for i in range(len(node.outputs))]
        return tuple(torch.split(x, parts, axis))

    return run


@converter("Reshape", host=(1,))
def reshape(node: OpNode) -> Function:
    """0 copies the input's size unless allowzero, -1 is what remains."""
    allow_zero = bool(node.attrs.get("allowzero", 0))

    def run(x: Tensor, shape: Tensor) -> Tensor:
        sizes = shape.tolist()
        if not allow_zero:
            sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
        return x.reshape(sizes)

    return run


@converter("Flatten")
def flatten(node: OpNode) -> Function:
    """Two axes: all before ``axis``, and the rest."""
    axis = node.attrs.get("axis", 1)

    def run(x: Tensor) -> Tensor:
        cut = axis % x.dim() if axis < 0 else axis
        return x.reshape(math.prod(x.shape[:cut]), math.prod(x.shape[cut:]))

    return run


@converter("Squeeze", host=(1,))
def squeeze(node: OpNode) -> Function:
    """Axes are an attribute before opset 13; none named: every axis of size 1."""

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = node.attrs.get("axes") if axes is None else axes.tolist()
        return x.squeeze() if dims is None else x.squeeze(dims)

    return run


@converter("Unsqueeze", host=(1,))
def unsqueeze(node: OpNode) -> Function:
    """Axes count in the output."""

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        dims = node.attrs["axes"] if axes is None else axes.reshape(-1).tolist()
        rank = x.dim() + len(dims)
        for dim in sorted(d % rank for d in dims):
            x = x.unsqueeze(dim)
        return x

    return run


@converter("Transpose")
def transpose(node: OpNode) -> Function:
    """Axis i of the output is axis perm[i] of the input; by default all are reversed."""
    perm = node.attrs.get("perm")
    return lambda x: x.permute(perm if perm is not None else tuple(reversed(range(x.dim()))))


@converter("Expand", host=(1,))
def expand(node: OpNode) -> Function:
    """Broadcast in both directions: a 1 in the shape keeps the input's size."""

    def run(x: Tensor, shape: Tensor) -> Tensor:
        sizes = torch.broadcast_shapes(x.shape, shape.tolist())  # type: ignore[no-untyped-call]
        return x.expand(sizes)

    return run


@converter("Tile", since=6, host=(1,))
def tile(node: OpNode) -> Function:
    """Repeats per axis."""
    return lambda x, repeats: x.repeat(repeats.tolist())


@converter("DepthToSpace")
def depth_to_space(node: OpNode) -> Function:
    """(N, b*b*C, H, W) -> (N, C, H*b, W*b), or with mode CRD from (N, C*b*b, H, W)."""
    block, mode = node.attrs["blocksize"], node.attrs.get("mode", "DCR")

    def run(x: Tensor) -> Tensor:
        n, depth, h, w = x.shape
        c = depth // block**2
        if mode == "DCR":
            y = x.reshape(n, block, block, c, h, w).permute(0, 3, 4, 1, 5, 2)
        else:
            y = x.reshape(n, c, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
        return y.reshape(n, c, h * block, w * block)

    return run


@converter("SpaceToDepth")
def space_to_depth(node: OpNode) -> Function:
    """(N, C, H*b, W*b) -> (N, b*b*C, H, W), or with mode CRD (N, C*b*b, H, W)."""
    block, mode = node.attrs["blocksize"], node.attrs.get("mode", "DCR")
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = x.reshape(n, c, h // block, block, w // block, block).permute(order)
        return y.reshape(n, c * block**2, h // block, w // block)

    return run


@converter("Col2Im", host=(1, 2))
def col2im(node: OpNode) -> Function:
    """x: (N, C * block, L)   image: (axes,)   block: (axes,)   y: (N, C, image...).

    Every entry is added to the pixel that it was a copy of; L counts the block's places.
    """

    def run(x: Tensor, image: Tensor, block: Tensor) -> Tensor:
        sizes, blocks = image.tolist(), block.tolist()
        axes = len(sizes)
        ones, pads = [1] * axes, node.attrs.get("pads", [0] * 2 * axes)
        strides, dilations = node.attrs.get("strides", ones), node.attrs.get("dilations", ones)
        padded = [size + pads[k] + pads[k + axes] for k, size in enumerate(sizes)]
        # Where every entry goes in the padded image, by axis: shape (1.., block, 1.., places, ..1).
        flat = torch.zeros([1] * 2 * axes, dtype=torch.int64, device=x.device)
        for k, (size, step, apart) in enumerate(zip(blocks, strides, dilations, strict=True)):
            places = (padded[k] - apart * (size - 1) - 1) // step + 1
            inside = apart * torch.arange(size, device=x.device)
            pixels = inside[:, None] + step * torch.arange(places, device=x.device)
            shape = [1] * 2 * axes
            shape[k], shape[k + axes] = size, places
            flat = flat * padded[k] + pixels.reshape(shape)
        n, c = x.shape[0], x.shape[1] // math.prod(blocks)
        y = x.new_zeros(n, c, math.prod(padded))
        y = y.index_add(2, flat.reshape(-1), x.reshape(n, c, -1)).reshape(n, c, *padded)
        for k, size in enumerate(sizes):
            y = y.narrow(2 + k, pads[k], size)
        return y

    return run
