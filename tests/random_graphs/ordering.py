"""Entries by their order: the largest, sums so far, sequences turned round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    conv,
    flip,
    one_of,
    permute,
    scalar,
    shape_part,
    untied,
)


@block(Tokens, since=10, sized=True)
def top_tokens(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Every feature keeps its largest entries."""
    k = draw(st.integers(min(2, x.count), x.count))
    values, _ = g.node("TopK", [x.name, g.ints([k])], 2, axis=1)
    return Tokens(values, k, x.width)


@block(Map, since=10, plain=False)
def top_channels(g: Builder, draw: Draw, x: Map) -> Map:
    """The mean of the largest channels gates the map; not exact."""
    values, _ = g.node("TopK", [x.name, g.ints([2])], 2, axis=1)
    mean = g.reduce("ReduceMean", values, [1])
    return replace(x, name=g.node("Mul", [x.name, g.node("Sigmoid", [mean])]))


@block(Tokens, sized=True)
def where_largest(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """The place of the largest (or smallest) token, or feature, as a number."""
    axis = one_of(draw, 1, 1, 2)
    place = g.node(one_of(draw, "ArgMax", "ArgMin"), [untied(g, x)], axis=axis)
    y = g.node("Mul", [g.node("Cast", [place], to=1), scalar(g, 0.01)])
    return replace(x, name=g.node("Add", [x.name, y]))


@block(Tokens, since=11, sized=True)
def hard_mask(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """OneHot of where the largest token stands."""
    place = g.node("ArgMax", [untied(g, x)], axis=1, keepdims=0)  # (N, D)
    values = g.weight(np.array([0.5, 1.0], np.float32), "values", "initializer")
    y = g.node("OneHot", [place, g.ints(x.count), values], axis=1)
    return replace(x, name=g.node("Mul", [x.name, y]))


@block(Tokens, since=11)
def sums_so_far(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    op = one_of(draw, "CumSum", *["CumProd"] * 3) if g.opset >= 26 else "CumSum"
    axis = g.weight(np.array(1, np.int64), "axis", "initializer")
    flags = {"exclusive": draw(st.integers(0, 1)), "reverse": draw(st.integers(0, 1))}
    y = g.node(op, [g.node("Tanh", [x.name]), axis], **flags)
    return replace(x, name=g.node("Mul", [y, scalar(g, 0.3)]))


@block(Map, since=11, plain=False)
def sums_over_channels(g: Builder, draw: Draw, x: Map) -> Map:
    axis = g.weight(np.array(one_of(draw, 1, -3), np.int64), "axis", "initializer")
    y = g.node("CumSum", [conv(g, draw, x, 4), axis], reverse=draw(st.integers(0, 1)))
    return replace(x, name=y, channels=4)


@block(Tokens, since=10)
def reversed_sequence(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """The first tokens of every example, or all features, turned round."""
    if flip(draw):
        n = shape_part(g, x.name, 0)
        lengths = g.node("Expand", [g.ints([draw(st.integers(1, min(3, x.count or 1)))]), n])
        y = g.node("ReverseSequence", [x.name, lengths], batch_axis=0, time_axis=1)
        return replace(x, name=y)
    y = permute(g, x.name, 2, 0, 1)  # (D, N, T)
    lengths = g.node("Expand", [g.ints([x.width]), shape_part(g, x.name, 0)])
    y = g.node("ReverseSequence", [y, lengths], batch_axis=1, time_axis=0)
    return replace(x, name=permute(g, y, 1, 2, 0))
