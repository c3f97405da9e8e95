"""Example inputs: what is declared, given and guessed; and which sizes are seen to vary."""

import numpy as np
from onnx import TensorProto, helper

import spa
from tests.graphs import Builder
from tests.oracles import run


def _reader_net():
    g = Builder()
    g.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"]))
    x = g.node("Relu", [g.conv("x", 3, 8)])
    x = g.node("MaxPool", [x], kernel_shape=[8, 1], strides=[8, 1])
    x = g.node("Transpose", [g.squeeze(x, [2])], perm=[0, 2, 1])
    x = g.node("MatMul", [x, g.normal(8, 12)])
    # (N, W, 12) to (N, W, 3, 4): the target is computed from the sizes of x.
    sizes = [g.slice(g.node("Shape", [x]), i, i + 1, axis=0) for i in (0, 1)]
    target = g.node("Concat", [*sizes, g.ints([3]), g.ints([4])], axis=0)
    x = g.node("Sigmoid", [g.node("Reshape", [x, target])])
    x = g.node("Reshape", [x, g.node("Concat", [*sizes, g.ints([12])], axis=0)])
    return g.model(g.node("MatMul", [x, g.normal(12, 5)]), dims=[["N", "W", 5]])


def test_a_free_width_is_seen_to_vary_though_the_height_cannot():
    model = spa.load(_reader_net(), {"x": (2, 3, 8, 16)})
    assert [model.varies("x", axis) for axis in range(4)] == [True, False, False, True]


def test_a_pruned_model_takes_other_widths_though_no_other_height():
    """The width was taken as fixed, and written into the targets of Reshape."""
    proto = _reader_net()
    result = spa.prune(proto, inputs={"x": (2, 3, 8, 16)}, ratio=0.5)
    assert result.proof.equal
    for width in (5, 40):
        feeds = {"x": np.ones((1, 3, 8, width), np.float32)}
        (output,) = run(result.model, feeds).values()
        assert output.shape == (1, width, 5)
