"""The gate stops every export that is not what its framework computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from spa.errors import FrameworkError
from spa.frameworks.gate import passed, tidied
from spa.graph.execute import run
from tests.graphs import classifier


@pytest.fixture
def exported():
    """A model, two examples, and what it gives for them."""
    proto = classifier()
    (value,) = proto.graph.input
    sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim][1:]
    rng = np.random.default_rng(0)
    examples = [[rng.standard_normal((n, *sizes)).astype(np.float32)] for n in (2, 3)]
    outputs = [run(proto, {value.name: x}) for (x,) in examples]
    return proto, examples, outputs


def test_an_equal_model_passes(exported):
    passed(*exported, "net")


def test_another_one_does_not(exported):
    proto, examples, outputs = exported
    outputs[1][0] = outputs[1][0] * 1.02
    with pytest.raises(FrameworkError, match=r"Output 0 of the export of net differs .* 2\.\de-02"):
        passed(proto, examples, outputs, "net")


def test_numbers_that_are_none(exported):
    proto, examples, outputs = exported
    outputs[0][0] = np.full_like(outputs[0][0], np.nan)
    with pytest.raises(FrameworkError, match="differs"):
        passed(proto, examples, outputs, "net")


def test_an_input_of_a_constant(exported):
    proto, examples, outputs = exported
    extra = helper.make_tensor_value_info("captured", onnx.TensorProto.FLOAT, [4])
    proto.graph.input.append(extra)
    with pytest.raises(FrameworkError, match="2 inputs .*captured.*made inputs of constants"):
        passed(proto, examples, outputs, "net")


def test_an_operator_that_nobody_knows(exported):
    proto, examples, outputs = exported
    proto.graph.node[0].op_type = "Erfc"
    with pytest.raises(FrameworkError, match="is not valid ONNX: .*Erfc"):
        passed(proto, examples, outputs, "net")


def test_stale_shapes_and_listed_weights_are_tidied(exported):
    proto, examples, outputs = exported
    stale = helper.make_tensor_value_info(proto.graph.node[0].output[0], 1, [9, 9, 9, 9])
    proto.graph.value_info.append(stale)
    weight = proto.graph.initializer[0]
    listed = helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
    proto.graph.input.append(listed)
    for dim in proto.graph.output[0].type.tensor_type.shape.dim:
        dim.dim_value = 0
    passed(proto, examples, outputs, "net")
    assert len(proto.graph.input) == 1


def test_sizes_of_outputs_that_are_known_stay(exported):
    proto, *_ = exported
    shape = proto.graph.output[0].type.tensor_type.shape
    del shape.dim[:]
    shape.dim.add(dim_value=0)
    shape.dim.add(dim_value=5)
    batch, classes = tidied(proto).graph.output[0].type.tensor_type.shape.dim
    assert not batch.HasField("dim_value")
    assert classes.dim_value == 5


@pytest.mark.parametrize("listed", [True, False])
def test_zeros_around_a_pool_stay_zeros(listed):
    """ONNX Runtime's rewrites make them the pool's own padding, which never is the largest."""
    values = [numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads")]
    values += [numpy_helper.from_array(np.zeros((), np.float32), "zero")] if listed else []
    nodes = [
        helper.make_node("Pad", ["x", *(v.name for v in values)], ["around"]),
        helper.make_node("MaxPool", ["around"], ["y"], kernel_shape=[3, 3], strides=[2, 2]),
    ]
    x, y = (helper.make_tensor_value_info(n, 1, ["N", 1, s, s]) for n, s in (("x", 5), ("y", 3)))
    graph = helper.make_graph(nodes, "pooled", [x], [y], values)
    opset = helper.make_opsetid("", 15)
    proto = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    low = -np.ones((2, 1, 5, 5), np.float32)
    want = np.zeros((2, 1, 3, 3), np.float32)
    want[:, :, 1, 1] = -1
    np.testing.assert_array_equal(run(proto, {"x": low}, optimize=False)[0], want)
    np.testing.assert_allclose(run(tidied(proto), {"x": low})[0], want, atol=1e-30)
