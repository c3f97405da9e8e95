"""Numbers that the graph computes from a size: ceilings, remainders, minima, maxima, halves."""

from __future__ import annotations

from tests.graphs import Builder
from tests.random_graphs.registry import Draw, one_of, scalar, shape_part

WAYS = ("ceil", "ceil of floats", "floor", "mod", "min", "max", "capped mod")


def integer(g: Builder, op: str, a: str, b: int) -> str:
    """(1,): arithmetic with a number."""
    return g.node(op, [a, g.ints([b])])


def up_to_multiple(g: Builder, size: str, of: int) -> str:
    """(1,): how much a size lacks to the next multiple, (of - size % of) % of."""
    rest = g.node("Sub", [g.ints([of]), integer(g, "Mod", size, of)])
    return integer(g, "Mod", rest, of)


def ceil_of(g: Builder, draw: Draw, size: str, of: int) -> str:
    """(1,): ceil(size / of), in one of two spellings."""
    if one_of(draw, "integers", "floats") == "integers":
        return integer(g, "Div", integer(g, "Add", size, of - 1), of)
    quotient = g.node("Div", [g.node("Cast", [size], to=1), scalar(g, float(of))])
    return g.node("Cast", [g.node("Ceil", [quotient])], to=7)


def computed_count(g: Builder, draw: Draw, name: str, axis: int) -> str:
    """(1,): at least 1, computed from a size in a way that some sizes have in common."""
    size, way = shape_part(g, name, axis), one_of(draw, *WAYS)
    k = one_of(draw, 2, 4, 8, 16)
    if way.startswith("ceil"):
        return ceil_of(g, draw, size, k)
    if way == "floor":
        return integer(g, "Add", integer(g, "Div", size, k), 1)
    if way == "mod":
        return integer(g, "Add", integer(g, "Mod", size, k), 1)
    if way == "min":
        return integer(g, "Min", size, k)
    if way == "max":
        return integer(g, "Max", size, k)
    return integer(g, "Min", integer(g, "Add", integer(g, "Mod", size, k), 1), 3)
