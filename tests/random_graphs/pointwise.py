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
    flip,
    one_of,
    scalar,
    vector,
)


def _positive(g: Builder, name: str) -> str:
    """Where a tensor is positive. Not at 0, where rounding alone decides."""
    return g.node("Greater", [name, scalar(g, 0.0313)])


def _as_float(g: Builder, name: str) -> str:
    return g.node("Cast", [name], to=1)


def _chain(g: Builder, draw: Draw, name: str) -> str:
    for _ in range(draw(st.integers(1, 3))):
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
def where(g: Builder, draw: Draw, x: Map) -> Map:
    other = one_of(draw, "scalar", "vector", "map")
    if other == "scalar":
        y = scalar(g, -0.5)
    elif other == "vector":
        y = g.weight(g._vector(x.channels, 0.0).reshape(1, -1, 1, 1), "floor")
    else:
        y = g.node("Mul", [x.name, scalar(g, 0.1)])
    return replace(x, name=g.node("Where", [_positive(g, x.name), x.name, y]))


@block(Map)
def truths(g: Builder, draw: Draw, x: Map) -> Map:
    """Comparisons, joined by logic, select by a product."""
    ops = ["Greater", "Less", "Equal"]
    ops += ["GreaterOrEqual", "LessOrEqual"] if g.opset >= 12 else []
    bounds = g.weight(g._vector(x.channels, 0.5).reshape(1, -1, 1, 1), "bound")
    op = one_of(draw, *ops)
    if op == "Equal":  # of floats from opset 11 on
        low, high = (g.node("Cast", [g.node(o, [x.name, bounds])], to=6)
                     for o in ("Greater", "Less"))  # fmt: skip
        first = g.node("Equal", [low, high])
    else:
        first = g.node(op, [x.name, bounds])
    second = _positive(g, x.name)
    y = g.node(one_of(draw, "And", "Or", "Xor"), [first, second])
    y = g.node("Not", [y]) if flip(draw) else y
    return replace(x, name=g.node("Mul", [x.name, _as_float(g, y)]))


@block(Map, since=10)
def not_a_number(g: Builder, draw: Draw, x: Map) -> Map:
    op = one_of(draw, "IsInf", "IsNaN")
    y = g.node("Not", [g.node(op, [x.name])])
    return replace(x, name=g.node("Mul", [x.name, _as_float(g, y)]))


@block(Map, since=11)
def bits(g: Builder, draw: Draw, x: Map) -> Map:
    """Eight-bit arithmetic on a coarse copy; the casts are not steady, so it is scaled down."""
    coarse = g.clip(g.node("Mul", [x.name, scalar(g, 3.7)]), 0.0, 60.0)
    whole = g.node("Cast", [coarse], to=2)  # uint8
    ops = ["BitShift"]
    ops += ["BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"] if g.opset >= 18 else []
    y = whole
    for op in draw(st.lists(st.sampled_from(ops), min_size=1, max_size=4)):
        if op == "BitwiseNot":
            y = g.node(op, [y])
        else:
            other = g.weight(np.array(one_of(draw, 1, 2, 3), np.uint8), "bits", "initializer")
            direction = one_of(draw, "LEFT", "RIGHT") if op == "BitShift" else None
            y = g.node(op, [y, other], direction=direction)
    y = g.node("Mul", [_as_float(g, y), scalar(g, 0.01)])
    return replace(x, name=g.node("Add", [x.name, y]))


@block(Map, since=26)
def bits_read_anew(g: Builder, draw: Draw, x: Map) -> Map:
    """The bits of a number read as another type, and back."""
    y = g.node("BitCast", [g.node("BitCast", [x.name], to=6)], to=1)
    return replace(x, name=y)


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


@block(Map, since=10)
def modulo(g: Builder, draw: Draw, x: Map) -> Map:
    return replace(x, name=g.node("Mod", [x.name, scalar(g, 7.3)], fmod=1))


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
    op = one_of(draw, "Mul", "Div", "Max", "Min", "Sum", "Mean", "Sub")
    if op == "Div":
        b = g.node("Add", [g.node("Softplus", [b]), scalar(g, 0.5)])
    return replace(x, name=g.node(op, [a, b]))


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
