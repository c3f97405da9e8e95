"""Weights that are computed from parameters: zeroing those need not make zeros of these."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import spa
from tests.coupling.cases import prove
from tests.graphs import Builder


def centred(g: Builder, w: str) -> str:
    return g.node("Sub", [w, g.reduce("ReduceMean", w, [1, 2, 3])])


def plus(g: Builder, w: str) -> str:
    return g.node("Add", [w, g.weight(np.full((1, 8, 1, 1), 0.5, np.float32), "c")])


def low_rank(g: Builder, w: str) -> str:
    change = g.node("MatMul", [g.normal(6, 2, stem="up"), g.normal(2, 8, stem="down")])
    return g.node("Add", [w, g.reshape(change, [6, 8, 1, 1])])


def halved(g: Builder, w: str) -> str:
    return g.node("Mul", [w, g.weight(np.float32(0.5), "half")])


def case(compute, between: str) -> onnx.ModelProto:
    """Conv to 8 channels, an activation, Conv to 6 channels with a computed weight."""
    g = Builder()
    y = g.node(between, [g.conv(g.input(3, 6, 6), 3, 8, 1)])
    y = g.node("Conv", [y, compute(g, g.normal(6, 8, 1, 1, stem="second"))])
    y = g.node("Conv", [g.node("Relu", [y]), g.normal(5, 6, 1, 1, stem="head")])
    return g.model(y)


# How the weight is computed, what is between, and whether the first layer's channels go exactly.
CASES = [
    (centred, "Sigmoid", False),
    (plus, "Sigmoid", False),
    (plus, "Relu", True),
    (low_rank, "Sigmoid", True),
    (halved, "Sigmoid", True),
]


@pytest.mark.parametrize(("compute", "between", "exact"), CASES)
def test_a_computed_weight_is_zero_where_its_zeros_survive(compute, between, exact):
    proto = case(compute, between)
    groups = spa.find_groups(spa.load(proto))
    first = next(group for group in groups if any(m.name == "w0" for m in group.members))
    assert first.exact is exact
    prove(proto, plain=False, equal=exact)
