"""Gates and mixers: one part of the channels, or all tokens, decide on another."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.coupling.cases import described, kept, prove
from tests.coupling.modules import Modules, conv_relu, linear
from tests.graphs import Builder

MODULES = Modules()
module = MODULES.expect


@module("6: b0.0*2 w0.1*2 w1.0")
def glu_split() -> onnx.ModelProto:
    """One projection, split in a value and its gate."""
    g = Builder()
    a, b = g.split(linear(g, g.input(5, 7), 7, 12), [6, 6], axis=2)
    return g.model(linear(g, g.node("Mul", [a, g.node("Sigmoid", [b])]), 6, 4))


@module("6: b0.0*2 w0.1*2 w1.0")
def glu_gate_first() -> onnx.ModelProto:
    """The gate comes first."""
    g = Builder()
    a, b = g.split(linear(g, g.input(5, 7), 7, 12), [6, 6], axis=2)
    return g.model(linear(g, g.node("Mul", [g.node("Sigmoid", [a]), b]), 6, 4))


@module("6: b0.0*2 w0.1*2 w1.0")
def glu_slices() -> onnx.ModelProto:
    """Two slices in place of a split."""
    g = Builder()
    x = linear(g, g.input(5, 7), 7, 12)
    a, b = g.slice(x, 0, 6, axis=2), g.slice(x, 6, 12, axis=2)
    return g.model(linear(g, g.node("Mul", [a, g.node("Sigmoid", [b])]), 6, 4))


@module("6: b0.0*2 w0.1*2 w1.0")
def glu_interleaved() -> onnx.ModelProto:
    """Gates at the odd places."""
    g = Builder()
    x = linear(g, g.input(5, 7), 7, 12)
    a, b = g.slice(x, 0, 12, axis=2, step=2), g.slice(x, 1, 12, axis=2, step=2)
    return g.model(linear(g, g.node("Mul", [a, g.node("Sigmoid", [b])]), 6, 4))


@module("6: b0.0*2 w0.1*2 w1.0")
def glu_reshape_gather() -> onnx.ModelProto:
    """Seen as (2, channels), then picked apart."""
    g = Builder()
    x = g.reshape(linear(g, g.input(5, 7), 7, 12), [0, 5, 2, 6])
    a, b = (g.node("Gather", [x, g.ints(i)], axis=2) for i in (0, 1))
    return g.model(linear(g, g.node("Mul", [a, g.node("Sigmoid", [b])]), 6, 4))


@module("6: w0.1 w1.1 w2.0")
def swiglu() -> onnx.ModelProto:
    """Two projections; SiLU written out."""
    g = Builder()
    x = g.input(5, 7)
    gate, up = linear(g, x, 7, 6, bias=False), linear(g, x, 7, 6, bias=False)
    gate = g.node("Mul", [gate, g.node("Sigmoid", [gate])])
    return g.model(linear(g, g.node("Mul", [gate, up]), 6, 4, bias=False))


@module("6: b0.0 b1.0 w0.1 w1.1 w2.0")
def geglu_tanh() -> onnx.ModelProto:
    """GELU by its tanh formula."""
    g = Builder()
    x = g.input(5, 7)
    a, up = linear(g, x, 7, 6), linear(g, x, 7, 6)

    def c(value: float) -> str:
        return g.weight(np.float32(value), "c")

    cube = g.node("Pow", [a, c(3)])
    inner = g.node("Mul", [g.node("Add", [a, g.node("Mul", [cube, c(0.044715)])]), c(0.79788)])
    gate = g.node(
        "Mul", [g.node("Mul", [a, c(0.5)]), g.node("Add", [g.node("Tanh", [inner]), c(1)])]
    )
    return g.model(linear(g, g.node("Mul", [gate, up]), 6, 4))


@module("6: b0.0*2 w0.0*2 w1.1")
def conv_glu() -> onnx.ModelProto:
    """Maps and their gates."""
    g = Builder()
    a, b = g.split(g.conv(g.input(3, 5, 5), 3, 12), [6, 6])
    return g.model(g.conv(g.node("Mul", [a, g.node("Sigmoid", [b])]), 6, 4))


@module("6: b0.0*2 b1.0 w0.0*2 w1.0 w2.1")
def conv_glu_depthwise() -> onnx.ModelProto:
    """TransNeXt: the gate is a depthwise convolution."""
    g = Builder()
    a, b = g.split(g.conv(g.input(3, 5, 5), 3, 12, 1), [6, 6])
    a = (
        g.node("Gelu", [g.conv(a, 6, 6, group=6)])
        if g.opset >= 20
        else g.node("Erf", [g.conv(a, 6, 6, group=6)])
    )
    return g.model(g.conv(g.node("Mul", [a, b]), 6, 4, 1))


@module("4: b1.0 w1.0 w2.1", "6: b0.0 b2.0 w0.0 w1.1 w2.0 w3.1")
def se_conv() -> onnx.ModelProto:
    """Squeeze and excitation by 1x1 convolutions."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 5, 5), 3, 6)])
    s = g.node("GlobalAveragePool", [x])
    s = g.node("Relu", [g.conv(s, 6, 4, 1)])
    s = g.node("HardSigmoid", [g.conv(s, 4, 6, 1)])
    return g.model(g.conv(g.node("Mul", [x, s]), 6, 4))


