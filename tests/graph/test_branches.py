"""Ifs with one possible condition give way to their branch; all others are opened, or stay."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from tests.coupling.cases import described, prove
from tests.coupling.test_subgraphs import MORE_AXES, branch, subgraph, value
from tests.graphs import Builder
from tests.oracles import random_feeds, run


def forks(proto: onnx.ModelProto) -> int:
    return [node.op for node in spa.load(proto).graph.nodes].count("If")


def same(proto: onnx.ModelProto) -> None:
    """The loaded model computes what the file does, bit by bit."""
    loaded = spa.load(proto).proto
    for seed in range(2):
        feeds = random_feeds(proto, seed, batch=2)
        want = run(proto, feeds, optimize=False)
        for name, have in run(loaded, feeds, optimize=False).items():
            np.testing.assert_array_equal(have, want[name])


def heavy(name: str, x: str, cin: int = 8, cout: int = 6) -> onnx.GraphProto:
    """Conv and Relu with a weight and a Constant of their own, under names that others use too."""
    rng = np.random.default_rng(len(name))
    weight = rng.standard_normal((cout, cin, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(weight[:, 0, 0, 0])),
        helper.make_node("Conv", [x, "w", "b"], ["h"], name="conv"),
        helper.make_node("Relu", ["h"], ["out"], name="relu"),
    ]
    return subgraph(nodes, ["out"], name=name, weights={"w": weight})


def condition(g: Builder, kind: str, x: str) -> str:
    """(): of every kind."""
    if kind == "initializer":
        return g.weight(np.array(True), "yes", "initializer")
    if kind == "Constant":
        return g.weight(np.array(True), "yes", "constant")
    if kind == "computed":
        return g.node("Less", [g.ints(2), g.ints(3)])
    if kind == "overridable":
        return g.weight(np.array(True), "yes", "input")
    if kind == "rank":
        return g.node("Equal", [g.node("Size", [g.node("Shape", [x])]), g.ints(4)])
    sizes = g.node("Shape", [x])
    axis = {"fixed size": 1, "dynamic size": 0}[kind]
    return g.node("Equal", [g.node("Gather", [sizes, g.ints(axis)]), g.ints((8, 2)[1 - axis])])


def net(kind: str, opset: int = 17) -> onnx.ModelProto:
    g = Builder(opset)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    cond = condition(g, kind, x)
    y = g.node("If", [cond], then_branch=heavy("a", x), else_branch=heavy("bb", x))
    return g.model(g.conv(y, 6, 5))


@pytest.mark.parametrize("opset", [11, 17, 21])
@pytest.mark.parametrize("kind", ["initializer", "Constant", "computed", "rank", "fixed size"])
def test_fixed_conditions(kind, opset):
    """The weights of the branch are in reach, and those of the other branch are gone."""
    proto = net(kind, opset)
    assert forks(proto) == 0
    assert described(proto) == ["6: b.0 w.0 w1.1", "8: b0.0 w.1 w0.0"]
    same(proto)
    prove(spa.load(proto).proto, plain=False)
    assert spa.prune(proto, ratio=0.5).proof.equal


@pytest.mark.parametrize("kind", ["dynamic size", "overridable"])
def test_conditions_that_may_change(kind):
    """Also where they came out the same in every run: a batch of 2 is only an example."""
    proto = net(kind)
    assert forks(proto) == 0
    assert len(spa.load(proto).forks) == 1
    assert described(proto) == ["6: b.0 b__1.0 w.0 w1.1 w__1.0", "8: b0.0 w.1 w0.0 w__1.1"]


def test_a_condition_that_only_the_example_fixes():
    """The image may have any size, so its size decides at run time, whatever two runs had."""
    g = Builder(17)
    x = g.input("C", "H", "W")
    x = g.node("Relu", [g.conv(x, 3, 8)])
    size = g.node("Gather", [g.node("Shape", [x]), g.ints(3)])
    large = g.node("Greater", [size, g.ints(2)])
    y = g.node("If", [large], then_branch=heavy("a", x), else_branch=heavy("bb", x))
    assert len(spa.load(g.model(g.conv(y, 6, 5))).forks) == 1


def test_names_that_are_in_use():
    """Two Ifs whose branches hold the same names, beside a tensor of that name; and a further one
    that only passes an outer tensor on, by a node or as a weight of its own."""
    g = Builder(17)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    yes, no = (g.weight(np.array(v), "cond", "initializer") for v in (True, False))
    y = g.node("If", [yes], then_branch=heavy("a", x), else_branch=branch("Neg", x, name="b"))
    z = g.node("If", [no], then_branch=branch("Neg", x, name="b"), else_branch=heavy("bb", x))
    gain = np.linspace(1, 2, 6, dtype=np.float32).reshape(6, 1, 1)
    node = helper.make_node("Relu", [z], ["shared"])
    both = subgraph([node], ["shared", "gain"], name="c", weights={"gain": gain})
    z, scale = g.node("If", [yes], 2, then_branch=both, else_branch=both)
    h = g.node("Mul", [g.node("Add", [y, z]), scale], ["h"])[0]
    proto = g.model(g.conv(h, 6, 5))
    model = spa.load(proto)
    assert forks(proto) == 0
    assert {"w", "w__1", "b", "b__1", "gain", "h", "h__1", "h__2"} <= set(model.shapes)
    same(proto)
    assert [line.split(":")[0] for line in described(proto)] == ["6", "8"]
    assert spa.prune(proto, ratio=0.5).proof.equal


def test_forks_within_a_branch():
    """A fixed one inside of a fixed one goes too; a real one inside reads what it read."""
    g = Builder(17)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    g.inputs.append(value("which", TensorProto.BOOL, MORE_AXES))
    yes = g.weight(np.array(True), "yes", "initializer")
    real = helper.make_node(
        "If", ["which"], ["inner"],
        then_branch=branch("Neg", "h", name="c"), else_branch=branch("Abs", "h", name="d"),
    )  # fmt: skip
    fixed = helper.make_node(
        "If", [yes], ["last"],
        then_branch=branch("Exp", "inner", name="e"), else_branch=branch("Abs", "h", name="f"),
    )  # fmt: skip
    outer = heavy("a", x)
    outer.node.extend([real, fixed])
    del outer.output[:]
    outer.output.append(value("last"))
    y = g.node("If", [yes], then_branch=outer, else_branch=heavy("bb", x))
    z = g.node("If", [yes], then_branch=heavy("a", x), else_branch=heavy("bb", x))
    proto = g.model(g.conv(g.node("Concat", [y, z], axis=1), 12, 5))
    assert forks(proto) == 1
    model = spa.load(proto)
    assert not model.forks
    (fork,) = [node for node in model.graph.nodes if node.op == "If"]
    assert set(fork.captured) <= set(model.shapes)
    same(proto)
    assert spa.prune(proto, ratio=0.5).proof.equal


def test_before_ir_version_4():
    """Branches have no initializers then; their weights are Constant nodes."""
    g = Builder(11)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    graph = heavy("a", x)
    weight = helper.make_node("Constant", [], ["w"], value=graph.initializer[0])
    del graph.initializer[:]
    graph.node.insert(0, weight)
    y = g.node("If", [condition(g, "rank", x)], then_branch=graph, else_branch=graph)
    proto = g.model(g.conv(y, 6, 5))
    proto.ir_version = 3
    proto.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in proto.graph.initializer
    )
    assert forks(proto) == 0
    same(proto)
    assert described(proto) == ["6: b.0 w.0 w1.1", "8: b0.0 w.1 w0.0"]
    assert spa.prune(proto, ratio=0.5).proof.equal


def test_functions_with_forks_in_them():
    """A function is inlined first; its If, with an attribute of the call as condition, then too."""
    domain = "local"
    body = helper.make_node(
        "If", ["cond"], ["y"],
        then_branch=branch("Neg", "x", name="a"), else_branch=branch("Abs", "x", name="b"),
    )  # fmt: skip
    constant = helper.make_node("Constant", [], ["number"])
    constant.attribute.append(
        onnx.AttributeProto(name="value_int", ref_attr_name="flag", type=onnx.AttributeProto.INT)
    )
    cast = helper.make_node("Cast", ["number"], ["cond"], to=TensorProto.BOOL)
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function(
        domain, "Choose", ["x"], ["y"], [constant, cast, body], opsets, attributes=["flag"]
    )
    g = Builder(17)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    for flag in (1, 0):
        x = g.node("Choose", [x], domain=domain, flag=flag)
    proto = g.model(g.conv(x, 8, 5))
    proto.functions.append(function)
    model = spa.load(proto)
    assert [n.op for n in model.graph.nodes if n.op in ("If", "Neg", "Abs")] == ["Neg", "Abs"]
    assert [line.split(":")[0] for line in described(proto)] == ["8"]
    same(proto)
    assert spa.prune(proto, ratio=0.5).proof.equal
