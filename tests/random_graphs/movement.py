"""Channels that move: shuffles, selections, other layouts, other spellings of a contraction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.activations import act
from tests.random_graphs.registry import (
    Draw,
    Map,
    block,
    concat,
    one_of,
    permute,
    quad,
    vector,
    width,
)


@block(Map, sized=True)
def shuffle(g: Builder, draw: Draw, x: Map) -> Map:
    x = quad(g, draw, x)
    groups, lead = one_of(draw, 2, 4), one_of(draw, 0, -1)
    c, h, w = x.channels, x.height, x.width
    y = g.reshape(x.name, [lead, groups, c // groups, h, w])
    y = permute(g, y, 0, 2, 1, 3, 4)
    return replace(x, name=g.reshape(y, [lead, c, h, w]))


@block(Map)
def slices(g: Builder, draw: Draw, x: Map) -> Map:
    step = one_of(draw, 1, 2, -1, -2, 3) if g.opset >= 10 else 1
    c = x.channels
    if step > 0:
        start, end = draw(st.integers(0, 2)), c - draw(st.integers(0, 1))
        chosen = np.arange(c)[start:end:step]
    else:
        start, end = one_of(draw, -1, c - 1, 100), one_of(draw, -(2**31), -c - 1)
        chosen = np.arange(c)[::step]
    if chosen.size < 2:
        return x
    return replace(x, name=g.slice(x.name, start, end, 1, step), channels=chosen.size)


@block(Map)
def halves(g: Builder, draw: Draw, x: Map) -> Map:
    """Both halves by Slice, swapped (a roll)."""
    cut = draw(st.integers(1, x.channels - 1))
    a, b = g.slice(x.name, 0, cut), g.slice(x.name, cut, 2**31)
    return replace(x, name=concat(g, [b, a], 1))


@block(Map)
def gathered(g: Builder, draw: Draw, x: Map) -> Map:
    c = x.channels
    indices = draw(st.lists(st.integers(-c, c - 1), min_size=2, max_size=c + 3))
    if g.opset < 11:
        indices = [i % c for i in indices]
    y = g.node("Gather", [x.name, g.ints(indices)], axis=1)
    return replace(x, name=y, channels=len(indices))


@block(Map)
def permuted(g: Builder, draw: Draw, x: Map) -> Map:
    order = draw(st.permutations(range(x.channels)))
    return replace(x, name=g.node("Gather", [x.name, g.ints(order)], axis=1))


@block(Map)
def channels_last(g: Builder, draw: Draw, x: Map) -> Map:
    """Transpose, MatMul with batch norm as Mul and Add, Transpose back."""
    cout = width(draw)
    y = g.node("MatMul", [permute(g, x.name, 0, 2, 3, 1), g.normal(x.channels, cout)])
    y = g.node("Mul", [y, vector(g, cout, 1.0, "scale")])
    y = g.node("Add", [vector(g, cout, 0.0, "shift"), y])
    return replace(x, name=permute(g, act(g, draw, y), 0, 3, 1, 2), channels=cout)


@block(Map, plain=False)
def weight_transposed(g: Builder, draw: Draw, x: Map) -> Map:
    """A MatMul weight stored the other way round."""
    cout = width(draw)
    w = permute(g, g.normal(cout, x.channels), 1, 0)
    y = g.node("MatMul", [permute(g, x.name, 0, 2, 3, 1), w])
    return replace(x, name=permute(g, y, 0, 3, 1, 2), channels=cout)


@block(Map, sized=True)
def matmul_left(g: Builder, draw: Draw, x: Map) -> Map:
    """W x with the pixels flattened."""
    cout = width(draw)
    y = g.node("MatMul", [g.normal(cout, x.channels), g.reshape(x.name, [0, 0, -1])])
    y = g.node("Add", [y, g.normal(cout, 1, stem="b")])
    return replace(x, name=g.reshape(y, [0, 0, x.height, x.width]), channels=cout)


@block(Map, since=12, plain=False)
def einsum_pixels(g: Builder, draw: Draw, x: Map) -> Map:
    """A 1x1 convolution as Einsum, its weight stored either way."""
    cout = width(draw)
    if one_of(draw, "out first", "in first") == "out first":
        w, equation = g.normal(cout, x.channels), "nchw,dc->ndhw"
    else:
        w, equation = g.normal(x.channels, cout), "nchw,cd->ndhw"
    return replace(x, name=g.node("Einsum", [x.name, w], equation=equation), channels=cout)


@block(Map)
def axes_in_and_out(g: Builder, draw: Draw, x: Map) -> Map:
    axis = draw(st.integers(1, 4))
    y = g.squeeze(g.node("Relu", [g.unsqueeze(x.name, [axis])]), [axis])
    return replace(x, name=y)


@block(Map, sized=True)
def channels_as_space(g: Builder, draw: Draw, x: Map) -> Map:
    """Channels become a spatial axis of a later convolution, and come back."""
    y = permute(g, x.name, 0, 2, 1, 3)  # (N, H, C, W)
    y = g.node("Relu", [g.conv(y, x.height, x.height, 3)])
    return replace(x, name=permute(g, y, 0, 2, 1, 3))
