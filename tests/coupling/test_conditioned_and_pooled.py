"""Modules that condition, pool or rearrange: FiLM, AdaIN, StyleGAN, WaveNet, Swin and others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.coupling.modules import Modules, conv_relu, linear
from tests.graphs import Builder

MODULES = Modules()
module = MODULES.expect


@module("6: b0.0 b3.0 w0.0 w1.1 w2.1 w3.0 w4.1", "~4: b2.0 g0.0 w2.0 w3.1")
def global_context() -> onnx.ModelProto:
    """GCNet: one map of attention pools all channels."""
    g = Builder()
    x = conv_relu(g, g.input(3, 4, 4), 3, 6)
    f = g.unsqueeze(g.reshape(x, [-1, 6, 16]), [1])
    a = g.reshape(g.conv(x, 6, 1, 1), [-1, 1, 16])
    a = g.unsqueeze(g.node("Softmax", [a], axis=2), [3])
    c = g.reshape(g.node("MatMul", [f, a]), [-1, 6, 1, 1])
    c = g.conv(
        g.node(
            "Relu",
            [
                g.node(
                    "LayerNormalization", [g.conv(c, 6, 4, 1), g.normal(4, 1, 1, stem="g")], axis=1
                )
            ],
        ),
        4,
        6,
        1,
    )
    return g.model(g.conv(g.node("Add", [x, c]), 6, 5))


@module("6: b0.0 b1.0*2 w0.0 w1.0*2 w2.1")
def film() -> onnx.ModelProto:
    """FiLM: scale and shift of every channel come from another input."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 6)
    c = g.gemm(g.input(5, name="c"), 5, 12)
    a, b = g.split(c, [6, 6])
    a, b = (g.unsqueeze(z, [2, 3]) for z in (a, b))
    return g.model(g.conv(g.node("Add", [g.node("Mul", [x, a]), b]), 6, 5))


