"""Blocks that look across the batch: halves, pairs, groups, frames merged with it."""

from __future__ import annotations

from dataclasses import replace

from tests.graphs import Builder
from tests.random_graphs.counting import computed_count, integer
from tests.random_graphs.padding import rolled
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    concat,
    flip,
    linear,
    one_of,
    permute,
    shape_part,
    table,
    width,
)


@block(Map, since=13, plain=False)
def shifted_between_frames(g: Builder, draw: Draw, x: Map) -> Map:
    """Temporal shift in clips of two: the batch has to be even."""
    n, c, h, w = (shape_part(g, x.name, k) for k in range(4))
    clips, two = integer(g, "Div", n, 2), g.ints([2])
    y = g.node("Reshape", [x.name, concat(g, [clips, two, c, h, w], 0)])
    part = max(1, x.channels // 4)
    moved = g.slice(y, 0, part, 2)
    later = g.slice(moved, 1, 2, 1)
    nothing = g.node("Sub", [later, later])
    moved = concat(g, [later, nothing], 1)
    y = concat(g, [moved, g.slice(y, part, x.channels, 2)], 2)
    return replace(x, name=g.node("Reshape", [y, concat(g, [n, c, h, w], 0)]))


@block(Map, since=13, plain=False)
def pairs_as_channels(g: Builder, draw: Draw, x: Map) -> Map:
    """A picture and its reference lie behind one another in the batch; the result is repeated."""
    n, h, w = (shape_part(g, x.name, k) for k in (0, 2, 3))
    pairs = integer(g, "Div", n, 2)
    both = g.ints([2 * x.channels])
    y = g.node("Reshape", [x.name, concat(g, [pairs, both, h, w], 0)])
    cout = width(draw)
    y = g.node("Relu", [g.conv(y, 2 * x.channels, 2 * cout, 3)])
    y = g.node("Reshape", [y, concat(g, [n, g.ints([cout]), h, w], 0)])
    return replace(x, name=y, channels=cout)


@block(Map, since=13, plain=False)
def mixed_batch(g: Builder, draw: Draw, x: Map) -> Map:
    """The batch rolled by half of itself is added: any batch will do."""
    return replace(x, name=g.node("Add", [x.name, rolled(g, x.name, 0)]))


@block(Tokens, since=13, plain=False)
def halves_compared(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """The first half of the batch less the second, and the reverse: it has to be even."""
    n = shape_part(g, x.name, 0)
    half, zero = integer(g, "Div", n, 2), g.ints([0])
    a = g.node("Slice", [x.name, zero, half, zero])
    b = g.node("Slice", [x.name, half, n, zero])
    gap = g.node("Sub", [a, b])
    y = concat(g, [gap, g.node("Neg", [gap])], 0)
    return replace(x, name=linear(g, draw, y, x.width, x.width))


@block(Tokens, since=13, plain=False)
def merged_with_batch(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """(N, T, D) -> (N T, D) -> (N, T, D'), by sizes from Shape or by their product."""
    n, t = shape_part(g, x.name, 0), shape_part(g, x.name, 1)
    lead = g.node("Mul", [n, t]) if flip(draw) else g.ints([-1])
    dout = width(draw)
    y = g.node("Reshape", [x.name, concat(g, [lead, g.ints([x.width])], 0)])
    y = g.node("Relu", [g.gemm(y, x.width, dout)])
    y = g.node("Reshape", [y, concat(g, [n, t, g.ints([dout])], 0)])
    return replace(x, name=y, width=dout)


@block(Tokens, since=13, plain=False)
def heads_with_batch(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """torch's attention: (T, N h, d), so that heads and batch share an axis."""
    heads, d = one_of(draw, (2, 3), (4, 2), (3, 4))
    n, t = shape_part(g, x.name, 0), shape_part(g, x.name, 1)
    rows = integer(g, "Mul", n, heads)
    first = permute(g, x.name, 1, 0, 2)

    def part() -> str:
        y = linear(g, draw, first, x.width, heads * d, bias=flip(draw))
        y = g.node("Reshape", [y, concat(g, [t, rows, g.ints([d])], 0)])
        return permute(g, y, 1, 0, 2)

    q, k, v = part(), part(), part()
    scores = g.node("Softmax", [g.node("MatMul", [q, permute(g, k, 0, 2, 1)])], axis=-1)
    y = permute(g, g.node("MatMul", [scores, v]), 1, 0, 2)
    y = g.node("Reshape", [y, concat(g, [t, n, g.ints([heads * d])], 0)])
    y = linear(g, draw, y, heads * d, x.width)
    return replace(x, name=permute(g, y, 1, 0, 2))


@block(Tokens, since=13, plain=False)
def summaries(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A mean repeated so often as is computed from the length or the batch."""
    n = shape_part(g, x.name, 0)
    count = computed_count(g, draw, x.name, one_of(draw, 1, 1, 0))
    dout = width(draw)
    y = linear(g, draw, g.reduce("ReduceMean", x.name, [1]), x.width, dout)
    size = g.ints([dout if flip(draw) else 1])
    y = g.node("Expand", [y, concat(g, [n, count, size], 0)])
    places = g.node(
        "Slice", [table(g, 1, 80, dout, stem="places"), g.ints([0]), count, g.ints([1])]
    )
    return Tokens(g.node("Add", [y, places]), None, dout)


@block(Tokens, since=13, plain=False)
def zeros_behind(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Empty tokens, so many as are computed, behind the others; a bias makes them differ."""
    n, d = shape_part(g, x.name, 0), g.ints([x.width])
    count = computed_count(g, draw, x.name, one_of(draw, 1, 1, 0))
    zeros = g.node("ConstantOfShape", [concat(g, [n, count, d], 0)])
    y = concat(g, [x.name, zeros], 1)
    return Tokens(g.node("Add", [y, g.normal(x.width, stem="b")]), None, x.width)


@block(Tokens, since=13, plain=False)
def first_of_them(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """The first so many tokens; or their mean, added to all."""
    count = computed_count(g, draw, x.name, 1)
    y = g.node("Slice", [x.name, g.ints([0]), count, g.ints([1])])
    if flip(draw):
        return Tokens(linear(g, draw, y, x.width, x.width), None, x.width)
    mean = g.reduce("ReduceMean", y, [1])
    return replace(x, name=g.node("Add", [x.name, mean]))


@block(Tokens, since=13, plain=False)
def periodic_places(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Places count from 0 anew after every k tokens."""
    k = one_of(draw, 2, 4, 8)
    t = g.squeeze(shape_part(g, x.name, 1), [0])
    numbers = g.node("Range", [g.ints(0), t, g.ints(1)])
    rows = g.node("Gather", [g.normal(k, x.width, stem="places"), integer(g, "Mod", numbers, k)])
    return replace(x, name=g.node("Add", [x.name, rows]))
