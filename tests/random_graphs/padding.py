"""Pads to a multiple or to another tensor's size, windows, chunks and halves that change places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.graphs import Builder
from tests.random_graphs.counting import integer, up_to_multiple
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    concat,
    conv,
    flip,
    linear,
    one_of,
    permute,
    shape_part,
    table,
)


def padded(g: Builder, x: str, before: list[str], after: list[str]) -> str:
    """Pads with zeros by computed numbers, one list entry an axis."""
    return g.node("Pad", [x, concat(g, [*before, *after], 0)])


def cropped(g: Builder, x: str, sizes: list[str], first: int) -> str:
    """The first so many of some axes in a row."""
    axes = list(range(first, first + len(sizes)))
    starts = g.ints([0] * len(sizes))
    return g.node("Slice", [x, starts, concat(g, sizes, 0), g.ints(axes)])


@block(Map, since=13, plain=False)
def to_multiple(g: Builder, draw: Draw, x: Map) -> Map:
    """A restoration network: pad, convolve, crop; or stay at the larger size."""
    k, zero = one_of(draw, 2, 4, 8), g.ints([0])
    sizes = [shape_part(g, x.name, axis) for axis in (2, 3)]
    lacks = [up_to_multiple(g, size, k) for size in sizes]
    y = padded(g, x.name, [zero] * 4, [zero, zero, *lacks])
    cout = one_of(draw, 6, 8)
    y = g.node("Relu", [g.conv(y, x.channels, cout, 3)])
    if flip(draw):
        return Map(cropped(g, y, sizes, 2), cout, x.height, x.width)
    return Map(y, cout, None, None)


@block(Map, since=13, plain=False)
def joined_to_skip(g: Builder, draw: Draw, x: Map) -> Map:
    """A U-Net's step: half the size and back, padded to the skip's size; added or put beside."""
    low = g.node("MaxPool", [x.name], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=0)
    cout = x.channels if flip(draw) else 6
    low = g.conv_transpose(low, x.channels, cout, 2, stride=2)
    zero = g.ints([0])
    lacks = [g.node("Sub", [shape_part(g, x.name, k), shape_part(g, low, k)]) for k in (2, 3)]
    if flip(draw):  # in the middle
        before = [integer(g, "Div", lack, 2) for lack in lacks]
        after = [g.node("Sub", [a, b]) for a, b in zip(lacks, before, strict=True)]
    else:
        before, after = [zero, zero], lacks
    low = padded(g, low, [zero, zero, *before], [zero, zero, *after])
    if cout == x.channels and flip(draw):
        return replace(x, name=g.node("Add", [x.name, low]))
    return replace(x, name=concat(g, [x.name, low], 1), channels=x.channels + cout)


@block(Map, since=13, plain=False)
def cropped_to_low(g: Builder, draw: Draw, x: Map) -> Map:
    """The skip is cut to the size of what was halved and doubled."""
    low = g.node("AveragePool", [x.name], kernel_shape=[2, 2], strides=[2, 2])
    low = g.conv_transpose(low, x.channels, x.channels, 2, stride=2)
    skip = cropped(g, x.name, [shape_part(g, low, k) for k in (2, 3)], 2)
    sizes = (x.height // 2 * 2, x.width // 2 * 2) if x.sized else (None, None)
    return Map(concat(g, [skip, low], 1), 2 * x.channels, *sizes)


@block(Map, since=13, plain=False)
def padded_windows(g: Builder, draw: Draw, x: Map) -> Map:
    """Windows of k x k pixels as tokens, after a pad to a multiple; cropped again."""
    k, zero = one_of(draw, 2, 4), g.ints([0])
    y = permute(g, x.name, 0, 2, 3, 1)
    n, h, w = (shape_part(g, y, axis) for axis in range(3))
    down, right = up_to_multiple(g, h, k), up_to_multiple(g, w, k)
    y = padded(g, y, [zero] * 4, [zero, down, right, zero])
    tall, wide = g.node("Add", [h, down]), g.node("Add", [w, right])
    rows, columns = (integer(g, "Div", size, k) for size in (tall, wide))
    side, c = g.ints([k]), g.ints([x.channels])
    y = g.node("Reshape", [y, concat(g, [n, rows, side, columns, side, c], 0)])
    y = permute(g, y, 0, 1, 3, 2, 4, 5)
    every = g.node("Mul", [n, g.node("Mul", [rows, columns])])
    count = every if flip(draw) else g.ints([-1])
    y = g.node("Reshape", [y, concat(g, [count, g.ints([k * k]), c], 0)])
    scores = g.node("Softmax", [g.node("MatMul", [y, permute(g, y, 0, 2, 1)])], axis=-1)
    y = g.node("MatMul", [scores, y]) if flip(draw) else y
    y = linear(g, draw, y, x.channels, x.channels)
    y = g.node("Reshape", [y, concat(g, [n, rows, columns, side, side, c], 0)])
    y = g.node("Reshape", [permute(g, y, 0, 1, 3, 2, 4, 5), concat(g, [n, tall, wide, c], 0)])
    y = cropped(g, y, [h, w], 1)
    return replace(x, name=permute(g, y, 0, 3, 1, 2))


@block(Tokens, since=13, plain=False)
def chunks(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Tokens are padded to a multiple, mixed within chunks, and cut to what they were."""
    k, zero = one_of(draw, 2, 4, 8, 16), g.ints([0])
    n, t, d = shape_part(g, x.name, 0), shape_part(g, x.name, 1), g.ints([x.width])
    lack = up_to_multiple(g, t, k)
    y = padded(g, x.name, [zero] * 3, [zero, lack, zero])
    count = integer(g, "Div", g.node("Add", [t, lack]), k)
    y = g.node("Reshape", [y, concat(g, [n, count, g.ints([k]), d], 0)])
    if flip(draw):  # over the places of a chunk
        y = g.node("MatMul", [g.normal(k, k, stem="over"), y])
    else:  # the mean of a chunk is added to each of its tokens
        y = g.node("Add", [y, g.reduce("ReduceMean", y, [2])])
    back = concat(g, [n, integer(g, "Mul", count, k), d], 0)
    y = g.node("Reshape", [y, back])
    y = linear(g, draw, cropped(g, y, [t], 1), x.width, x.width)
    return replace(x, name=y)


