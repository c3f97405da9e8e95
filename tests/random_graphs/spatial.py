"""Windows over the pixels, and gates that come from all of them: pools, Resize, SE, CBAM."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.registry import NO_KERNEL, Draw, Map, block, flip, one_of


@block(Map, sized=True)
def pool(g: Builder, draw: Draw, x: Map) -> Map:
    op = one_of(draw, "MaxPool", "AveragePool", "LpPool")
    if x.height % 2 or x.width % 2 or x.height <= 2:
        return replace(x, name=g.node(op, [x.name], kernel_shape=[3, 3], pads=[1] * 4))
    y = g.node(op, [x.name], kernel_shape=[2, 2], strides=[2, 2])
    return Map(y, x.channels, x.height // 2, x.width // 2)


@block(Map)
def pool_same(g: Builder, draw: Draw, x: Map) -> Map:
    """Pools that leave the size; SPP joins several."""
    kinds = [one_of(draw, "MaxPool", "AveragePool") for _ in range(draw(st.integers(1, 2)))]
    parts = [g.node(op, [x.name], kernel_shape=[3, 3], pads=[1] * 4) for op in kinds]
    if len(parts) == 1:
        return replace(x, name=parts[0])
    y = g.node("Concat", [x.name, *parts], axis=1)
    return replace(x, name=y, channels=3 * x.channels)


@block(Map)
def squeeze_excite(g: Builder, draw: Draw, x: Map) -> Map:
    ways = ["pool", "mean"] + (["power"] * 2 if g.opset < NO_KERNEL["GlobalLpPool"] else [])
    how = one_of(draw, *ways)
    if how == "pool":
        s = g.node("GlobalAveragePool", [x.name])
    elif how == "power":
        s = g.node("Tanh", [g.node("GlobalLpPool", [x.name], p=one_of(draw, 1, 2))])
    else:
        axes = one_of(draw, [2, 3], [-1, -2]) if g.opset >= 11 else [2, 3]
        s = g.reduce("ReduceMean", x.name, axes)
    hidden = one_of(draw, 2, 4)
    s = g.node("Relu", [g.conv(s, x.channels, hidden, 1)])
    s = g.node("Sigmoid", [g.conv(s, hidden, x.channels, 1)])
    return replace(x, name=g.node("Mul", draw(st.permutations([x.name, s]))))


@block(Map)
def squeeze_excite_linear(g: Builder, draw: Draw, x: Map) -> Map:
    s = g.node("Flatten", [g.node("GlobalMaxPool", [x.name])])
    s = g.node("Relu", [g.gemm(s, x.channels, 4, trans=draw(st.integers(0, 1)))])
    s = g.node("Sigmoid", [g.gemm(s, 4, x.channels, trans=draw(st.integers(0, 1)))])
    s = g.reshape(s, [-1, x.channels, 1, 1]) if flip(draw) else g.unsqueeze(s, [2, 3])
    return replace(x, name=g.node("Mul", [x.name, s]))


@block(Map)
def efficient_attention(g: Builder, draw: Draw, x: Map) -> Map:
    """ECA: a convolution along the channels, which keeps them."""
    s = g.squeeze(g.node("GlobalAveragePool", [x.name]), [3])  # (N, C, 1)
    s = g.node("Transpose", [s], perm=[0, 2, 1])
    s = g.node("Sigmoid", [g.conv(s, 1, 1, 3, rank=1, bias=False)])
    s = g.unsqueeze(g.node("Transpose", [s], perm=[0, 2, 1]), [3])
    return replace(x, name=g.node("Mul", [x.name, s]))


@block(Map)
def spatial_gate(g: Builder, draw: Draw, x: Map) -> Map:
    """CBAM: a gate for every pixel from the mean and the maximum over the channels; not exact."""
    parts = [g.reduce(op, x.name, [1]) for op in ("ReduceMean", "ReduceMax")]
    s = g.conv(g.node("Concat", parts, axis=1), 2, 1, 3)
    return replace(x, name=g.node("Mul", [x.name, g.node("Sigmoid", [s])]))


@block(Map)
def response_norm(g: Builder, draw: Draw, x: Map) -> Map:
    """LRN's window reaches over the channels."""
    return replace(x, name=g.node("LRN", [x.name], size=3, alpha=0.1))


@block(Map, sized=True)
def coordinates(g: Builder, draw: Draw, x: Map) -> Map:
    """Two constant channels beside the others (CoordConv)."""
    rows, columns = np.mgrid[0 : x.height, 0 : x.width] / 8.0
    grid = np.stack([rows, columns])[None].astype(np.float32)
    n = g.slice(g.node("Shape", [x.name]), 0, 1, 0)
    target = g.node("Concat", [n, g.ints([1, 1, 1])], axis=0)
    y = g.node("Expand", [g.weight(grid, "grid"), target])
    y = g.node("Concat", [x.name, y], axis=1)
    return replace(x, name=y, channels=x.channels + 2)
