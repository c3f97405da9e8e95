"""Operators that are dense by design keep what they read and say why; the rest is still pruned."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto

import spa.coupling.rules  # noqa: F401  (fills the registries)
from spa.coupling.rules.base import RULES
from spa.coupling.rules.dense import KEPT_DENSE
from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder


def test_every_standard_operator_has_a_rule_or_a_reason():
    standard = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    assert standard - RULES.keys() - KEPT_DENSE.keys() == set()
    assert RULES.keys() & KEPT_DENSE.keys() == set()


def _through(op: str, g: Builder, x: str) -> str:
    """A map (N, 8, 4, 4) that goes through an operator and comes out with the same shape."""
    if op == "SplitToSequence":
        parts = g.node("SplitToSequence", [x, g.ints([4, 4])], axis=1)
        return g.node("ConcatFromSequence", [parts], axis=1)
    if op == "SequenceConstruct":
        return g.node("SequenceAt", [g.node("SequenceConstruct", [x, x]), g.ints(1)])
    if op == "Optional":
        return g.node("OptionalGetElement", [g.node("Optional", [x])])
    if op == "NonZero":
        count = g.node("Shape", [g.node("NonZero", [x])], start=1)
        return g.node("Add", [x, g.node("Cast", [count], to=TensorProto.FLOAT)])
    if op == "Unique":
        values = g.node("Unique", [x])
        return g.node("Add", [x, g.reduce("ReduceMax", values, [0])])
    scores = g.reduce("ReduceMean", x, [2, 3], keepdims=0)
    classes = g.node("ArgMax", [g.slice("x", 0, 1, axis=3)], axis=1, keepdims=0)
    classes = g.squeeze(g.slice(classes, 0, 1), [1, 2])
    loss = g.node(op, [g.node("LogSoftmax", [scores], axis=1), classes], reduction="mean")
    return g.node("Add", [x, loss])


@pytest.mark.parametrize(
    "op",
    ["SplitToSequence", "SequenceConstruct", "Optional", "NonZero", "Unique",
     "SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"],
)  # fmt: skip
def test_what_it_reads_is_kept(op):
    g = Builder(18)
    x = _through(op, g, g.conv(g.input(3, 4, 4), 3, 8))
    proto = g.model(g.conv(g.node("Relu", [g.conv(x, 8, 6)]), 6, 5))
    assert described(proto) == ["6: b1.0 w1.0 w2.1"]
    assert f"{op} stays dense: {KEPT_DENSE[op]}" in kept(proto)["w0.0"]
    prove(proto, plain=False)
