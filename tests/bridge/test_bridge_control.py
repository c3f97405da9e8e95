"""If and Loop in the bridge: the same as ONNX Runtime, with gradients to what is around them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spa.bridge import to_onnx, to_torch
from spa.errors import BridgeError
from tests.bridge.oracle import compare, difference, f32, run_onnx, run_torch, text_model

# An If in an If; they read weights, constants, inputs and what was computed around them.
FORK = """
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[N, 2] x, bool c, bool d) => (float[N, 2] y, float[M, K] z)
    <float[2, 2] w = {1.0, 2.0, 3.0, 4.0}> {
        a = MatMul (x, w)
        same = Identity (w)
        y, z = If (c) <
            then_branch = g () => (float[N, 2] p, float[M, K] q) {
                two = Constant <value: tensor = float[1] {2.0}> ()
                b = MatMul (a, same)
                p = Mul (b, two)
                q = If (d) <
                    then_branch = h () => (float[M, K] r) { r = Add (b, x) },
                    else_branch = k () => (float[M, K] s) { s = Transpose (a) }>
            },
            else_branch = l () => (float[N, 2] t, float[M, K] u) { t = Neg (a)  u = Identity (w) }>
    }
"""

LOOP = """
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[2] x, int64 m) => (float[2] y, float[M, 2] z)
    <float[2] w = {0.5, 3.0}, float limit = {20.0}, bool yes = {1}> {
        y, z = Loop (m, yes, x) <
            body = g (int64 i, bool before, float[2] s) => (bool after, float[2] t, float[2] u) {
                number = Cast <to = 1> (i)
                v = Mul (s, w)
                t = Add (v, number)
                u = Neg (v)
                sum = ReduceSum <keepdims = 0> (t)
                after = Less (sum, limit)
            }>
    }
"""


@pytest.mark.parametrize("c", [True, False])
@pytest.mark.parametrize("d", [True, False])
def test_a_branch_is_run(c, d):
    proto = text_model(FORK)
    feeds = {"x": f32(3, 2), "c": np.array(c), "d": np.array(d)}
    assert compare(proto, feeds) <= 1e-6
    net = to_torch(proto)
    assert set(net.weights) == {"w"}
    outputs = net(*(torch.from_numpy(np.asarray(feed)) for feed in feeds.values()))
    sum(output.sum() for output in outputs).backward()
    assert net.weights["w"].grad.abs().sum() > 0
    assert difference(run_onnx(to_onnx(net, proto), feeds), run_torch(net, feeds)) <= 1e-6


@pytest.mark.parametrize("trips", [0, 1, 2, 9])
def test_a_body_is_run_while_it_says_so(trips):
    proto = text_model(LOOP)
    feeds = {"x": f32(2), "m": np.array(trips)}
    net = to_torch(proto)
    outputs = run_torch(net, feeds)
    if trips:
        assert compare(proto, feeds) <= 1e-6
    else:
        np.testing.assert_array_equal(outputs[0], feeds["x"])
        assert outputs[1].shape[0] == 0
    if trips == 9:
        assert 2 < len(outputs[1]) < 9  # the condition ended it


def test_what_a_subgraph_holds_itself_stays():
    proto = text_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        agraph (float[N, 2] x, bool c) => (float[N, 2] y) {
            y = If (c) <
                then_branch = g () => (float[N, 2] p)
                    <float[2, 2] v = {1.0, 2.0, 3.0, 4.0}> { p = MatMul (x, v) },
                else_branch = h () => (float[N, 2] q) { q = Relu (x) }>
        }
        """
    )
    net = to_torch(proto).train()
    assert not net.weights
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert not any(module.training for run in net.runs for module in run.bodies.modules())
    assert compare(proto, {"x": f32(3, 2), "c": np.array(True)}) <= 1e-6


def test_scan_is_refused():
    proto = text_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        agraph (float[N, 2] x) => (float[N, 2] y) {
            y = Scan <num_scan_inputs = 1,
                body = g (float[2] a) => (float[2] b) { b = Relu (a) }> (x)
        }
        """
    )
    with pytest.raises(BridgeError, match="Scan node .* holds a subgraph"):
        to_torch(proto)
