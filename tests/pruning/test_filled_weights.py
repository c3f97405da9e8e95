"""The proof of models whose weights are ConstantOfShape nodes: small files of large networks."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import spa
from spa.graph import weightless
from spa.graph.deferred import held, is_deferred
from spa.pruning.redraw import randomised
from tests.graphs import Builder, attribute, node_of


def _filled(g: Builder, value: float, *shape: int) -> str:
    fill = helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [value])
    return g.node("ConstantOfShape", [g.ints(list(shape), "shape")], value=fill)


def _net() -> onnx.ModelProto:
    """Convolutions of one weight all over; a softmax on top, so that the output hardly varies."""
    g = Builder(batch=1)
    x = g.input(3, 8, 8)
    for cin, cout in ((3, 8), (8, 8), (8, 5)):
        w, b = _filled(g, 0.02, cout, cin, 3, 3), _filled(g, 0.5, cout)
        x = g.node("Relu", [g.node("Conv", [x, w, b], kernel_shape=[3, 3], pads=[1] * 4)])
    x = g.node("Flatten", [g.node("GlobalAveragePool", [x])])
    return g.model(g.node("Softmax", [x], axis=1), dims=[[1, 5]])


def _pruned() -> tuple[spa.Model, spa.Pruned]:
    model = spa.load(_net())
    return model, spa.prune(model, ratio=0.5, limits=spa.Limits(scope="local"))


def test_filled_weights_are_compared_with_random_ones():
    _, result = _pruned()
    assert result.plan.exact
    assert result.proof.equal
    assert "both with random weights" in result.proof.checks[-1]
    assert result.pruned.params < result.dense.params
    # They stay filled: the file does not grow.
    assert sum(node.op_type == "ConstantOfShape" for node in result.model.graph.node) == 6


def test_large_ones_are_never_held(monkeypatch):
    monkeypatch.setattr(weightless, "LARGE", 256)
    proto = _net()
    # The name that a fill which nobody reads any more would get.
    spare = f"{node_of(proto, 'ConstantOfShape', 2).output[0]}__filled"
    proto.graph.node.append(helper.make_node("Identity", [proto.graph.input[0].name], [spare]))
    model = spa.load(proto)
    large = [name for name in model.parameters if model.maker(name) is not None]
    assert len(large) == 2  # of three kernels; the first one has 8 * 3 * 9 entries
    drawn = randomised(model, frozenset(large))
    assert [name for name in large if is_deferred(drawn.graph.initializers[name])] == large
    onnx.checker.check_model(held(drawn.proto), full_check=True)
    result = spa.prune(model, ratio=0.5, limits=spa.Limits(scope="local"))
    assert result.proof.equal
    assert "both with random weights" in result.proof.checks[-1]


def test_another_fill_fails():
    model, result = _pruned()
    node = node_of(result.model, "ConstantOfShape", 2)
    filled = attribute(node, "value")
    del node.attribute[:]
    other = numpy_helper.from_array(numpy_helper.to_array(filled) + np.float32(1))
    node.attribute.append(helper.make_attribute("value", other))
    with pytest.raises(spa.VerificationError, match=node.output[0]):
        spa.verify(model, result.model, result.plan)


def test_another_filled_shape_fails():
    """One output channel more, all the way: it runs, but it is not what the plan says."""
    model, result = _pruned()
    shapes = {tensor.name: tensor for tensor in result.model.graph.initializer}
    # The first weight's outputs, its bias, and the second weight's inputs.
    for number, axis in enumerate((0, 0, 1)):
        tensor = shapes[node_of(result.model, "ConstantOfShape", number).input[0]]
        value = numpy_helper.to_array(tensor).copy()
        value[axis] += 1
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    with pytest.raises(spa.VerificationError, match="differs from what the plan leaves"):
        spa.verify(model, result.model, result.plan)
