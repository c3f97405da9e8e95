"""Where weights come from, and how they find back into the file."""

import copy

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from oracle import compare, difference, f32, one_op, run_onnx, run_torch, text_model

from spa.bridge import to_onnx, to_torch
from spa.errors import BridgeError

CONSTANT_WEIGHTS = """
<ir_version: 8, opset_import: ["" : 13]>
agraph (float[N, 3] x) => (float[N, 2] y) {
    w = Constant <value = float[3, 2] {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}> ()
    b = Constant <value_floats = [0.5, 0.25]> ()
    two = Constant <value_float = 2.0> ()
    a = MatMul (x, w)
    c = Add (a, b)
    y = Div (c, two)
}
"""


def test_constant_nodes_hold_weights():
    proto = text_model(CONSTANT_WEIGHTS)
    net = to_torch(proto)
    assert set(net.weights) == {"w", "b"}  # a single value that divides is no weight
    x = {"x": f32(4, 3)}
    assert compare(proto, x) <= 1e-6
    with torch.no_grad():
        net.weights["w"].mul_(3)
        net.weights["b"].add_(1)
    back = to_onnx(net, proto)
    assert [node.op_type for node in back.graph.node] == [n.op_type for n in proto.graph.node]
    assert difference(run_onnx(back, x), run_torch(net, x)) <= 1e-6


def test_initializers_that_are_inputs_too_are_no_inputs():
    proto = text_model(
        """
        <ir_version: 8, opset_import: ["" : 13]>
        agraph (float[N, 2] x, float[2] w) => (float[N, 2] y) <float[2] w = {1.0, 2.0}> {
            y = Mul (x, w)
        }
        """
    )
    net = to_torch(proto)
    assert net.input_names == ("x",)
    assert set(net.weights) == {"w"}
    with pytest.raises(BridgeError, match="takes 1 inputs"):
        net(torch.zeros(1, 2), torch.zeros(2))


SHARED = """
<ir_version: 8, opset_import: ["" : 15]>
agraph (float[N, 2, 4] x) => (float[N, 2, 4] y)
<float[2] one = {1.0, 1.0}, float[2] zero = {0.0, 0.0}, float[2, 2, 1] w = {1.0, 2.0, 3.0, 4.0}> {
    scale = Identity (one)
    mean = Identity (zero)
    v = Identity (w)
    a = Conv (x, w)
    b = BatchNormalization (a, one, zero, zero, one)
    c = Conv (b, v)
    y = BatchNormalization (c, scale, zero, mean, one)
}
"""


def test_equality_by_coincidence_ends_and_ties_stay():
    proto = text_model(SHARED)
    net = to_torch(proto)
    assert {"w", "one", "zero", "scale"} == set(net.weights)
    assert len(net.statistics) == 4
    x = {"x": f32(3, 2, 4)}
    assert difference(run_torch(net, x), run_onnx(proto, x)) <= 1e-6
    assert to_onnx(net, proto) == proto  # nothing has parted, nothing is changed

    optimiser = torch.optim.SGD(net.train().parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        net(torch.randn(5, 2, 4) + 1).square().sum().backward()
        optimiser.step()
    back = to_onnx(net.eval(), proto)
    onnx.checker.check_model(back, full_check=True)
    assert difference(run_torch(net, x), run_onnx(back, x)) <= 1e-5
    again = to_torch(back)
    assert difference(run_torch(again, x), run_onnx(back, x)) <= 1e-5


def test_a_layer_applied_twice_keeps_one_set_of_statistics():
    proto = text_model(
        """
        <ir_version: 8, opset_import: ["" : 15]>
        agraph (float[N, 2] x) => (float[N, 2] y)
        <float[2] g = {1.0, 2.0}, float[2] b = {0.1, 0.2},
         float[2] m = {0.3, 0.4}, float[2] v = {1.1, 1.2}> {
            a = BatchNormalization (x, g, b, m, v)
            y = BatchNormalization (a, g, b, m, v)
        }
        """
    )
    assert set(to_torch(proto).statistics) == {"m", "v"}


def test_names_that_differ_in_a_dot_only():
    proto = text_model(CONSTANT_WEIGHTS)
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = {"w": "a.b", "b": "a_b"}.get(name, name)
    net = to_torch(proto)
    assert net.weights["a.b"].shape == (3, 2)
    assert net.weights["a_b"].shape == (2,)
    assert compare(proto, {"x": f32(4, 3)}) <= 1e-6


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (np.float16, torch.float16),
        (ml_dtypes.bfloat16, torch.bfloat16),
        (np.float64, torch.float64),
    ],
)
def test_dtype_is_the_models_own(dtype, kept):
    weight = np.array([1.5, 2.5], dtype)
    proto = one_op("Mul", 13, {"i0": weight}, {"i1": weight})
    net = to_torch(proto)
    assert net.weights["i1"].dtype == kept
    with torch.no_grad():
        net.weights["i1"].mul_(2)
    back = to_onnx(net, proto).graph.initializer[0]
    assert back.data_type == proto.graph.initializer[0].data_type
    assert numpy_helper.to_array(back).astype(np.float32).tolist() == [3.0, 5.0]


