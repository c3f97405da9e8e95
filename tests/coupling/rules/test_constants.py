"""Tensors made out of nothing: weights in every place, and operators without a rule."""

import numpy as np
import onnx
import pytest
from onnx import helper

import spa
from tests.coupling.cases import described, kept, prove
from tests.graphs import STORAGES, Builder, classifier, initializer


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("opset", [9, 13, 20])
def test_weights_in_every_place_give_the_same_groups(storage, opset):
    proto = classifier(opset=opset, storage=storage)
    assert described(proto) == described(classifier(opset=opset))
    prove(proto, plain=storage in ("initializer", "input"))


@pytest.mark.parametrize("attribute", ["value", "value_floats"])
def test_constant_nodes_of_either_form(attribute):
    g = Builder(13)
    x = g.conv(g.input(3, 4, 4), 3, 4, bias=False)
    numbers = [0.5, -0.5, 1.0, 2.0]
    if attribute == "value":
        shape = g.weight(np.float32(numbers).reshape(4, 1, 1), "c", "constant")
    else:
        shape = g.node("Constant", [], ["c0"], value_floats=numbers)[0]
        shape = g.reshape(shape, [4, 1, 1])
    proto = g.model(g.conv(g.node("Mul", [x, shape]), 4, 5, bias=False))
    assert described(proto) == ["4: c0.0 w0.0 w1.1"]
    pruned = prove(proto, plain=False)
    assert initializer(pruned, "c0").size == 2


def test_filled_weights_follow():
    g = Builder(13)
    fill = helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [0.1])
    w = g.node("ConstantOfShape", [g.ints([8, 3, 3, 3])], value=fill)
    x = g.node("Relu", [g.node("Conv", [g.input(3, 4, 4), w], pads=[1] * 4)])
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: constantofshape_0.0 w0.1"]
    prove(proto, plain=False)


def test_shape_reads_no_values():
    """A Shape of a tensor that shrinks keeps nothing by itself."""
    g = Builder(13)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    y = g.node("Reshape", [g.node("Neg", [x]), g.node("Shape", [x])])
    proto = g.model(g.conv(y, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_an_operator_without_a_rule_keeps_only_what_it_touches():
    """nni 5172: an unknown operator must not stop everything."""
    g = Builder(13)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    x = g.conv(x, 8, 6)
    x = g.node("CumSum", [x, g.ints(1)])
    x = g.node("Relu", [g.conv(x, 6, 12)])
    proto = g.model(g.conv(x, 12, 5))
    lines = [line for line in described(proto) if not line.startswith("~")]
    assert lines == ["12: b2.0 w2.0 w3.1", "8: b0.0 w0.0 w1.1"]
    reason = kept(proto)["w1.0"]
    assert reason == '6 of 6: there is no rule for CumSum (CumSum "n_cumsum_0")'
    prove(proto)


def test_an_if_keeps_what_its_branches_read():
    g = Builder(13)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    branch = [
        helper.make_graph(
            [helper.make_node(op, [x], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)],
        )
        for op, name in (("Neg", "then"), ("Exp", "else"))
    ]
    yes = g.weight(np.array(True), "yes", "initializer")
    y = g.node("If", [yes], then_branch=branch[0], else_branch=branch[1])
    y = g.node("Relu", [g.conv(y, 8, 6)])
    proto = g.model(g.conv(y, 6, 5))
    assert described(proto) == ["6: b1.0 w1.0 w2.1"]
    assert "subgraph" in kept(proto)["w0.0"]
    prove(proto, plain=False)


def test_a_model_without_anything_to_prune():
    g = Builder(13)
    proto = g.model(g.node("Relu", [g.input(3, 4, 4)]))
    groups = spa.find_groups(spa.load(proto))
    assert len(groups) == 0
