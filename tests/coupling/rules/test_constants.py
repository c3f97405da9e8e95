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
    g = Builder(13, batch=2)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    x = g.conv(x, 8, 6)
    grid = g.weight(g.rng.uniform(-1, 1, (2, 4, 4, 2)).astype(np.float32), "grid")
    x = g.node("GridSample", [x, grid], domain="com.microsoft")
    x = g.node("Relu", [g.conv(x, 6, 12)])
    proto = g.model(g.conv(x, 12, 5))
    lines = [line for line in described(proto) if not line.startswith("~")]
    assert lines == ["12: b2.0 w2.0 w3.1", "8: b0.0 w0.0 w1.1"]
    reason = kept(proto)["w1.0"]
    where = '(com.microsoft::GridSample "n_gridsample_0")'
    assert reason == f"6 of 6: there is no rule for com.microsoft::GridSample {where}"
    prove(proto)


def test_an_if_whose_condition_is_computed():
    """The largest of all channels is another one without some of them."""
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
    largest = g.reduce("ReduceMax", x, [0, 1, 2, 3], keepdims=0)
    yes = g.node("Greater", [largest, g.weight(np.float32(1), "one", "initializer")])
    y = g.node("If", [yes], then_branch=branch[0], else_branch=branch[1])
    y = g.node("Relu", [g.conv(y, 8, 6)])
    proto = g.model(g.conv(y, 6, 5))
    assert described(proto) == ["6: b1.0 w1.0 w2.1", "~8: b0.0 w0.0 w1.1"]
    prove(proto, plain=False, equal=False)


def test_a_model_without_anything_to_prune():
    g = Builder(13)
    proto = g.model(g.node("Relu", [g.input(3, 4, 4)]))
    groups = spa.find_groups(spa.load(proto))
    assert len(groups) == 0


@pytest.mark.parametrize("batch", ["N", 2])
@pytest.mark.parametrize("fill", [None, 0.0, 1.0])
def test_a_tensor_filled_in_the_shape_of_another(batch, fill):
    """zeros_like, ones_like: what is made up goes with what it meets."""
    g = Builder(17, batch)
    x = g.input(3, 4, 4)
    a, b = g.conv(x, 3, 8, bias=False), g.conv(x, 3, 8, bias=False)
    value = None if fill is None else onnx.numpy_helper.from_array(np.array([fill], np.float32))
    made = g.node("ConstantOfShape", [g.node("Shape", [b])], value=value)
    x = g.node("Concat", [g.node("Add", [a, made]), b], axis=1)
    proto = g.model(g.conv(x, 16, 5, bias=False))
    assert described(proto) == ["8: w0.0 w2.1", "8: w1.0 w2.1"]
    prove(proto)


@pytest.mark.parametrize("batch", ["N", 2])
def test_channels_written_into_a_tensor_of_zeros(batch):
    """As torch's ``z = zeros_like(x); z[:, :4] = y`` is exported."""
    g = Builder(17, batch)
    x = g.input(3, 4, 4)
    a, b = g.conv(x, 3, 8, bias=False), g.conv(x, 3, 4, bias=False)
    zeros = g.node("ConstantOfShape", [g.node("Shape", [a])])
    zeros, b = (g.node("Transpose", [t], perm=[1, 0, 2, 3]) for t in (zeros, b))
    z = g.node("ScatterND", [zeros, g.weight(np.arange(4).reshape(4, 1), "k"), b])
    z = g.node("Add", [a, g.node("Transpose", [z], perm=[1, 0, 2, 3])])
    proto = g.model(g.conv(z, 8, 5, bias=False))
    assert described(proto) == ["4: w0.0 w1.0 w2.1", "4: w0.0 w2.1"]
    prove(proto)