def test_model_local_functions_are_inlined():
    proto = text_model(
        """
        <ir_version: 8, opset_import: ["" : 15, "local" : 1]>
        agraph (float[N, 2] x) => (float[N, 2] y) <float[2] w = {1.5, 2.5}> {
            y = local.scaled (x, w)
        }
        <opset_import: ["" : 15], domain: "local">
        scaled (a, b) => (c) { d = Relu (a)
            c = Mul (d, b) }
        """
    )
    x = {"x": f32(3, 2)}
    assert compare(proto, x) <= 1e-6
    net = to_torch(proto)
    assert difference(run_onnx(to_onnx(net, proto), x), run_torch(net, x)) <= 1e-6


def test_another_model_is_refused_on_the_way_back():
    net = to_torch(text_model(CONSTANT_WEIGHTS))
    other = text_model(CONSTANT_WEIGHTS.replace("w = C", "u = C").replace("x, w", "x, u"))
    with pytest.raises(BridgeError, match='no tensor "w"'):
        to_onnx(net, other)
    reshaped = text_model(SHARED)
    with pytest.raises(BridgeError, match=r'"w" has shape \(2, 2, 1\)'):
        to_onnx(net, reshaped)
    with pytest.raises(BridgeError, match="float32 in the model but torch.float64"):
        to_onnx(net.double(), text_model(CONSTANT_WEIGHTS))


def test_activations_are_freed_after_their_last_use():
    net = to_torch(text_model(CONSTANT_WEIGHTS))
    spent = dict(zip([step.op for step in net.steps], net._spent, strict=True))
    assert spent == {"MatMul": ("x",), "Add": ("a",), "Div": ("c",)}


def test_an_error_names_the_node():
    net = to_torch(text_model(CONSTANT_WEIGHTS))
    with pytest.raises(RuntimeError) as caught:
        net(torch.zeros(2, 5))
    assert 'in MatMul node "a"' in caught.value.__notes__[0]


def test_scales_that_are_computed_are_no_weights():
    proto = text_model(
        """
        <ir_version: 8, opset_import: ["" : 13]>
        agraph (float[1, 1, 4, 4] x) => (float[1, 1, 8, 8] y)
        <float[2] ones = {1.0, 1.0}, float[2] half = {1.0, 1.0},
         float[4] shift = {1.0, 2.0, 3.0, 4.0}> {
            twos = Add (ones, half)
            scales = Concat <axis = 0> (ones, twos)
            z = Add (x, shift)
            y = Resize <mode = "linear"> (z, , scales)
        }
        """
    )
    net = to_torch(proto)
    assert set(net.weights) == {"shift"}
    assert compare(proto, {"x": f32(1, 1, 4, 4)}) <= 1e-6


def test_a_copy_is_independent():
    net = to_torch(text_model(SHARED))
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.weights["w"].zero_()
    other.train()
    x = {"x": f32(3, 2, 4)}
    assert float(net.weights["w"].detach().abs().sum()) > 0
    assert not any(step.run.training for step in net.steps)
    assert all(step.run.training for step in other.steps)
    assert difference(run_torch(net, x), run_onnx(text_model(SHARED), x)) <= 1e-6