@module("4: b1.0 w1.0 w2.1", "6: b0.0 b2.0 w0.0 w1.1 w2.0 w3.1")
def se_gemm() -> onnx.ModelProto:
    """The same by linear layers."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 5, 5), 3, 6)])
    s = g.node("Flatten", [g.node("GlobalAveragePool", [x])])
    s = g.node("Relu", [g.gemm(s, 6, 4)])
    s = g.reshape(g.node("Sigmoid", [g.gemm(s, 4, 6)]), [-1, 6, 1, 1])
    return g.model(g.conv(g.node("Mul", [x, s]), 6, 4))


@module("4: b1.0 w1.0 w2.1", "6: b0.0 b2.0 w0.0 w1.1 w2.0 w3.1")
def se_hard_sigmoid_written_out() -> onnx.ModelProto:
    """MobileNetV3's gate: Add, Clip, Div."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 5, 5), 3, 6)])
    s = g.reduce("ReduceMean", x, [2, 3])
    s = g.conv(g.node("Relu", [g.conv(s, 6, 4, 1)]), 4, 6, 1)
    s = g.clip(g.node("Add", [s, g.weight(np.float32(3), "three")]), 0, 6)
    s = g.node("Div", [s, g.weight(np.float32(6), "six")])
    return g.model(g.conv(g.node("Mul", [s, x]), 6, 4))


@module("4: w1.0 w2.1", "~6: b0.0 w0.0 w1.1 w2.0 w4.1")
def cbam() -> onnx.ModelProto:
    """Channel gate, then a map of each pixel's mean and maximum: not exact."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 5, 5), 3, 6)])
    w, v = g.normal(4, 6, 1, 1), g.normal(6, 4, 1, 1)
    parts = []
    for pool in ("GlobalAveragePool", "GlobalMaxPool"):
        s = g.node("Conv", [g.node(pool, [x]), w])
        parts.append(g.node("Conv", [g.node("Relu", [s]), v]))
    x = g.node("Mul", [x, g.node("Sigmoid", [g.node("Add", parts)])])
    maps = [g.reduce("ReduceMean", x, [1]), g.reduce("ReduceMax", x, [1])]
    s = g.conv(g.node("Concat", maps, axis=1), 2, 1, 7)
    return g.model(g.conv(g.node("Mul", [x, g.node("Sigmoid", [s])]), 6, 4))


@module(
    "4: b1.0 mean0.0 scale0.0 shift0.0 var0.0 w1.0 w2.1 w3.1",
    "6: b0.0 b2.0 b3.0 w0.0 w1.1 w2.0 w3.0 w4.1",
)
def coordinate_attention() -> onnx.ModelProto:
    """Rows and columns share a bottleneck, apart again by a split."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 5, 4), 3, 6)])
    h = g.reduce("ReduceMean", x, [3])
    w = g.node("Transpose", [g.reduce("ReduceMean", x, [2])], perm=[0, 1, 3, 2])
    y = g.node("Concat", [h, w], axis=2)
    y = g.node("Relu", [g.batch_norm(g.conv(y, 6, 4, 1), 4)])
    h, w = g.split(y, [5, 4], axis=2)
    w = g.node("Transpose", [w], perm=[0, 1, 3, 2])
    h, w = (g.node("Sigmoid", [g.conv(z, 4, 6, 1)]) for z in (h, w))
    return g.model(g.conv(g.node("Mul", [g.node("Mul", [x, w]), h]), 6, 4))


