"""Blocks of convolutional networks: branches that join, part and feed each other."""

from __future__ import annotations

import onnx
import pytest

from tests.coupling.modules import Modules, conv_relu
from tests.graphs import Builder

MODULES = Modules()
module = MODULES.expect


def _norms(*numbers: int) -> str:
    """Members of some batch norms."""
    return " ".join(f"{stem}{i}.0" for stem in ("mean", "scale", "shift", "var") for i in numbers)


def _shuffle(g: Builder, x: str, channels: int, size: int, groups: int = 2) -> str:
    x = g.reshape(x, [-1, groups, channels // groups, size, size])
    x = g.node("Transpose", [x], perm=[0, 2, 1, 3, 4])
    return g.reshape(x, [-1, channels, size, size])


@module("2: b1.0 b2.0 w1.0 w2.0 w3.1", "4: b0.0 w0.0 w1.1", "4: b1.0 b2.0 w1.0 w2.0 w3.1*2")
def ghost() -> onnx.ModelProto:
    """Cheap maps made from others; what is too much is cut off."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 4)
    p = conv_relu(g, x, 4, 6, 1)
    y = g.node("Concat", [p, conv_relu(g, p, 6, 6, 3, group=6)], axis=1)
    y = g.slice(y, 0, 10)  # ghost modules cut what is too much
    return g.model(g.conv(y, 10, 5, 1))


@module(
    "12: mean0.0 mean1.0 scale0.0 scale1.0 shift0.0 shift1.0 var0.0 var1.0 w1.0 w2.0 w3.1",
    "4: b0.0 mean2.0 scale2.0 shift2.0 var2.0 w0.0 w1.1 w3.0 w4.1",
)
def inverted_residual() -> onnx.ModelProto:
    """MobileNetV2."""
    g = Builder()
    x = g.conv(g.input(3, 6, 6), 3, 4)
    y = g.clip(g.batch_norm(g.conv(x, 4, 12, 1, bias=False), 12), 0, 6)
    y = g.clip(g.batch_norm(g.conv(y, 12, 12, 3, group=12, bias=False), 12), 0, 6)
    x = g.node("Add", [x, g.batch_norm(g.conv(y, 12, 4, 1, bias=False), 4)])
    return g.model(g.conv(x, 4, 5, 1))


@module(
    f"6: b0.0 {_norms(0, 1, 2)} w0.0 w1.0 w1.1 w2.0 w2.1 w3.1 w4.1",
    "8: mean3.0 mean4.0 scale3.0 scale4.0 shift3.0 shift4.0 var3.0 var4.0 w3.0 w4.0 w5.1",
)
def repvgg() -> onnx.ModelProto:
    """Branches that a deployment merges."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 6)
    y = g.node(
        "Sum",
        [
            g.batch_norm(g.conv(x, 6, 6, bias=False), 6),
            g.batch_norm(g.conv(x, 6, 6, 1, bias=False), 6),
            g.batch_norm(x, 6),
        ],
    )
    x = g.node("Relu", [y])
    y = g.node(
        "Add",
        [
            g.batch_norm(g.conv(x, 6, 8, bias=False), 8),
            g.batch_norm(g.conv(x, 6, 8, 1, bias=False), 8),
        ],
    )
    return g.model(g.conv(g.node("Relu", [y]), 8, 5))


@module(
    "16: b0.0 b5.0 w0.0 w1.1 w5.0 w6.1",
    "4: b1.0 b2.0 w1.0 w2.0 w3.1 w5.1",
    "4: b1.0 b3.0 w1.0 w3.0 w4.1 w5.1",
    "4: b1.0 w1.0 w2.1",
    "4: b1.0 w1.0 w5.1",
    "4: b4.0 w4.0 w5.1",
)
def res2net() -> onnx.ModelProto:
    """A split whose parts feed each other."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 16)
    parts = g.split(conv_relu(g, x, 16, 16, 1), [4] * 4)
    y, out = None, [parts[0]]
    for part in parts[1:]:
        y = conv_relu(g, part if y is None else g.node("Add", [part, y]), 4, 4)
        out.append(y)
    y = g.conv(g.node("Concat", out, axis=1), 16, 16, 1)
    return g.model(g.conv(g.node("Relu", [g.node("Add", [x, y])]), 16, 5))


@module("4: b0.0 b2.0 w0.0 w1.1 w2.0 w3.1 w4.1", "6: b1.0 b3.0 w1.0 w2.1 w3.0 w4.1")
def hrnet() -> onnx.ModelProto:
    """Resolutions exchanged by strides and upsampling."""
    g = Builder()
    a = conv_relu(g, g.input(3, 8, 8), 3, 4)
    b = conv_relu(g, a, 4, 6, stride=2)
    a2 = g.node("Relu", [g.node("Add", [a, g.resize(g.conv(b, 6, 4, 1), 2)])])
    b2 = g.node("Relu", [g.node("Add", [b, g.conv(a, 4, 6, stride=2)])])
    y = g.node("Concat", [a2, g.resize(b2, 2)], axis=1)
    return g.model(g.conv(y, 10, 5, 1))


@module(
    "4: b1.0 w1.0 w5.1",
    "4: b2.0 w4.0 w5.1",
    "4: w2.0 w5.1",
    "4: w3.0 w5.1",
    "6: b0.0 w0.0 w1.1 w2.1 w3.1 w4.1",
    "6: b3.0 w5.0 w6.1",
)
def aspp() -> onnx.ModelProto:
    """Dilated branches and a pooled one, upsampled."""
    g = Builder()
    x = conv_relu(g, g.input(3, 8, 8), 3, 6)
    parts = [conv_relu(g, x, 6, 4, 1)]
    for d in (2, 3):
        parts.append(
            g.node(
                "Relu", [g.node("Conv", [x, g.normal(4, 6, 3, 3)], pads=[d] * 4, dilations=[d, d])]
            )
        )
    p = conv_relu(g, g.node("GlobalAveragePool", [x]), 6, 4, 1)
    parts.append(g.resize(p, 8))
    x = conv_relu(g, g.node("Concat", parts, axis=1), 16, 6, 1)
    return g.model(g.conv(x, 6, 5, 1))


@module("4: b1.0 w1.0 w3.1", "4: b2.0 w2.0 w3.1", "6: b0.0 w0.0 w1.1 w2.1", "6: b3.0 w3.0 w4.1")
def aspp_sizes() -> onnx.ModelProto:
    """The pooled branch is upsampled to another tensor's computed sizes."""
    g = Builder()
    x = conv_relu(g, g.input(3, 8, 8), 3, 6)
    p = conv_relu(g, g.node("GlobalAveragePool", [x]), 6, 4, 1)
    hw = g.slice(g.node("Shape", [x]), 2, 4, axis=0)
    nc = g.slice(g.node("Shape", [p]), 0, 2, axis=0)
    sizes = g.node("Concat", [nc, hw], axis=0)
    p = g.node("Resize", [p, "", "", sizes], mode="linear")
    x = conv_relu(g, g.node("Concat", [conv_relu(g, x, 6, 4, 1), p], axis=1), 8, 6, 1)
    return g.model(g.conv(x, 6, 5, 1))


@module(
    "4: b0.0 w0.0 w1.1 w5.1",
    "4: b5.0 w5.0 w6.1",
    "6: b1.0 w1.0 w2.1 w4.1",
    "6: b3.0 w3.1 w4.1",
    "6: b4.0 w4.0 w5.1",
    "8: b2.0 w2.0 w3.0",
)
def unet() -> onnx.ModelProto:
    """Skips from the way down to the way up."""
    g = Builder()
    a = conv_relu(g, g.input(3, 8, 8), 3, 4)
    b = conv_relu(g, g.node("MaxPool", [a], kernel_shape=[2, 2], strides=[2, 2]), 4, 6)
    c = conv_relu(g, g.node("MaxPool", [b], kernel_shape=[2, 2], strides=[2, 2]), 6, 8)
    u = g.node("Concat", [g.conv_transpose(c, 8, 6, 2, stride=2), b], axis=1)
    u = conv_relu(g, u, 12, 6)
    u = g.node("Concat", [g.resize(u, 2), a], axis=1)
    return g.model(g.conv(conv_relu(g, u, 10, 4), 4, 2, 1))


@module(
    "4: b0.0 w0.0 w1.1 w5.1",
    "5: b3.0 b4.0 b5.0 tied0.1 w3.0 w4.0 w5.0",
    "5: head0.1 tied0.0",
    "6: b1.0 w1.0 w2.1 w4.1",
    "8: b2.0 w2.0 w3.1",
)
def fpn() -> onnx.ModelProto:
    """Lateral sums, and a head shared by all levels."""
    g = Builder()
    a = conv_relu(g, g.input(3, 8, 8), 3, 4)
    b = conv_relu(g, a, 4, 6, stride=2)
    c = conv_relu(g, b, 6, 8, stride=2)
    p3 = g.conv(c, 8, 5, 1)
    p2 = g.node("Add", [g.conv(b, 6, 5, 1), g.resize(p3, 2)])
    p1 = g.node("Add", [g.conv(a, 4, 5, 1), g.resize(p2, 2)])
    w, v = g.normal(5, 5, 3, 3, stem="tied"), g.normal(3, 5, 1, 1, stem="head")
    outs = []
    for p in (p1, p2, p3):
        p = g.node("Relu", [g.node("Conv", [p, w], pads=[1] * 4)])
        outs.append(g.node("Conv", [p, v]))
    return g.model(*outs)


@module(
    "2: b2.0 w2.0 w3.1 w5.1",
    "2: b4.0 w4.0 w5.1",
    "4: b0.0 w0.0 w1.1 w3.1 w5.1",
    "6: b0.0 b2.0 b4.0 w0.0 w1.1 w2.0 w3.1 w4.0 w5.1",
    "8: b1.0 w1.0 w2.1",
    "8: b3.0 w3.0 w4.1",
)
def dual_path() -> onnx.ModelProto:
    """A residual and a dense part of one tensor."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 10)  # 6 residual + 4 dense
    res, dense = g.split(x, [6, 4])
    for k in range(2):
        y = g.conv(conv_relu(g, g.node("Concat", [res, dense], axis=1), 10 + 2 * k, 8, 1), 8, 8)
        r, d = g.slice(y, 0, 6), g.slice(y, 6, 8)
        res, dense = g.node("Add", [res, r]), g.node("Concat", [dense, d], axis=1)
    return g.model(g.conv(g.node("Relu", [g.node("Concat", [res, dense], axis=1)]), 14, 5, 1))


@module(
    f"4: {_norms(2, 4, 6)} w2.0 w3.1 w5.1 w7.1",
    f"4: {_norms(4, 6)} w4.0 w5.1 w7.1",
    f"4: {_norms(6)} w6.0 w7.1",
    f"6: b0.0 {_norms(0, 2, 4, 6)} w0.0 w1.1 w3.1 w5.1 w7.1",
    f"8: {_norms(1)} w1.0 w2.1",
    f"8: {_norms(3)} w3.0 w4.1",
    f"8: {_norms(5)} w5.0 w6.1",
    "9: b1.0 w7.0 w8.1",
)
def densenet() -> onnx.ModelProto:
    """Every layer reads all before it."""
    g = Builder()
    x, c = g.conv(g.input(3, 6, 6), 3, 6), 6
    for _ in range(3):
        y = g.node("Relu", [g.batch_norm(x, c)])
        y = g.node("Relu", [g.batch_norm(g.conv(y, c, 8, 1, bias=False), 8)])
        x, c = g.node("Concat", [x, g.conv(y, 8, 4, bias=False)], axis=1), c + 4
    x = g.node("Relu", [g.batch_norm(x, c)])
    x = g.node("AveragePool", [g.conv(x, c, 9, 1)], kernel_shape=[2, 2], strides=[2, 2])
    return g.model(g.conv(g.node("Relu", [x]), 9, 5, 1))


@module("3: b1.0*4 b2.0*4 w1.0*4 w2.0*4 w3.1*2", "6: b0.0*2 b3.0*2 w0.0*2 w1.1 w3.0*2 w4.1*2")
def shufflenet_v1() -> onnx.ModelProto:
    """Grouped convolutions with a shuffle between."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 12)
    y = _shuffle(g, g.node("Relu", [g.conv(x, 12, 12, 1, group=2)]), 12, 6)
    y = g.conv(g.conv(y, 12, 12, group=12), 12, 12, 1, group=2)
    return g.model(g.conv(g.node("Relu", [g.node("Add", [x, y])]), 12, 5, 1))


@module(
    "3: b0.0 b3.0 b6.0*2 w0.0 w3.0 w6.0*2 w7.1*4",
    "3: b0.0 b3.0 w0.0 w3.0 w4.1*2",
    "6: b0.0 w0.0 w1.1",
    "6: b1.0 b2.0 w1.0 w2.0 w3.1",
    "6: b4.0 b5.0 w4.0 w5.0 w6.1",
)
def shufflenet_v2() -> onnx.ModelProto:
    """Split, concatenate, shuffle."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 12)
    for _ in range(2):
        a, b = g.split(x, [6, 6])
        b = conv_relu(g, g.conv(conv_relu(g, b, 6, 6, 1), 6, 6, group=6), 6, 6, 1)
        x = _shuffle(g, g.node("Concat", [a, b], axis=1), 12, 6)
    return g.model(g.conv(x, 12, 5, 1))


@module(
    "3: b4.0 w4.0 w8.1",
    "4: b1.0 w1.0 w8.1",
    "4: b5.0 w5.0 w6.1",
    "4: w6.0 w7.1",
    "5: b3.0 w3.0 w8.1",
    "6: b2.0 w2.0 w3.1",
    "6: w7.0 w8.1",
    "8: b0.0 w0.0 w1.1 w2.1 w4.1 w5.1",
)
def inception() -> onnx.ModelProto:
    """Unequal branches; kernels of 1x3 and 3x1."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 8)
    p = g.node("MaxPool", [x], kernel_shape=[3, 3], pads=[1] * 4)
    parts = [
        conv_relu(g, x, 8, 4, 1),
        conv_relu(g, conv_relu(g, x, 8, 6, 1), 6, 5),
        conv_relu(g, p, 8, 3, 1),
    ]
    y = g.node("Conv", [conv_relu(g, x, 8, 4, 1), g.normal(4, 4, 1, 3)], pads=[0, 1, 0, 1])
    z = g.node("Conv", [y, g.normal(6, 4, 3, 1)], pads=[1, 0, 1, 0])
    parts.append(g.node("Relu", [z]))
    return g.model(g.conv(g.node("Concat", parts, axis=1), 18, 5, 1))


@module(
    "6: b1.0 w1.0 w5.1",
    "6: b2.0 b4.0 w2.0 w3.1 w4.0 w5.1",
    "6: b3.0 w3.0 w4.1",
    "8: b0.0 w0.0 w1.1 w2.1",
    "8: b5.0 w5.0 w6.1",
)
def csp() -> onnx.ModelProto:
    """Two branches of which one is deeper."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 8)
    a, b = conv_relu(g, x, 8, 6, 1), conv_relu(g, x, 8, 6, 1)
    b = g.node("Add", [b, conv_relu(g, conv_relu(g, b, 6, 6, 1), 6, 6)])
    return g.model(g.conv(conv_relu(g, g.node("Concat", [b, a], axis=1), 12, 8, 1), 8, 5, 1))


@module("4: b0.0 b1.0*3 w0.0 w1.0*3 w2.1*3")
def depth_multiplier() -> onnx.ModelProto:
    """A depthwise convolution with three outputs per channel."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 4)
    x = g.conv(x, 4, 12, group=4)  # three per channel
    return g.model(g.conv(g.node("Relu", [x]), 12, 5, 1))


@module("6: b0.0*2 w0.0*2 w1.1")
def maxout() -> onnx.ModelProto:
    """The larger of two maps."""
    g = Builder()
    x = g.conv(g.input(3, 4, 4), 3, 12)
    x = g.reduce("ReduceMax", g.reshape(x, [-1, 6, 2, 4, 4]), [2], keepdims=0)
    return g.model(g.conv(x, 6, 5))


@module("6: b0.0 w0.0 w1.1*2")
def crelu() -> onnx.ModelProto:
    """A map and its negative."""
    g = Builder()
    x = g.conv(g.input(3, 4, 4), 3, 6)
    x = g.node("Relu", [g.node("Concat", [x, g.node("Neg", [x])], axis=1)])
    return g.model(g.conv(x, 12, 5))


@module("3: b0.0*2 b1.0 w0.0*2 w1.0 w1.1*2 w2.1*2")
def involution_like() -> onnx.ModelProto:
    """Involution: one weight per pixel for all channels of a group."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 5, 5), 3, 6)])
    k = g.conv(x, 6, 3, 1)
    xg = g.reshape(x, [-1, 3, 2, 5, 5])
    y = g.node("Mul", [xg, g.unsqueeze(k, [2])])
    y = g.reshape(y, [-1, 6, 5, 5])
    return g.model(g.conv(y, 6, 5))


@module("4: b1.0*4 w1.0*4 w2.1", "6: b0.0 w0.0 w1.1")
def pixel_shuffle() -> onnx.ModelProto:
    """The four maps of one output go together."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 6)])
    x = g.node("DepthToSpace", [g.conv(x, 6, 16)], blocksize=2, mode="CRD")
    return g.model(g.conv(g.node("Relu", [x]), 4, 3))


@module("4: b1.0*4 w1.0*4 w2.1", "6: b0.0 w0.0 w1.1")
def pixel_shuffle_written_out() -> onnx.ModelProto:
    """As Reshape and Transpose."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 6)])
    x = g.reshape(g.conv(x, 6, 16), [-1, 4, 2, 2, 4, 4])
    x = g.node("Transpose", [x], perm=[0, 1, 4, 2, 5, 3])
    return g.model(g.conv(g.node("Relu", [g.reshape(x, [-1, 4, 8, 8])]), 4, 3))


@pytest.mark.parametrize("name", MODULES)
def test_the_module_has_its_groups(name):
    MODULES.check(name)
