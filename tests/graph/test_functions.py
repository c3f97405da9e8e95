"""Model-local functions in every form: inlined, call by call, and then pruned like all else."""

import numpy as np
import pytest
from onnx import AttributeProto, TensorProto, helper

import spa
from tests.coupling.cases import described
from tests.coupling.test_subgraphs import MORE_AXES, branch, subgraph, value
from tests.graphs import Builder
from tests.oracles import random_feeds, run

DOMAIN = "local"


def function(name, inputs, outputs, nodes, *, opset=17, imports=(), **options):
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in imports)]
    return helper.make_function(DOMAIN, name, inputs, outputs, nodes, opsets, **options)


def check(g: Builder, y: str, functions, groups: list[str]) -> spa.Model:
    """Inlined, the same outputs bit by bit, the groups, and a proven cut."""
    proto = g.model(y)
    proto.functions.extend(functions)
    proto.ir_version = 10
    if DOMAIN not in {entry.domain for entry in proto.opset_import}:
        proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    model = spa.load(proto)
    assert not model.proto.functions
    feeds = random_feeds(proto, 0, batch=2)
    for name, want in run(proto, feeds, optimize=False).items():
        have = run(model.proto, feeds, optimize=False)[name]
        np.testing.assert_array_equal(have, want)
    assert described(model) == groups
    assert spa.prune(proto, ratio=0.5).proof.equal
    return model


def reference(name: str, kind: int, of: str) -> AttributeProto:
    """An attribute that takes its value from the call."""
    return AttributeProto(name=name, type=kind, ref_attr_name=of)


def test_overloads_of_one_name():
    functions = [
        function("F", ["x"], ["y"], [helper.make_node(op, ["x"], ["y"])], overload=overload)
        for op, overload in (("Relu", "a"), ("Neg", "b"))
    ]
    g = Builder(17)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    for overload in "ab":
        g.nodes.append(helper.make_node("F", [x], [overload], domain=DOMAIN, overload=overload))
        x = overload
    model = check(g, g.conv(x, 8, 5), functions, ["8: b0.0 w0.0 w1.1"])
    assert [node.op for node in model.graph.nodes] == ["Conv", "Relu", "Neg", "Conv"]


def test_attributes_of_the_call_and_of_the_function():
    """Two calls with sizes of their own; a slope that one of them leaves at its default."""
    reshape = helper.make_node("Constant", [], ["shape"])
    reshape.attribute.append(reference("value_ints", AttributeProto.INTS, "shape"))
    leaky = helper.make_node("LeakyRelu", ["r"], ["y"])
    leaky.attribute.append(reference("alpha", AttributeProto.FLOAT, "alpha"))
    body = [reshape, helper.make_node("Reshape", ["x", "shape"], ["r"]), leaky]
    default = helper.make_attribute("alpha", 0.3)
    f = function("F", ["x"], ["y"], body, attributes=["shape"], attribute_protos=[default])
    g = Builder(17)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    x = g.node("F", [x], domain=DOMAIN, shape=[0, 8, 16])
    x = g.node("F", [x], domain=DOMAIN, shape=[0, 8, 2, 8], alpha=0.6)
    model = check(g, g.conv(x, 8, 5), [f], ["8: b0.0 w0.0 w1.1"])
    slopes = [n.attr("alpha") for n in model.graph.nodes if n.op == "LeakyRelu"]
    assert slopes == [pytest.approx(0.3), pytest.approx(0.6)]


def test_functions_that_call_functions():
    inner = function("Inner", ["x", "w"], ["y"], [helper.make_node("MatMul", ["x", "w"], ["y"])])
    body = [
        helper.make_node("Inner", ["x", "w"], ["h"], domain=DOMAIN),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("Inner", ["t", "v"], ["y"], domain=DOMAIN),
    ]
    outer = function("Outer", ["x", "w", "v"], ["y"], body, imports=[DOMAIN])
    g = Builder(17)
    x = g.input(6)
    for _ in range(2):
        x = g.node("Outer", [x, g.normal(6, 8), g.normal(8, 6)], domain=DOMAIN)
    groups = ["6: w1.1 w2.0", "8: w0.1 w1.0", "8: w2.1 w3.0"]
    check(g, x, [outer, inner], groups)


def test_an_optional_input_that_a_call_leaves_out():
    f = function(
        "F", ["x", "low", "high"], ["y"], [helper.make_node("Clip", ["x", "low", "high"], ["y"])]
    )
    g = Builder(17)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    high = g.weight(np.float32(0.5), "high", "initializer")
    x = g.node("F", [x, "", high], domain=DOMAIN)
    check(g, g.conv(x, 8, 5), [f], ["8: b0.0 w0.0 w1.1"])


def test_large_weights_pass_by():
    """They come back where they were, and one that only a function reads stays too."""
    f = function("F", ["x", "w"], ["y"], [helper.make_node("MatMul", ["x", "w"], ["y"])])
    g = Builder(17)
    x = g.node("Relu", [g.node("F", [g.input(300), g.normal(300, 400)], domain=DOMAIN)])
    check(g, g.node("F", [x, g.normal(400, 200)], domain=DOMAIN), [f], ["400: w0.1 w1.0"])


def test_a_fork_in_a_function_and_a_call_in_a_fork():
    """The function's If reads the function's own input; the branch calls another function."""
    f = function(
        "F", ["c", "x"], ["y"],
        [helper.make_node("If", ["c"], ["y"], then_branch=branch("Neg", "x", name="a"),
                          else_branch=branch("Abs", "x", name="b"))],
    )  # fmt: skip
    twice = function("Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])])
    g = Builder(17)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    g.inputs.append(value("yes", TensorProto.BOOL, MORE_AXES))
    x = g.node("F", ["yes", x], domain=DOMAIN)
    call = helper.make_node("Twice", [x], ["twice"], domain=DOMAIN)
    then = subgraph([call], ["twice"], name="then")
    x = g.node("If", ["yes"], then_branch=then, else_branch=branch("Neg", x, name="c"))
    x = g.node("Relu", [g.conv(x, 8, 6)])
    model = check(g, g.conv(x, 6, 5), [f, twice], ["6: b1.0 w1.0 w2.1"])
    assert [node.op for node in model.graph.nodes].count("If") == 2


def test_an_opset_of_its_own():
    """Fine where the operator is the same in both; refused, as by ONNX Runtime, where it is not."""
    relu = function("F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], opset=14)
    g = Builder(17)
    x = g.node("F", [g.conv(g.input(3, 4, 4), 3, 8)], domain=DOMAIN)
    check(g, g.conv(x, 8, 5), [relu], ["8: b0.0 w0.0 w1.1"])
    total = helper.make_node("ReduceSum", ["x"], ["y"], axes=[2, 3])
    g = Builder(17)
    x = g.node("F", [g.conv(g.input(3, 4, 4), 3, 8)], domain=DOMAIN)
    proto = g.model(g.conv(x, 8, 5, 1))
    proto.functions.append(function("F", ["x"], ["y"], [total], opset=11))
    with pytest.raises(spa.ModelError, match="imports version 11 whereas model imports version 17"):
        spa.load(proto)