@module("4: b0.0 w0.0 w1.0", "~6: b1.0 beta0.0 gamma0.0 w1.1 w2.0")
def grn_convnext_v2() -> onnx.ModelProto:
    """Response norm: a mean over the channels."""
    g = Builder()
    x = g.node("Transpose", [g.conv(g.input(3, 5, 5), 3, 4)], perm=[0, 2, 3, 1])
    x = g.node("Relu", [linear(g, x, 4, 6)])
    norm = g.reduce("ReduceL2", x, [1, 2])
    mean = g.node("Add", [g.reduce("ReduceMean", norm, [-1]), g.weight(np.float32(1e-3), "eps")])
    y = g.node("Mul", [x, g.node("Div", [norm, mean])])
    y = g.node("Add", [g.node("Mul", [y, g.normal(6, stem="gamma")]), g.normal(6, stem="beta")])
    y = g.node("Add", [y, x])
    return g.model(linear(g, y, 6, 5))


@module("6: b0.0 b2.0 gamma0.0 w0.0 w1.1 w2.0 w3.1", "8: b1.0 w1.0 w2.1")
def layer_scale() -> onnx.ModelProto:
    """A learned factor per channel on a branch."""
    g = Builder()
    x = g.conv(g.input(3, 5, 5), 3, 6)
    y = g.conv(g.node("Relu", [g.conv(x, 6, 8, 1)]), 8, 6, 1)
    y = g.node("Dropout", [y])
    x = g.node("Add", [x, g.node("Mul", [y, g.normal(6, 1, 1, stem="gamma")])])
    return g.model(g.conv(x, 6, 4))


@module("6: b0.0 b2.0 w0.0 w1.1 w2.0 w3.1", "8: b1.0 w1.0 w2.1")
def drop_path_leftovers() -> onnx.ModelProto:
    """What stochastic depth leaves in a graph."""
    g = Builder()
    x = g.conv(g.input(3, 5, 5), 3, 6)
    y = g.conv(g.node("Relu", [g.conv(x, 6, 8, 1)]), 8, 6, 1)
    y = g.node("Div", [y, g.weight(np.float32(0.9), "keep")])
    y = g.node("Mul", [y, g.weight(np.ones((1, 1, 1, 1), np.float32), "mask")])
    return g.model(g.conv(g.node("Add", [x, y]), 6, 4))


@module("2: b0.0*2 w0.0*2 w1.1", "4: b2.0 w2.0 w3.1", "6: b1.0*2 b3.0*2 w1.0*2 w2.1 w3.0*2 w4.1")
def split_attention() -> onnx.ModelProto:
    """ResNeSt: softmax over r splits of the same channels."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 4)
    y = conv_relu(g, x, 4, 12, group=2)  # r=2 splits of 6
    z = g.reshape(y, [-1, 2, 6, 6, 6])
    s = g.reduce("ReduceSum", z, [1], keepdims=0)
    a = g.conv(conv_relu(g, g.node("GlobalAveragePool", [s]), 6, 4, 1), 4, 12, 1)
    a = g.node("Softmax", [g.reshape(a, [-1, 2, 6, 1, 1])], axis=1)
    return g.model(g.conv(g.reduce("ReduceSum", g.node("Mul", [z, a]), [1], keepdims=0), 6, 5, 1))


@module(
    "4: b0.0 w0.0 w1.1 w2.1",
    "4: b3.0 w3.0 w4.1 w5.1",
    "6: b1.0 b2.0 b4.0 b5.0 w1.0 w2.0 w3.1 w4.0 w5.0 w6.1",
)
def selective_kernel() -> onnx.ModelProto:
    """Branches weighted by a softmax over branches."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 4)
    parts = [g.unsqueeze(conv_relu(g, x, 4, 6, k), [1]) for k in (3, 5)]
    z = g.node("Concat", parts, axis=1)  # N,2,6,H,W
    s = g.node("GlobalAveragePool", [g.reduce("ReduceSum", z, [1], keepdims=0)])
    s = conv_relu(g, s, 6, 4, 1)
    a = g.node("Concat", [g.unsqueeze(g.conv(s, 4, 6, 1), [1]) for _ in (0, 1)], axis=1)
    y = g.reduce("ReduceSum", g.node("Mul", [z, g.node("Softmax", [a], axis=1)]), [1], keepdims=0)
    return g.model(g.conv(y, 6, 5, 1))


