"""MACs inside of subgraphs, by hand; parameters are in tests/coupling/test_subgraphs.py."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from spa.selection.costs import CostModel
from tests.coupling.test_subgraphs import Flow, branch, loop_body, subgraph, value

OUTER = 8 * 27 * 64  # a 3x3 convolution of 3 channels to 8, at 8x8


def matrix(rows: int, columns: int) -> np.ndarray:
    return np.ones((rows, columns), np.float32)


def macs(proto) -> int:
    model = spa.load(proto)
    cost = spa.measure_cost(model)
    groups = spa.find_groups(model)
    nothing = np.zeros(groups.coupling.components.kept.size, dtype=bool)
    assert CostModel(groups.coupling).cost(nothing) == cost
    return cost.macs


def pooled(g: Flow) -> str:
    """(N, 8)"""
    return g.node("Flatten", [g.node("GlobalAveragePool", [g.conv(g.image, 3, 8)])])


def test_the_branch_that_the_example_took():
    g = Flow()
    x = pooled(g)
    then = branch("MatMul", x, "v", name="a", v=matrix(8, 4))
    other = branch("MatMul", x, "w", name="b", w=matrix(8, 50))
    assert macs(g.model(g.fork(then, other))) == OUTER + 8 * 4


def test_the_branches_that_it_took_further_in():
    """The inner condition is computed inside."""
    g = Flow()
    x = pooled(g)
    negated = helper.make_node("Not", ["yes"], ["no"])
    inner = helper.make_node(
        "If", ["no"], ["inner_out"],
        then_branch=branch("MatMul", x, "v", name="c", v=matrix(8, 40)),
        else_branch=branch("MatMul", x, "w", name="d", w=matrix(8, 5)),
    )  # fmt: skip
    then = subgraph([negated, inner], ["inner_out"], name="a")
    y = g.fork(then, branch("Neg", x, name="b"))
    assert macs(g.model(y)) == OUTER + 8 * 5


def test_shapes_that_only_a_run_shows():
    """What a branch pads by is computed, so that inference does not know its sizes."""
    g = Flow()
    x = g.conv(g.image, 3, 8)
    w = np.ones((6, 8, 3, 3), np.float32)
    nodes = [
        helper.make_node("Shape", [x], ["sizes"]),
        helper.make_node("Mul", ["sizes", "none"], ["half"]),
        helper.make_node("Concat", ["half", "pads"], ["all"], axis=0),
        helper.make_node("Pad", [x, "all"], ["wide"]),
        helper.make_node("Conv", ["wide", "w"], ["a_out"]),
    ]
    weights = {"w": w, "none": np.zeros(4, np.int64), "pads": np.array([0, 0, 1, 1])}
    then = subgraph(nodes, ["a_out"], name="a", weights=weights)
    y = g.fork(then, branch("Neg", x, name="b"))
    assert macs(g.model(y)) == OUTER + 6 * 72 * 7 * 7


def test_the_costlier_branch_within_a_loop():
    g = Flow()
    x = pooled(g)
    inner = helper.make_node(
        "If", ["go"], ["next"],
        then_branch=branch("MatMul", "s", "v", name="c", v=matrix(8, 8)),
        else_branch=branch("Neg", "s", name="d"),
    )  # fmt: skip
    body = loop_body([inner], "next")
    assert macs(g.model(g.node("Loop", [g.ints(3), "on", x], body=body))) == OUTER + 3 * 64


@pytest.mark.parametrize(("trips", "times"), [("constant", 7), ("times", 1)])
def test_a_loop_counts_once_per_trip(trips, times):
    g = Flow()
    x = pooled(g)
    body = loop_body([helper.make_node("MatMul", ["s", "w"], ["next"])], "next", w=matrix(8, 8))
    count = g.ints(7) if trips == "constant" else "times"
    assert macs(g.model(g.node("Loop", [count, "on", x], body=body))) == OUTER + times * 64


def test_a_scan_counts_once_per_entry():
    """Ten rows of eight, along the axis that the node names."""
    g = Flow()
    x = pooled(g)
    g.inputs.append(value("rows", TensorProto.FLOAT, ["N", 10, 8]))
    nodes = [
        helper.make_node("MatMul", ["row", "w"], ["h"]),
        helper.make_node("Add", ["h", "s"], ["next"]),
        helper.make_node("Identity", ["next"], ["out"]),
    ]
    w = numpy_helper.from_array(matrix(8, 8), "w")
    body = subgraph(nodes, ["next", "out"], inputs=[value("s"), value("row")])
    body.initializer.append(w)
    state, out = g.node("Scan", [x, "rows"], 2, body=body, num_scan_inputs=1, scan_input_axes=[1])
    assert macs(g.model(state, out)) == OUTER + 10 * 64
