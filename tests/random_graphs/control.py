"""Subgraphs: what they read from outside is kept, and all else goes on shrinking."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.graphs import Builder
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    conv,
    flip,
    linear,
    one_of,
    scalar,
)


def _graph(
    nodes: list[onnx.NodeProto], name: str, inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    weights: list[onnx.TensorProto] | None = None,
) -> onnx.GraphProto:  # fmt: skip
    return helper.make_graph(nodes, name, inputs or [], outputs or [], weights or [])


def _declared(name: str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, None)


@block(Map, plain=False)
def either(g: Builder, draw: Draw, x: Map) -> Map:
    """An If whose condition depends on the map; one branch has a weight of its own."""
    if flip(draw):  # what is kept is of a branch alone
        x = replace(x, name=conv(g, draw, x, 4), channels=4)
    total = g.reduce("ReduceSum", x.name, [0, 1, 2, 3], keepdims=0)
    condition = g.node("Greater", [total, scalar(g, one_of(draw, -1e6, 1e6, 0.0))])
    stem = g.fresh("branch")
    weight = g.rng.standard_normal((x.channels, x.channels, 1, 1)).astype(np.float32)
    inner = numpy_helper.from_array(weight / x.channels, f"{stem}_w")
    then = _graph(
        [helper.make_node("Conv", [x.name, f"{stem}_w"], [f"{stem}_then"])], f"{stem}_a",
        outputs=[_declared(f"{stem}_then")], weights=[inner],
    )  # fmt: skip
    other = _graph(
        [helper.make_node("Neg", [x.name], [f"{stem}_else"])], f"{stem}_b",
        outputs=[_declared(f"{stem}_else")],
    )  # fmt: skip
    y = g.node("If", [condition], then_branch=then, else_branch=other)
    return replace(x, name=g.node("Relu", [y]) if flip(draw) else y)


@block(Tokens, since=11, plain=False)
def repeated(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A Loop that halves the tokens a few times, and adds what stands outside."""
    if flip(draw):
        x = replace(x, name=linear(g, draw, x.name, x.width, 4), width=4)
    stem = g.fresh("loop")
    half = numpy_helper.from_array(np.float32(0.5), f"{stem}_half")
    nodes = [
        helper.make_node("Identity", [f"{stem}_go"], [f"{stem}_on"]),
        helper.make_node("Mul", [f"{stem}_state", f"{stem}_half"], [f"{stem}_less"]),
        helper.make_node("Add", [f"{stem}_less", x.name], [f"{stem}_next"]),
    ]
    body = _graph(
        nodes, f"{stem}_body",
        [
            helper.make_tensor_value_info(f"{stem}_i", TensorProto.INT64, []),
            helper.make_tensor_value_info(f"{stem}_go", TensorProto.BOOL, []),
            _declared(f"{stem}_state"),
        ],
        [_declared(f"{stem}_on", TensorProto.BOOL), _declared(f"{stem}_next")],
        [half],
    )  # fmt: skip
    go = g.weight(np.array(True), "go", "initializer")
    return replace(x, name=g.node("Loop", [g.ints(2), go, x.name], body=body))
