"""A pruned file holds nothing but what the plan makes of the dense one."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import spa
from tests.graphs import Builder, classifier, initializer, node_of


def pruned(proto, **kwargs):
    model = spa.load(proto)
    result = spa.prune(model, **{"ratio": 0.5, "limits": spa.Limits(scope="local"), **kwargs})
    return model, result


def copied(proto):
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    return copy


def garbled(proto, name):
    copy = copied(proto)
    for tensor in copy.graph.initializer:
        if tensor.name == name:
            old = numpy_helper.to_array(tensor)
            drawn = np.random.default_rng(9).normal(0, 40, old.shape)
            tensor.CopyFrom(numpy_helper.from_array(drawn.astype(old.dtype), name))
    return copy


def refused(model, proto, plan, match):
    with pytest.raises(spa.VerificationError, match=match):
        spa.verify(model, proto, plan)


def test_a_back_door_is_found():
    """It opens where an input is above 8, which no example is."""
    model, result = pruned(classifier())
    proto = copied(result.model)
    last = proto.graph.node[-1]
    output, last.output[0] = last.output[0], "clean"
    source = proto.graph.input[0].name
    proto.graph.initializer.extend(
        [
            numpy_helper.from_array(np.float32(8), "eight"),
            numpy_helper.from_array(np.float32(1e6), "bribe"),
        ]
    )
    proto.graph.node.extend([
        helper.make_node("ReduceMax", [source], ["largest"], keepdims=0),
        helper.make_node("Sub", ["largest", "eight"], ["over"]),
        helper.make_node("Relu", ["over"], ["fires"]),
        helper.make_node("Mul", ["fires", "bribe"], ["paid"]),
        helper.make_node("Add", ["clean", "paid"], [output]),
    ])  # fmt: skip
    refused(model, proto, result.plan, 'has a weight "eight", which the plan does not make')


def test_a_back_door_without_weights_is_found():
    model, result = pruned(classifier())
    proto = copied(result.model)
    last = proto.graph.node[-1]
    output, last.output[0] = last.output[0], "clean"
    proto.graph.node.append(helper.make_node("Identity", ["clean"], [output]))
    refused(model, proto, result.plan, 'node that makes "clean"')


@pytest.mark.parametrize("change", ["attribute", "operator", "input", "opset"])
def test_other_nodes_are_named(change):
    model, result = pruned(classifier())
    proto = copied(result.model)
    if change == "attribute":
        node = node_of(proto, "BatchNormalization")
        node.attribute.append(helper.make_attribute("epsilon", 2e-5))
    elif change == "operator":
        node = node_of(proto, "Relu")
        node.op_type = "LeakyRelu"
    elif change == "input":
        node = node_of(proto, "Add")
        node.input[0], node.input[1] = node.input[1], node.input[0]
    else:
        proto.opset_import[0].version += 1
        refused(model, proto, result.plan, "for version")
        return
    refused(model, proto, result.plan, node.name)


def test_the_scale_of_a_norm_is_held():
    """A removal before it is not exact, so that its output is handed over, whatever it computes."""
    g = Builder(17)
    x = g.node("MatMul", [g.input(8), g.normal(8, 32)])
    norm = [x, g.normal(32, stem="scale"), g.normal(32, stem="shift")]
    x = g.node("Relu", [g.node("LayerNormalization", norm)])
    model, result = pruned(g.model(g.node("MatMul", [x, g.normal(32, 5)])))
    assert not result.plan.exact
    for name in [tensor.name for tensor in result.model.graph.initializer]:
        refused(model, garbled(result.model, name), result.plan, f'Weight "{name}" differs')


def test_integers_that_stand_for_weights_are_held():
    g = Builder(17)
    rng = np.random.default_rng(0)

    def unpacked(rows, columns):
        whole = rng.integers(-127, 127, (rows, columns)).astype(np.int8)
        scale = (rng.random((1, columns)) / 500).astype(np.float32)
        names = (g.weight(value, "w8", "initializer") for value in (whole, scale))
        first, second = names
        return g.node("Mul", [g.node("Cast", [first], to=TensorProto.FLOAT), second])

    x = g.node("Relu", [g.node("MatMul", [g.input(16), unpacked(16, 24)])])
    model, result = pruned(g.model(g.node("MatMul", [x, unpacked(24, 4)])))
    for name in [tensor.name for tensor in result.model.graph.initializer]:
        refused(model, garbled(result.model, name), result.plan, "differs from what the plan")


def test_how_a_number_is_stored_does_not_matter():
    model, result = pruned(classifier())
    proto = copied(result.model)
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            value = numpy_helper.to_array(tensor)
            flat = value.reshape(-1).tolist()
            tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.FLOAT, value.shape, flat))
            assert tensor.float_data
            tensor.doc_string = "as another program writes it"
    proto.doc_string, proto.producer_name = "a text", "another program"
    for node in proto.graph.node:
        node.doc_string = "a text"
    assert spa.verify(model, proto, result.plan).equal


def test_a_weight_that_became_a_constant_is_the_same():
    model, result = pruned(classifier())
    proto = copied(result.model)
    tensor = next(t for t in proto.graph.initializer if t.name == "w4")
    constant = helper.make_node("Constant", [], ["w4"], value=tensor)
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in proto.graph.node]
    proto.graph.initializer.remove(tensor)
    del proto.graph.node[:]
    proto.graph.node.extend([constant, *nodes])
    assert spa.verify(model, proto, result.plan).equal
    assert initializer(result.model, "w4").size


def test_two_weights_of_one_name_are_refused():
    """ONNX Runtime takes one of them; the other would be compared."""
    model = spa.load(classifier())
    result = spa.prune(model, ratio=0.5)
    other = onnx.ModelProto()
    other.CopyFrom(result.model)
    first = other.graph.initializer[0]
    twin = other.graph.initializer.add()
    twin.CopyFrom(first)
    with pytest.raises(spa.VerificationError, match="two weights|refuses"):
        spa.verify(model, other, result.plan)