@module("~6: b0.0*2 g0.0 h0.0 w0.1*2 w2.0")
def gmlp() -> onnx.ModelProto:
    """A map over tokens gates; LayerNorm is over the channels."""
    g = Builder()
    x = linear(g, g.input(4, 7), 7, 12)
    x = g.node("Erf", [x])
    u, v = g.split(x, [6, 6], axis=2)
    v = g.node("LayerNormalization", [v, g.normal(6, stem="g"), g.normal(6, stem="h")])
    v = g.node("Transpose", [v], perm=[0, 2, 1])
    v = linear(g, v, 4, 4)
    v = g.node("Transpose", [v], perm=[0, 2, 1])
    return g.model(linear(g, g.node("Mul", [u, v]), 6, 5))


@module("6: b0.0*2 w0.1*2 w2.0")
def gmlp_conv() -> onnx.ModelProto:
    """The map over tokens as a convolution of width 1."""
    g = Builder()
    x = g.node("Erf", [linear(g, g.input(4, 7), 7, 12)])
    u, v = g.split(x, [6, 6], axis=2)
    v = g.node("Conv", [v, g.normal(4, 4, 1), g.normal(4, stem="c")])
    return g.model(linear(g, g.node("Mul", [u, v]), 6, 5))


@module(
    "5: b0.0 w1.1 w2.0",
    "8: b2.0 w3.1 w4.0",
    "~6: b3.0 g0.0 g1.0 w0.0 w3.0 w4.1 w5.1",
)
def mixer() -> onnx.ModelProto:
    """Maps over tokens and over channels; the width is normalised."""
    g = Builder()
    x = g.node("Conv", [g.input(3, 4, 4), g.normal(6, 3, 2, 2)], strides=[2, 2])
    x = g.node("Transpose", [g.reshape(x, [0, 6, 4])], perm=[0, 2, 1])  # N,4,6
    y = g.node("LayerNormalization", [x, g.normal(6, stem="g")])
    y = g.node("Transpose", [y], perm=[0, 2, 1])
    y = linear(g, g.node("Relu", [linear(g, y, 4, 5)]), 5, 4)
    x = g.node("Add", [x, g.node("Transpose", [y], perm=[0, 2, 1])])
    y = g.node("LayerNormalization", [x, g.normal(6, stem="g")])
    x = g.node("Add", [x, linear(g, g.node("Relu", [linear(g, y, 6, 8)]), 8, 6)])
    x = g.reduce("ReduceMean", x, [1], keepdims=0)
    return g.model(g.gemm(x, 6, 5))


@module(
    "6: alpha0.0 alpha1.0 b0.0 b3.0 beta0.0 beta1.0 gamma0.0 gamma1.0 w0.1 w2.0 w3.1 w4.0",
    "8: b2.0 w2.1 w3.0",
)
def resmlp() -> onnx.ModelProto:
    """Affine in place of norms, so the width is exact."""
    g = Builder()
    x = linear(g, g.input(4, 7), 7, 6)

    def affine(z: str) -> str:
        z = g.node("Mul", [z, g.normal(6, stem="alpha")])
        return g.node("Add", [z, g.normal(6, stem="beta")])

    y = g.node("Transpose", [affine(x)], perm=[0, 2, 1])
    y = g.node("Transpose", [linear(g, y, 4, 4)], perm=[0, 2, 1])
    x = g.node("Add", [x, g.node("Mul", [y, g.normal(6, stem="gamma")])])
    y = linear(g, g.node("Relu", [linear(g, affine(x), 6, 8)]), 8, 6)
    x = g.node("Add", [x, g.node("Mul", [y, g.normal(6, stem="gamma")])])
    return g.model(linear(g, x, 6, 5))


@pytest.mark.parametrize("name", MODULES)
def test_the_module_has_its_groups(name):
    MODULES.check(name)


def test_channels_that_a_window_slides_over_are_kept():
    """ECA: a 1-D convolution over the channels' means; neighbours decide on each other."""
    g = Builder()
    x = conv_relu(g, g.input(3, 5, 5), 3, 6)
    s = g.node("Squeeze", [g.node("GlobalAveragePool", [x]), g.ints([-1])])  # (N, C, 1)
    s = g.node("Conv", [g.node("Transpose", [s], perm=[0, 2, 1]), g.normal(1, 1, 3)], pads=[1, 1])
    s = g.unsqueeze(g.node("Transpose", [g.node("Sigmoid", [s])], perm=[0, 2, 1]), [-1])
    proto = g.model(g.conv(conv_relu(g, g.node("Mul", [x, s]), 6, 8), 8, 4))
    assert described(proto) == ["8: b1.0 w2.0 w3.1"]
    assert "a window reaches over this axis" in kept(proto)["w0.0"]
    prove(proto)
