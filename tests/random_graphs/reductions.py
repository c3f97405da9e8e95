"""Sums, means and maxima, over pixels and tokens (exact) and over channels (mostly not)."""

from __future__ import annotations

from dataclasses import replace

from tests.graphs import Builder
from tests.random_graphs.activations import act
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    conv,
    one_of,
    scalar,
)

REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip


def reduced(g: Builder, draw: Draw, name: str, axis: int, keepdims: int = 1) -> str:
    """Any reduction over one axis, of numbers for which it is tame."""
    op = one_of(draw, *REDUCTIONS)
    if op == "ReduceLogSum":
        name = g.node("Add", [g.node("Softplus", [name]), scalar(g, 0.5)])
    if op == "ReduceProd":
        name = g.node(
            "Add", [g.node("Mul", [g.node("Tanh", [name]), scalar(g, 0.02)]), scalar(g, 1)]
        )
    return g.node("Tanh", [g.reduce(op, name, [axis], keepdims=keepdims)])


@block(Map)
def over_pixels(g: Builder, draw: Draw, x: Map) -> Map:
    if one_of(draw, True, False):
        m = g.unsqueeze(reduced(g, draw, x.name, 3, keepdims=0), [3])
    else:
        m = reduced(g, draw, x.name, one_of(draw, 2, 3))
    return replace(x, name=g.node(one_of(draw, "Sub", "Add", "Mul"), [x.name, m]))


@block(Map, plain=False)
def over_channels(g: Builder, draw: Draw, x: Map) -> Map:
    """Any reduction over the channels gates the map."""
    return replace(x, name=g.node("Mul", [x.name, reduced(g, draw, x.name, 1)]))


@block(Map)
def channel_attention(g: Builder, draw: Draw, x: Map) -> Map:
    """Not exact: a mean over the channels gates the map."""
    m = g.node("Sigmoid", [g.reduce("ReduceMean", x.name, [1])])
    return replace(x, name=g.node("Mul", [x.name, m]))


@block(Map, plain=False)
def channel_sum(g: Builder, draw: Draw, x: Map) -> Map:
    """A sum over the channels gates the map: exact where what goes is zero by then."""
    y = x.name if one_of(draw, True, False) else conv(g, draw, x, x.channels)
    y = act(g, draw, y) if one_of(draw, True, False) else y
    s = g.reduce(one_of(draw, "ReduceSum", "ReduceL1", "ReduceSumSquare"), y, [1])
    return replace(x, name=g.node("Add", [y, g.node("Tanh", [s])]))


@block(Map, sized=True, plain=False)
def gram(g: Builder, draw: Draw, x: Map) -> Map:
    """Two activations contracted over their channels: pixels attend to pixels."""
    a, b = (g.reshape(conv(g, draw, x, 4, 1), [0, 4, x.height * x.width]) for _ in range(2))
    if one_of(draw, True, False):
        a = act(g, draw, a)
    scores = g.node("MatMul", [g.node("Transpose", [a], perm=[0, 2, 1]), b])
    v = g.reshape(x.name, [0, x.channels, x.height * x.width])
    y = g.node("MatMul", [v, g.node("Tanh", [scores])])
    return replace(x, name=g.reshape(y, [0, -1, x.height, x.width]))


@block(Tokens)
def over_tokens(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    m = reduced(g, draw, x.name, 1)
    return replace(x, name=g.node(one_of(draw, "Sub", "Add", "Mul"), [x.name, m]))
