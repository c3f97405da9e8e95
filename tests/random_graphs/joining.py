"""Branches that meet, and maps that grow: Add, Concat, Split, Pad, Tile, Expand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.activations import act
from tests.random_graphs.registry import Draw, Map, block, concat, conv, flip, one_of, width


@block(Map)
def residual(g: Builder, draw: Draw, x: Map) -> Map:
    inner = width(draw)
    y = replace(x, name=act(g, draw, conv(g, draw, x, inner)), channels=inner)
    y = conv(g, draw, y, x.channels)
    op = one_of(draw, "Add", "Add", "Sub", "Max", "Min", "Mean", "Sum")
    return replace(x, name=g.node("Relu", [g.node(op, [x.name, y])]))


@block(Map)
def dense(g: Builder, draw: Draw, x: Map) -> Map:
    """Concat of unequal branches."""
    growth = width(draw)
    y = act(g, draw, conv(g, draw, x, growth))
    parts = [x.name, y] if flip(draw) else [y, x.name]
    axis = one_of(draw, 1, -3) if g.opset >= 11 else 1
    return replace(x, name=concat(g, parts, axis), channels=x.channels + growth)


@block(Map)
def twice(g: Builder, draw: Draw, x: Map) -> Map:
    """Concat of the same tensor twice."""
    return replace(x, name=concat(g, [x.name, x.name], 1), channels=2 * x.channels)


@block(Map)
def gate(g: Builder, draw: Draw, x: Map) -> Map:
    """A gated linear unit: half times the sigmoid of the other half."""
    c = width(draw)
    a, b = g.split(conv(g, draw, x, 2 * c), [c, c])
    y = g.node("Mul", [a, g.node("Sigmoid", [b])])
    return replace(x, name=y, channels=c)


@block(Map)
def cross_stage(g: Builder, draw: Draw, x: Map) -> Map:
    """An uneven split, a branch through one part, all concatenated again (C2f)."""
    c = width(draw)
    first = draw(st.integers(1, c))
    a, b = g.split(conv(g, draw, x, first + c), [first, c])
    y = replace(x, name=b, channels=c)
    y = act(g, draw, conv(g, draw, y, c, 3))
    return replace(x, name=concat(g, [a, b, y], 1), channels=first + 2 * c)


@block(Map)
def dense_part(g: Builder, draw: Draw, x: Map) -> Map:
    """A part that is kept (a constant map's channels) beside one that may shrink."""
    c = draw(st.integers(1, 3))
    shape = g.node("Shape", [x.name])
    ones = g.slice(shape, 2, 4, 0)
    lead = g.slice(shape, 0, 1, 0)
    target = concat(g, [lead, g.ints([c]), ones], 0)
    value = g.weight((g.rng.standard_normal((1, c, 1, 1))).astype(np.float32), "class")
    y = g.node("Expand", [value, target])
    return replace(x, name=concat(g, [x.name, y], 1), channels=x.channels + c)


@block(Map)
def channel_pad(g: Builder, draw: Draw, x: Map) -> Map:
    before, after = draw(st.integers(0, 2)), draw(st.integers(0, 3))
    y = g.pad(x.name, [0, before, 0, 0, 0, after, 0, 0])
    return replace(x, name=y, channels=x.channels + before + after)


@block(Map)
def channel_crop(g: Builder, draw: Draw, x: Map) -> Map:
    before, after = draw(st.integers(-1, 1)), draw(st.integers(-1, 1))
    y = g.pad(x.name, [0, before, 0, 0, 0, after, 0, 0])
    return replace(x, name=y, channels=x.channels + before + after)


@block(Map)
def padded_shortcut(g: Builder, draw: Draw, x: Map) -> Map:
    """A shortcut whose new channels are zeros (ResNet's option A)."""
    more = draw(st.integers(1, 4))
    y = conv(g, draw, x, x.channels + more)
    shortcut = g.pad(x.name, [0, 0, 0, 0, 0, more, 0, 0])
    return replace(x, name=g.node("Add", [y, shortcut]), channels=x.channels + more)


@block(Map, sized=True)
def spatial_pad(g: Builder, draw: Draw, x: Map) -> Map:
    mode = one_of(draw, "constant", "edge", "reflect")
    mode = "edge" if mode == "reflect" and min(x.height, x.width) < 2 else mode
    y = g.pad(x.name, [0, 0, 1, 1, 0, 0, 1, 1], mode)
    y = g.conv(y, x.channels, x.channels, 3, bias=flip(draw))
    y = g.slice(y, 1, -1, 2)
    return replace(x, name=g.slice(y, 1, x.width + 1, 3))


@block(Map)
def tile(g: Builder, draw: Draw, x: Map) -> Map:
    y = g.node("Tile", [x.name, g.ints([1, 2, 1, 1])])
    return replace(x, name=y, channels=2 * x.channels)


@block(Map, sized=True)
def context(g: Builder, draw: Draw, x: Map) -> Map:
    """Pooled features expanded over the map again (ASPP), concatenated."""
    s = g.reduce(one_of(draw, "ReduceMean", "ReduceMax"), x.name, [2, 3])
    s = g.node("Expand", [s, g.ints([1, 1, x.height, x.width])])
    return replace(x, name=concat(g, [x.name, s], 1), channels=2 * x.channels)


@block(Map)
def expanded_as(g: Builder, draw: Draw, x: Map) -> Map:
    """Pooled features expanded to the shape that a tensor with channels of its own has."""
    s = g.node("GlobalMaxPool", [x.name])
    y = act(g, draw, conv(g, draw, x, x.channels))
    s = g.node("Expand", [s, g.node("Shape", [one_of(draw, x.name, y)])])
    return replace(x, name=concat(g, [y, s], 1), channels=2 * x.channels)


@block(Map)
def expanded(g: Builder, draw: Draw, x: Map) -> Map:
    """One channel expanded to all."""
    y = g.node("Expand", [conv(g, draw, x, 1), g.ints([1, x.channels, 1, 1])])
    return replace(x, name=g.node("Add", [x.name, y]))


@block(Map)
def mask(g: Builder, draw: Draw, x: Map) -> Map:
    """A map of one channel times all channels."""
    y = g.node("Sigmoid", [conv(g, draw, x, 1)])
    return replace(x, name=g.node("Mul", draw(st.permutations([x.name, y]))))
