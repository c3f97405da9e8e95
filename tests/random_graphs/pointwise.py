"""Elementwise operators: every unary one where it is defined, comparisons, bits, broadcasting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.activations import pointwise
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    one_of,
    scalar,
    vector,
)


def _chain(g: Builder, draw: Draw, name: str) -> str:
    for _ in range(draw(st.integers(2, 5))):
        name = pointwise(g, draw, name)
    return name


@block(Map)
def unary(g: Builder, draw: Draw, x: Map) -> Map:
    return replace(x, name=_chain(g, draw, x.name))


@block(Tokens)
def unary_tokens(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    return replace(x, name=_chain(g, draw, x.name))


@block(Map)
def prelu(g: Builder, draw: Draw, x: Map) -> Map:
    slope = g.weight(g._vector(x.channels, 0.2).reshape(-1, 1, 1), "slope")
    return replace(x, name=g.node("PRelu", [x.name, slope]))


@block(Map)
def clip(g: Builder, draw: Draw, x: Map) -> Map:
    return replace(x, name=g.clip(x.name, one_of(draw, 0.0, -1.0, 0.1), 6.0))


@block(Map)
def affine(g: Builder, draw: Draw, x: Map) -> Map:
    shape = (1,) * one_of(draw, 0, 1) + (x.channels, 1, 1)

    def along(centre: float, positive: bool = False) -> str:
        value = g._vector(x.channels, centre)
        value = np.abs(value) + np.float32(0.5) if positive else value
        return g.weight(value.reshape(shape), "along")

    y = g.node("Mul", [x.name, along(1.0)])
    y = g.node("Add", [y, along(0.0)])
    return replace(x, name=g.node("Div", [y, along(1.0, positive=True)]))


@block(Map)
def power(g: Builder, draw: Draw, x: Map) -> Map:
    small = g.node("Tanh", [x.name])
    how = one_of(draw, "square", "vector", "base")
    if how == "square":
        y = g.node("Pow", [small, scalar(g, one_of(draw, 2.0, 3.0))])
    elif how == "vector":
        positive = g.node("Add", [g.node("Softplus", [small]), scalar(g, 0.25)])
        exponent = g.weight(g._vector(x.channels, 1.5).reshape(-1, 1, 1), "exponent")
        y = g.node("Pow", [positive, exponent])
    else:
        y = g.node("Pow", [scalar(g, 1.5), small])
    return replace(x, name=y)


@block(Map, sized=True)
def position(g: Builder, draw: Draw, x: Map) -> Map:
    """A constant of the whole map's shape (the batch apart) is added."""
    extra = 0.1 * g.rng.standard_normal((1, x.channels, x.height, x.width))
    y = g.node("Add", [x.name, g.weight(extra.astype(np.float32), "map")])
    return replace(x, name=y)


@block(Map)
def products(g: Builder, draw: Draw, x: Map) -> Map:
    """The map times, over and between functions of itself."""
    a, b = pointwise(g, draw, x.name), pointwise(g, draw, x.name)
    a, b = (g.node("Tanh", [name]) for name in (a, b))
    ops = ("Mul", "Div", "Max", "Min", "Sum", "Mean", "Sub")
    for op in draw(st.lists(st.sampled_from(ops), min_size=1, max_size=3)):
        if op == "Div":
            b = g.node("Add", [g.node("Softplus", [b]), scalar(g, 0.5)])
        a = g.node(op, [a, b])
    return replace(x, name=a)


@block(Map)
def dropout(g: Builder, draw: Draw, x: Map) -> Map:
    y = g.node("Identity", [g.node("Dropout", [x.name])])
    y = g.node("Cast", [g.node("Cast", [y], to=11)], to=1)
    return replace(x, name=y)


@block(Map, since=15)
def cast_like(g: Builder, draw: Draw, x: Map) -> Map:
    wide, plain = (g.weight(np.zeros(1, t), "like", "initializer") for t in ("f8", "f4"))
    y = g.node("CastLike", [x.name, wide])
    return replace(x, name=g.node("CastLike", [y, plain]))


@block(Tokens)
def layer_scale(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    y = g.node("Mul", [pointwise(g, draw, x.name), vector(g, x.width, 0.5, "gamma")])
    return replace(x, name=g.node("Add", [x.name, y]))
