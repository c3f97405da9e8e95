"""What a graph ends in: classifiers, one answer per token or pixel, choices."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.bridges import Words
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    Working,
    concat,
    flip,
    one_of,
    permute,
    scalar,
)

OF_MAPS = ("gap", "mean", "conv", "matmul", "map", "wider")
OF_SIZED_MAPS = ("flatten", "reshape", "last", "computed")
OF_TOKENS = ("tokens", "mean of tokens", "first token", "last token", "maximum")


def head(g: Builder, draw: Draw, x: Working, words: Words | None, plain: bool) -> str:
    if not plain and draw(st.integers(0, 5)) == 0:
        return _uneven(g, draw, x)
    return _of_map(g, draw, x) if isinstance(x, Map) else _of_tokens(g, draw, x, words)


def _uneven(g: Builder, draw: Draw, x: Working) -> str:
    """Scores of about 0.01 beside boxes of 640, or beside -1e9 where nothing is to be said."""
    if isinstance(x, Map):
        a, b = (g.conv(x.name, x.channels, c, 1) for c in (4, 3))
        axis = 1
    else:
        a, b = (g.node("MatMul", [x.name, g.normal(x.width, c)]) for c in (4, 3))
        axis = 2
    huge = scalar(g, one_of(draw, 640.0, -1e9))
    tiny = g.node("Mul", [g.node("Sigmoid", [b]), scalar(g, 0.01)])
    return concat(g, [g.node("Mul", [g.node("Sigmoid", [a]), huge]), tiny], axis)


def _of_map(g: Builder, draw: Draw, x: Map) -> str:
    kind = one_of(draw, *OF_MAPS, *(OF_SIZED_MAPS if x.sized else ()))
    trans = draw(st.integers(0, 1))
    if kind in OF_SIZED_MAPS:
        size = x.channels * x.height * x.width
        bias = kind != "reshape" or flip(draw)
        return g.gemm(_flat(g, draw, x, kind, size), size, 5, trans=trans, bias=bias)
    if kind == "gap":
        y = g.node("Flatten", [g.node("GlobalAveragePool", [x.name])])
        return g.gemm(y, x.channels, 5, trans=trans)
    if kind == "mean":
        y = g.reduce("ReduceMean", x.name, [2, 3], keepdims=0)
        return g.gemm(y, x.channels, 5, trans=trans, bias=flip(draw))
    if kind == "conv":
        return g.conv(g.node("GlobalAveragePool", [x.name]), x.channels, 5, 1)
    if kind == "matmul":
        y = g.squeeze(g.node("GlobalAveragePool", [x.name]), [2, 3])
        return g.node("Add", [g.node("MatMul", [y, g.normal(x.channels, 5)]), g.normal(5)])
    if kind == "wider":  # a detection head: boxes and scores side by side, pixels as rows
        boxes, scores = (g.conv(x.name, x.channels, c, 1) for c in (4, 3))
        y = concat(g, [boxes, g.node("Sigmoid", [scores])], 1)
        return permute(g, g.reshape(y, [0, 7, -1]), 0, 2, 1)
    return g.conv(x.name, x.channels, 2, 3)


def _flat(g: Builder, draw: Draw, x: Map, kind: str, size: int) -> str:
    if kind == "flatten":
        return g.node("Flatten", [x.name])
    if kind == "reshape":
        return g.reshape(x.name, one_of(draw, [0, -1], [-1, size]))
    if kind == "last":
        return g.node("Flatten", [permute(g, x.name, 0, 2, 3, 1)])
    n = g.node("Gather", [g.node("Shape", [x.name]), g.ints(0)], axis=0)
    target = concat(g, [g.unsqueeze(n, [0]), g.ints([-1])], 0)
    return g.node("Reshape", [x.name, target])


def _of_tokens(g: Builder, draw: Draw, x: Tokens, words: Words | None) -> str:
    kinds = OF_TOKENS + (("flat",) if x.sized else ()) + (("tied",) * 2 if words else ())
    kind = one_of(draw, *kinds)
    trans = draw(st.integers(0, 1))
    if kind == "tokens":
        return g.node("Add", [g.node("MatMul", [x.name, g.normal(x.width, 5)]), g.normal(5)])
    if kind == "tied":  # a score for every word, by the table that words came from
        y = g.node("MatMul", [x.name, g.normal(x.width, words.width)])
        return g.node("MatMul", [y, permute(g, words.name, 1, 0)])
    if kind == "flat":
        size = x.count * x.width
        y = g.node("Flatten", [x.name]) if flip(draw) else g.reshape(x.name, [-1, size])
        return g.gemm(y, size, 5, trans=trans)
    if kind == "mean of tokens":
        y = g.reduce("ReduceMean", x.name, [1], keepdims=0)
    elif kind == "maximum":
        y = g.reduce("ReduceMax", x.name, [1], keepdims=0)
    elif kind == "first token":
        y = g.node("Gather", [x.name, g.ints(0)], axis=1)
    else:
        y = g.squeeze(g.slice(x.name, -1, 2**31, 1), [1])
    return g.gemm(y, x.width, 5, trans=trans, bias=flip(draw))
