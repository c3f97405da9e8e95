"""Targets and bounds that come out of shape arithmetic, as exporters write them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.graphs import Builder
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    concat,
    linear,
    one_of,
    permute,
    scalar,
    shape_part,
    table,
    width,
)


@block(Map)
def computed_reshape(g: Builder, draw: Draw, x: Map) -> Map:
    """The target is put together from Shape; flattens the pixels and back."""
    shape = g.node("Shape", [x.name])
    lead = g.node("Gather", [shape, g.ints([0, 1])], axis=0)
    y = g.node("Relu", [g.node("Reshape", [x.name, concat(g, [lead, g.ints([-1])], 0)])])
    return replace(x, name=g.node("Reshape", [y, shape]))


@block(Map)
def computed_shuffle(g: Builder, draw: Draw, x: Map) -> Map:
    """A channel shuffle whose sizes are divided and multiplied while the model runs."""
    if x.channels % 2:
        return x
    n, c, h, w = (shape_part(g, x.name, k) for k in range(4))
    half = g.node("Div", [c, g.ints([2])])
    y = g.node("Reshape", [x.name, concat(g, [n, g.ints([2]), half, h, w], 0)])
    y = permute(g, y, 0, 2, 1, 3, 4)
    return replace(x, name=g.node("Reshape", [y, concat(g, [n, c, h, w], 0)]))


@block(Map)
def computed_halves(g: Builder, draw: Draw, x: Map) -> Map:
    """torch.chunk: the bounds of both slices come from the number of channels."""
    if x.channels % 2 or g.opset < 10:
        return x
    c = shape_part(g, x.name, 1)
    half = g.node("Div", [g.node("Add", [c, g.ints([1])]), g.ints([2])])
    a = g.node("Slice", [x.name, g.ints([0]), half, g.ints([1])])
    b = g.node("Slice", [x.name, half, c, g.ints([1])])
    gate = g.node("Sigmoid", [b])
    return replace(x, name=g.node("Mul", [a, gate]), channels=x.channels // 2)


@block(Map)
def scaled_by_size(g: Builder, draw: Draw, x: Map) -> Map:
    """A number computed from the channels' number scales the map; it must stay what it was."""
    c = g.node("Gather", [g.node("Shape", [x.name]), g.ints(1)], axis=0)
    root = g.node("Sqrt", [g.node("Cast", [c], to=1)])
    return replace(x, name=g.node("Div", [x.name, root]))


@block(Map)
def zeros_like(g: Builder, draw: Draw, x: Map) -> Map:
    """Zeros of the map's shape, made while the model runs, beside it."""
    shape = g.node("Shape", [x.name])
    zeros = g.node("ConstantOfShape", [shape])
    if one_of(draw, True, False):
        return replace(x, name=g.node("Max", [x.name, zeros]))
    return replace(x, name=concat(g, [x.name, zeros], 1), channels=2 * x.channels)


@block(Tokens)
def split_heads_and_back(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """(N, T, D) -> (N, T, D/2, 2) -> back, by sizes from Shape."""
    if x.width % 2:
        return x
    n, t, d = (shape_part(g, x.name, k) for k in range(3))
    half = g.node("Div", [d, g.ints([2])])
    y = g.node("Reshape", [x.name, concat(g, [n, t, half, g.ints([2])], 0)])
    y = permute(g, y, 0, 1, 3, 2) if one_of(draw, True, False) else y
    return replace(x, name=g.node("Reshape", [y, concat(g, [n, t, d], 0)]))


@block(Tokens)
def position_slice(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A table of positions, cut to the number of tokens."""
    rows = table(g, 1, 260, x.width, stem="positions")
    if g.opset < 10:
        ids = g.node("Gather", [rows, g.ints(list(range(x.count or 8)))], axis=1)
        return replace(x, name=g.node("Add", [x.name, ids])) if x.sized else x
    t = shape_part(g, x.name, 1)
    y = g.node("Slice", [rows, g.ints([0]), t, g.ints([1])])
    return replace(x, name=g.node("Add", [x.name, y]))


@block(Tokens, since=11)
def position_range(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Rows of a table of positions, gathered by a Range over the tokens."""
    t = g.node("Gather", [g.node("Shape", [x.name]), g.ints(1)], axis=0)
    ids = g.node("Range", [g.ints(0), t, g.ints(1)])
    y = g.node("Gather", [g.normal(260, x.width, stem="positions"), ids], axis=0)
    return replace(x, name=g.node("Add", [x.name, y]))


@block(Tokens)
def class_token(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A learnt token in front, expanded over the batch."""
    token = table(g, 1, 1, x.width, stem="token")
    target = concat(g, [shape_part(g, x.name, 0), g.ints([1, 1])], 0)
    y = concat(g, [g.node("Expand", [token, target]), x.name], 1)
    return Tokens(y, x.count + 1 if x.count else None, x.width)


@block(Tokens)
def scale_by_width(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A linear layer's output over the root of its own width (a softmax scale)."""
    dout = width(draw)
    y = linear(g, draw, x.name, x.width, dout)
    d = g.node("Cast", [g.node("Gather", [g.node("Shape", [y]), g.ints(2)], axis=0)], to=1)
    y = g.node("Mul", [y, g.node("Div", [scalar(g, 2.0), g.node("Sqrt", [d])])])
    return replace(x, name=y, width=dout)


@block(Map, plain=False)
def one_hot_bias(g: Builder, draw: Draw, x: Map) -> Map:
    """An identity matrix times a table: rows of a bias, per channel."""
    w = table(g, x.channels, x.channels)
    eye = g.weight(np.eye(x.channels, dtype=np.float32), "eye")
    b = g.node("MatMul", [eye, w])
    y = permute(g, x.name, 0, 2, 3, 1)
    return replace(x, name=permute(g, g.node("MatMul", [y, b]), 0, 3, 1, 2))