@block(Map, since=13, plain=False)
def rolled_pixels(g: Builder, draw: Draw, x: Map) -> Map:
    """Halves of the height, the width or both change places."""
    y = x.name
    for axis in one_of(draw, (2,), (3,), (2, 3)):
        y = rolled(g, y, axis)
    return replace(x, name=conv(g, draw, replace(x, name=y), x.channels))


@block(Tokens, since=13, plain=False)
def rolled_tokens(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Halves of the sequence change places."""
    return replace(x, name=g.node("Add", [x.name, rolled(g, x.name, 1)]))


def rolled(g: Builder, x: str, axis: int) -> str:
    """By half of the axis, as torch.roll is exported."""
    half = integer(g, "Div", shape_part(g, x, axis), 2)
    far = g.ints([np.iinfo(np.int64).max])
    late = g.node("Slice", [x, half, far, g.ints([axis])])
    early = g.node("Slice", [x, g.ints([0]), half, g.ints([axis])])
    return concat(g, [late, early], axis)


@block(Map, since=13, plain=False)
def rows_as_batch(g: Builder, draw: Draw, x: Map) -> Map:
    """Axial attention: each row, or each column, is a sequence of its own."""
    perm = one_of(draw, (0, 2, 3, 1), (0, 3, 2, 1))
    y = permute(g, x.name, *perm)
    n, a, b = (shape_part(g, y, axis) for axis in range(3))
    c = g.ints([x.channels])
    y = g.node("Reshape", [y, concat(g, [g.node("Mul", [n, a]), b, c], 0)])
    q = linear(g, draw, y, x.channels, 4)
    scores = g.node("Softmax", [g.node("MatMul", [q, permute(g, q, 0, 2, 1)])], axis=-1)
    y = linear(g, draw, g.node("MatMul", [scores, y]), x.channels, x.channels)
    y = g.node("Reshape", [y, concat(g, [n, a, b, c], 0)])
    back = [perm.index(k) for k in range(4)]
    return replace(x, name=g.node("Add", [x.name, permute(g, y, *back)]))


@block(Map, since=13, plain=False)
def beside_picture(g: Builder, draw: Draw, x: Map) -> Map:
    """A table of pixels, cut or repeated to the picture's size, is added."""
    rows = table(g, 1, x.channels, 40, 1, stem="rows")
    y = cropped(g, rows, [shape_part(g, x.name, 2)], 2)
    return replace(x, name=g.node("Add", [x.name, y]))
