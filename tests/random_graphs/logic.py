"""Truth values, bits and remainders: what is compared, selected and counted in integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.registry import Draw, Map, block, flip, one_of, scalar


def _positive(g: Builder, name: str) -> str:
    """Where a tensor is positive. Not at 0, where rounding alone decides."""
    return g.node("Greater", [name, scalar(g, 0.0313)])


def _as_float(g: Builder, name: str) -> str:
    return g.node("Cast", [name], to=1)


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
    y = _positive(g, x.name)
    for _ in range(draw(st.integers(1, 3))):
        y = g.node(one_of(draw, "And", "Or", "Xor"), [y, _compared(g, draw, x)])
    y = g.node("Not", [y]) if flip(draw) else y
    return replace(x, name=g.node("Mul", [x.name, _as_float(g, y)]))


def _compared(g: Builder, draw: Draw, x: Map) -> str:
    ops = ["Greater", "Less", "Equal"]
    ops += ["GreaterOrEqual", "LessOrEqual"] if g.opset >= 12 else []
    bounds = g.weight(g._vector(x.channels, 0.5).reshape(1, -1, 1, 1), "bound")
    op = one_of(draw, *ops)
    if op != "Equal":
        return g.node(op, [x.name, bounds])
    # Of integers: floats are equal by chance only, and may be compared from opset 11 on.
    low, high = (g.node("Cast", [g.node(o, [x.name, bounds])], to=6) for o in ("Greater", "Less"))
    return g.node("Equal", [low, high])


@block(Map, since=10)
def not_a_number(g: Builder, draw: Draw, x: Map) -> Map:
    y = g.node("Or", [g.node(op, [x.name]) for op in ("IsInf", "IsNaN")])
    y = g.node("Not", [y])
    return replace(x, name=g.node("Mul", [x.name, _as_float(g, y)]))


@block(Map, since=11)
def bits(g: Builder, draw: Draw, x: Map) -> Map:
    """Eight-bit arithmetic on a coarse copy; the casts are not steady, so it is scaled down."""
    if g.opset >= 26 and flip(draw):
        x = bits_read_anew(g, draw, x)
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


@block(Map, since=10)
def modulo(g: Builder, draw: Draw, x: Map) -> Map:
    return replace(x, name=g.node("Mod", [x.name, scalar(g, 7.3)], fmod=1))