@module("6: b0.0 b1.0 w0.0 w1.0 w2.1")
def adain() -> onnx.ModelProto:
    """One branch's statistics for the other's maps."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 6)
    s = conv_relu(g, g.input(3, 6, 6, name="s"), 3, 6)

    def stats(z):
        mu = g.reduce("ReduceMean", z, [2, 3])
        d = g.node("Sub", [z, mu])
        v = g.reduce("ReduceMean", g.node("Mul", [d, d]), [2, 3])
        return mu, g.node("Sqrt", [g.node("Add", [v, g.weight(np.float32(1e-3), "e")])])

    m1, s1 = stats(x)
    m2, s2 = stats(s)
    y = g.node("Div", [g.node("Sub", [x, m1]), s1])
    return g.model(g.conv(g.node("Add", [g.node("Mul", [y, s2]), m2]), 6, 5))


@module("8: b2.0 w1.1 w2.0", "~6: ada0.1*3 b0.0 b1.0*3 b3.0 one0.0 w0.1 w1.0 w2.1 w3.0")
def adaln_dit() -> onnx.ModelProto:
    """DiT: scale, shift and gate from a condition, around a norm."""
    g = Builder()
    x = linear(g, g.input(4, 7), 7, 6)
    c = linear(g, g.node("Sigmoid", [g.input(5, name="c")]), 5, 18, stem="ada")
    sh, sc, ga = (g.unsqueeze(z, [1]) for z in g.split(c, [6, 6, 6]))
    y = g.node("LayerNormalization", [x, g.weight(np.ones(6, np.float32), "one")])
    y = g.node("Add", [g.node("Mul", [y, g.node("Add", [sc, g.weight(np.float32(1), "o")])]), sh])
    y = linear(g, g.node("Relu", [linear(g, y, 6, 8)]), 8, 6)
    return g.model(linear(g, g.node("Add", [x, g.node("Mul", [ga, y])]), 6, 5))


@module("~6: b0.0 w0.0 w1.1")
def pixelnorm() -> onnx.ModelProto:
    """Every pixel is brought to length 1."""
    g = Builder()
    x = conv_relu(g, g.input(3, 6, 6), 3, 6)
    v = g.reduce("ReduceMean", g.node("Mul", [x, x]), [1])
    x = g.node("Div", [x, g.node("Sqrt", [g.node("Add", [v, g.weight(np.float32(1e-3), "e")])])])
    return g.model(g.conv(x, 6, 5))


@module("8: raw0.0 w2.1", "~6: b0.0 b1.0 raw0.1 w0.0 w1.0")
def stylegan_modulated_conv() -> onnx.ModelProto:
    """Weights times a style, then brought to length 1: outputs are exact, inputs are not."""
    g = Builder(batch=1)
    x = conv_relu(g, g.input(3, 6, 6), 3, 6)
    s = g.reshape(g.gemm(g.input(5, name="c"), 5, 6), [1, 6, 1, 1])
    w = g.node("Mul", [g.normal(8, 6, 3, 3, stem="raw"), s])
    d = g.reduce("ReduceSumSquare", w, [1, 2, 3])
    d = g.node("Sqrt", [g.node("Add", [d, g.weight(np.float32(1e-3), "e")])])
    w = g.node("Div", [w, d])
    x = g.node("Relu", [g.node("Conv", [x, w], pads=[1] * 4)])
    return g.model(g.conv(x, 8, 5))


@module("6: b0.0 b1.0 b2.0 w0.1 w1.0 w1.1 w2.0 w2.1 w3.0")
def highway() -> onnx.ModelProto:
    """A gate between a layer and what it read."""
    g = Builder()
    x = linear(g, g.input(7), 7, 6)
    t = g.node("Sigmoid", [linear(g, x, 6, 6)])
    h = g.node("Relu", [linear(g, x, 6, 6)])
    one = g.weight(np.float32(1), "one")
    y = g.node("Add", [g.node("Mul", [t, h]), g.node("Mul", [g.node("Sub", [one, t]), x])])
    return g.model(linear(g, y, 6, 5))


@module("6: w0.1", plain=False)
def factorization_machine() -> onnx.ModelProto:
    """Squares of sums less sums of squares."""
    g = Builder()
    x = g.input(9)
    table = g.normal(9, 6)
    sums = g.node("MatMul", [x, table])
    squares = g.node("MatMul", [g.node("Mul", [x, x]), g.node("Mul", [table, table])])
    both = g.node("Sub", [g.node("Mul", [sums, sums]), squares])
    return g.model(g.reduce("ReduceSum", both, [1]))


@module("6: b0.0 b1.0 b2.0 w0.0 w1.0 w2.0", plain=False)
def dlrm_interaction() -> onnx.ModelProto:
    """Dot products of all pairs of embeddings."""
    g = Builder()
    parts = [g.unsqueeze(g.gemm(g.input(5, name=f"x{i}"), 5, 6), [1]) for i in range(3)]
    z = g.node("Concat", parts, axis=1)
    y = g.reshape(g.node("MatMul", [z, g.node("Transpose", [z], perm=[0, 2, 1])]), [-1, 9])
    return g.model(g.gemm(y, 9, 4))


@module(
    "5: b2.0 b4.0 w3.0 w6.0 w7.1",
    "6: b0.0 b1.0 b3.0 w0.0 w1.1 w2.0 w4.1 w5.0",
    "8: w1.0*2 w2.1 w3.1",
    "8: w4.0*2 w5.1 w6.1",
)
def wavenet() -> onnx.ModelProto:
    """Gated, dilated, causal; skips are added up."""
    g = Builder()
    x = g.conv(g.input(3, 12), 3, 6, 1, rank=1)
    skips = []
    for d in (1, 2):
        f = g.node("Conv", [g.pad(x, [0, 0, d, 0, 0, 0]), g.normal(16, 6, 2)], dilations=[d])
        a, b = g.split(f, [8, 8])
        z = g.node("Mul", [g.node("Tanh", [a]), g.node("Sigmoid", [b])])
        x = g.node("Add", [x, g.conv(z, 8, 6, 1, rank=1)])
        skips.append(g.conv(z, 8, 5, 1, rank=1))
    y = g.node("Relu", [g.node("Add", skips)])
    return g.model(g.conv(y, 5, 4, 1, rank=1))


@module(
    "4: b0.0 b3.0 w0.1 w1.1 w3.0 w4.0",
    "4: b1.0*2 b2.0 mean0.0 scale0.0 shift0.0 var0.0 w1.0*2 w2.0 w3.1",
)
def conformer_conv() -> onnx.ModelProto:
    """A gated pointwise layer, then a depthwise one over time."""
    g = Builder()
    x = linear(g, g.input(6, 7), 7, 4)
    y = g.node("Transpose", [x], perm=[0, 2, 1])
    a, b = g.split(g.conv(y, 4, 8, 1, rank=1), [4, 4])
    y = g.node("Mul", [a, g.node("Sigmoid", [b])])
    y = g.batch_norm(g.conv(y, 4, 4, 3, group=4, rank=1), 4)
    y = g.conv(g.node("Mul", [y, g.node("Sigmoid", [y])]), 4, 4, 1, rank=1)
    x = g.node("Add", [x, g.node("Transpose", [y], perm=[0, 2, 1])])
    return g.model(linear(g, x, 4, 5))


@module("6: b0.0 w0.0 w1.1*2")
def stats_pool() -> onnx.ModelProto:
    """X-vectors: mean and deviation over time, side by side."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 12), 3, 6, 3, rank=1)])
    mu = g.reduce("ReduceMean", x, [2])
    d = g.node("Sub", [x, mu])
    s = g.node("Sqrt", [g.reduce("ReduceMean", g.node("Mul", [d, d]), [2])])
    y = g.node("Flatten", [g.node("Concat", [mu, s], axis=1)])
    return g.model(g.gemm(y, 12, 5))


