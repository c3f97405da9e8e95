"""From maps to tokens and back, and where both begin."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypothesis import strategies as st
from onnx import TensorProto

from tests.feeds import Input, lengths, mask, normal, positive, words
from tests.graphs import Builder
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    Working,
    concat,
    flip,
    linear,
    one_of,
    permute,
    scalar,
    shape_part,
    width,
)


def to_tokens(g: Builder, draw: Draw, x: Map) -> Tokens:
    """(N, C, H, W) -> (N, T, D)."""
    patches = x.sized and x.height % 2 == x.width % 2 == 0 and x.height * x.width > 4
    if patches and flip(draw):
        d = width(draw)  # patch embedding
        w = g.normal(d, x.channels, 2, 2)
        y = g.node("Conv", [x.name, w, g.normal(d, stem="b")], strides=[2, 2])
        x = Map(y, d, x.height // 2, x.width // 2)
    count = x.height * x.width if x.sized else None
    how = one_of(draw, "rows", "columns")
    if how == "rows":  # (N, C, H, W) -> (N, H, W, C) -> (N, H*W, C)
        y = g.reshape(permute(g, x.name, 0, 2, 3, 1), [0, -1, x.channels])
    else:  # (N, C, H*W) -> (N, H*W, C)
        y = permute(g, g.reshape(x.name, [0, x.channels, -1]), 0, 2, 1)
    return Tokens(y, count, x.channels)


def to_map(g: Builder, draw: Draw, x: Tokens) -> Map:
    """(N, T, D) -> (N, D, H, W), as square as the number of tokens allows."""
    h = max(k for k in range(1, math.isqrt(x.count) + 1) if x.count % k == 0)
    w = x.count // h
    if flip(draw):
        y = permute(g, g.reshape(x.name, [0, h, w, x.width]), 0, 3, 1, 2)
    else:
        y = g.reshape(permute(g, x.name, 0, 2, 1), [0, -1, h, w])
    return Map(y, x.width, h, w)


def bridged(g: Builder, draw: Draw, x: Working, takes: type) -> Working:
    if isinstance(x, takes):
        return x
    return to_tokens(g, draw, x) if isinstance(x, Map) else to_map(g, draw, x)


@dataclass(frozen=True)
class Words:
    """A table with a row for every word."""

    name: str
    width: int


@dataclass(frozen=True)
class Start:
    """Where a graph begins.

    Attributes:
        x: a first layer, whose channels may go.
        inputs: what the model takes.
        words: the table that a vocabulary is looked up in.
    """

    x: Working
    inputs: tuple[Input, ...]
    words: Words | None = None


def start(g: Builder, draw: Draw, source: str) -> Start:
    """The inputs and a first layer, whose channels may go."""
    c = width(draw)
    if source.endswith("image"):
        h, w = (8, 6) if source == "image" else ("H", "W")
        x = Input(g.input(3, h, w), (g.batch, 3, h, w))
        y = g.node("Relu", [g.conv(x.name, 3, c)])
        return Start(Map(y, c, *((8, 6) if source == "image" else (None, None))), (x,))
    if source == "any two images":
        return _two_images(g, draw, c)
    count = None if source.startswith("any") else one_of(draw, 4, 6, 9)
    t = count or "T"
    if source.endswith("words"):
        rows = draw(st.integers(5, 7))
        ids = Input(g.input(t, dtype=TensorProto.INT64), (g.batch, t), words(rows))
        table = Words(g.normal(rows, c, stem="words"), c)
        return Start(
            Tokens(g.node("Gather", [table.name, ids.name], axis=0), count, c), (ids,), table
        )
    x = Input(g.input(t, 5), (g.batch, t, 5), positive if "positive" in source else normal)
    y = x.name
    if "positive" in source:  # what is below zero has no root and no logarithm
        how = one_of(draw, "Log", "Sqrt", "Pow")
        y = g.node(how, [y, scalar(g, 0.4)] if how == "Pow" else [y])
    y = g.node("MatMul", [y, g.normal(5, c)])
    if source == "any masked sequence":
        return _masked(g, draw, Tokens(y, count, c), x)
    if source == "any two sequences":
        return _two_sequences(g, draw, Tokens(y, count, c), x)
    return Start(Tokens(y, count, c), (x,))


def _two_images(g: Builder, draw: Draw, c: int) -> Start:
    """Two pictures of one size, or the second's features as one pixel beside the first's."""
    alike = flip(draw)
    h, w = ("H", "W") if alike else ("S", "T")
    x = Input(g.input(3, "H", "W"), (g.batch, 3, "H", "W"))
    z = Input(g.input(3, h, w, name="z"), (g.batch, 3, h, w))
    a, b = (g.node("Relu", [g.conv(each.name, 3, c)]) for each in (x, z))
    b = b if alike else g.node("GlobalAveragePool", [b])
    return Start(Map(g.node(one_of(draw, "Add", "Mul"), [a, b]), c, None, None), (x, z))


def _masked(g: Builder, draw: Draw, y: Tokens, x: Input) -> Start:
    """Attention that does not see padding, said by a mask or by lengths."""
    if flip(draw):
        hidden = Input(g.input("T", name="hidden", dtype=TensorProto.BOOL), (g.batch, "T"), mask)
        second, name = hidden, hidden.name
    else:
        second = Input(g.input(name="lengths", dtype=TensorProto.INT64), (g.batch,), lengths)
        t = g.squeeze(shape_part(g, y.name, 1), [0])
        places = g.unsqueeze(g.node("Range", [g.ints(0), t, g.ints(1)]), [0])
        name = g.node("Not", [g.node("Less", [places, g.unsqueeze(second.name, [1])])])
    keys = linear(g, draw, y.name, y.width, 4)
    scores = g.node("MatMul", [keys, permute(g, keys, 0, 2, 1)])
    far = scalar(g, -1e9)
    if flip(draw):
        scores = g.node("Where", [g.unsqueeze(name, [1]), far, scores])
    else:
        bias = g.node("Mul", [g.node("Cast", [g.unsqueeze(name, [1])], to=1), far])
        scores = g.node("Add", [scores, bias])
    seen = g.node("MatMul", [g.node("Softmax", [scores], axis=-1), y.name])
    return Start(Tokens(g.node("Add", [y.name, seen]), y.count, y.width), (x, second))


def _two_sequences(g: Builder, draw: Draw, y: Tokens, x: Input) -> Start:
    """Queries of one length look at a memory of another, or of the same."""
    s = one_of(draw, "S", "S", "T")
    memory = Input(g.input(s, 5, name="memory"), (g.batch, s, 5))
    heads = one_of(draw, 1, 2)
    n, t, far = (shape_part(g, name, k) for name, k in ((x.name, 0), (x.name, 1), (memory.name, 1)))

    def part(name: str, wide: int, count: str) -> str:
        z = linear(g, draw, name, wide, 3 * heads)
        z = g.node("Reshape", [z, concat(g, [n, count, g.ints([heads, 3])], 0)])
        return permute(g, z, 0, 2, 1, 3)

    q, k, v = part(y.name, y.width, t), part(memory.name, 5, far), part(memory.name, 5, far)
    scores = g.node("Softmax", [g.node("MatMul", [q, permute(g, k, 0, 1, 3, 2)])], axis=-1)
    z = permute(g, g.node("MatMul", [scores, v]), 0, 2, 1, 3)
    z = g.node("Reshape", [z, concat(g, [n, t, g.ints([3 * heads])], 0)])
    return Start(Tokens(linear(g, draw, z, 3 * heads, y.width), y.count, y.width), (x, memory))


PLAIN_SOURCES = (
    "image", "image", "any image", "sequence", "any sequence", "words", "any words",
)  # fmt: skip
SOURCES = (
    *PLAIN_SOURCES, "any image", "any sequence", "positive sequence", "any positive sequence",
    "any two images", "any two sequences", "any masked sequence",
)  # fmt: skip
# First opset of what they are made of.
SINCE = {"any two sequences": 13, "any masked sequence": 13}