@module("4: b1.0 w1.0 w2.1", "6: b0.0 b2.0 w0.0 w1.1 w2.0 w3.1")
def attentive_pool() -> onnx.ModelProto:
    """A softmax over time for every channel."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 12), 3, 6, 3, rank=1)])
    a = g.node(
        "Softmax", [g.conv(g.node("Tanh", [g.conv(x, 6, 4, 1, rank=1)]), 4, 6, 1, rank=1)], axis=2
    )
    y = g.reduce("ReduceSum", g.node("Mul", [x, a]), [2], keepdims=0)
    return g.model(g.gemm(y, 6, 5))


@module("6: b0.0 w0.0 w1.0*4")
def patch_merging() -> onnx.ModelProto:
    """Swin: four strided slices, channels last."""
    g = Builder()
    x = g.node("Transpose", [g.conv(g.input(3, 4, 4), 3, 6)], perm=[0, 2, 3, 1])
    parts = [
        g.slice(g.slice(x, i, 4, axis=1, step=2), j, 4, axis=2, step=2)
        for j in (0, 1)
        for i in (0, 1)
    ]
    y = g.node("Concat", parts, axis=3)
    return g.model(linear(g, y, 24, 5))


@module("6: b0.0 w0.0 w1.1*4")
def focus_yolo() -> onnx.ModelProto:
    """The same with channels first."""
    g = Builder()
    x = g.conv(g.input(3, 4, 4), 3, 6)
    parts = [
        g.slice(g.slice(x, i, 4, axis=2, step=2), j, 4, axis=3, step=2)
        for j in (0, 1)
        for i in (0, 1)
    ]
    return g.model(g.conv(g.node("Concat", parts, axis=1), 24, 5))


def _mean_over_bins(bins: np.ndarray) -> onnx.ModelProto:
    g = Builder()
    x = conv_relu(g, g.input(3, 4, 4), 3, 6)
    x = g.reshape(g.conv(x, 6, 4 * 8, 1), [-1, 4, 8, 16])
    x = g.node("Softmax", [g.node("Transpose", [x], perm=[0, 2, 1, 3])], axis=1)
    y = g.node("Conv", [x, g.weight(bins.astype(np.float32).reshape(1, 8, 1, 1), "bins")])
    return g.model(g.reshape(y, [-1, 4, 16]))


@module("6: b0.0 w0.0 w1.1", "~8: b1.0*4 bins0.1 w1.0*4")
def soft_argmax() -> onnx.ModelProto:
    """The mean of a distribution over values that were learnt; its softmax is not exact."""
    return _mean_over_bins(np.random.default_rng(0).standard_normal(8))


@module("6: b0.0 w0.0 w1.1")
def soft_argmax_dfl() -> onnx.ModelProto:
    """YOLOv8: the mean of a distribution over places; a bin is its place, so all stay."""
    return _mean_over_bins(np.arange(8))


@pytest.mark.parametrize("name", MODULES)
def test_the_module_has_its_groups(name):
    MODULES.check(name)
