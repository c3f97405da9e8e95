"""Networks of points, graphs, sequences and pairs: activations multiply activations."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import spa
from tests.coupling.cases import described
from tests.coupling.modules import Modules, conv_relu, linear
from tests.graphs import Builder
from tests.oracles import assert_equals_zeroed

MODULES = Modules()
module = MODULES.expect


@module("6: w0.0 w1.1", "8: w1.0 w2.1")
def siamese_difference() -> onnx.ModelProto:
    """Two branches, one set of weights."""
    g = Builder()
    a, b = g.input(3, 5, 5, name="a"), g.input(3, 5, 5, name="bb")
    w, v = g.normal(6, 3, 3, 3), g.normal(8, 6, 3, 3)
    feats = []
    for x in (a, b):
        x = g.node("Relu", [g.node("Conv", [x, w], pads=[1] * 4)])
        x = g.node("Relu", [g.node("Conv", [x, v], pads=[1] * 4)])
        feats.append(g.node("Flatten", [g.node("GlobalAveragePool", [x])]))
    d = g.node("Abs", [g.node("Sub", feats)])
    return g.model(g.gemm(d, 8, 1))


@module("6: w0.0 w1.1", "8: w1.0", plain=False)
def siamese_dot() -> onnx.ModelProto:
    """A dot product of embeddings: exact, they are zero."""
    g = Builder()
    a, b = g.input(3, 5, 5, name="a"), g.input(3, 5, 5, name="bb")
    w, v = g.normal(6, 3, 3, 3), g.normal(8, 6)
    feats = []
    for x in (a, b):
        x = g.node("Relu", [g.node("Conv", [x, w], pads=[1] * 4)])
        x = g.node("Flatten", [g.node("GlobalAveragePool", [x])])
        feats.append(g.node("Gemm", [x, v], transB=1))
    d = g.reduce("ReduceSum", g.node("Mul", feats), [1])
    return g.model(d)


@module("8: w0.1", plain=False)
def siamese_cosine() -> onnx.ModelProto:
    """Norms of vectors that are zero where they go."""
    g = Builder()
    a, b = g.input(7, name="a"), g.input(7, name="bb")
    v = g.normal(7, 8)
    feats = []
    for x in (a, b):
        y = g.node("Relu", [g.node("MatMul", [x, v])])
        n = g.node("Max", [g.reduce("ReduceL2", y, [1]), g.weight(np.float32(1e-3), "eps")])
        feats.append(g.node("Div", [y, n]))
    return g.model(g.reduce("ReduceSum", g.node("Mul", feats), [1]))


@module("8: w0.1 w1.1", plain=False)
def clip_logits() -> onnx.ModelProto:
    """CLIP: two towers' embeddings, contracted over their shared width."""
    g = Builder()
    a, b = g.input(7, name="a"), g.input(9, name="bb")
    u, v = g.node("MatMul", [a, g.normal(7, 8)]), g.node("MatMul", [b, g.normal(9, 8)])
    return g.model(g.node("MatMul", [u, g.node("Transpose", [v], perm=[1, 0])]))


@module("6: b0.0 w0.0 w1.0*3", "8: b1.0 w1.1 w2.0")
def crnn() -> onnx.ModelProto:
    """CRNN: (N, C, H, W) becomes a sequence over W of C x H features."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(1, 3, 5), 1, 6)])
    x = g.node("Transpose", [x], perm=[3, 0, 1, 2])
    x = g.reshape(x, [5, -1, 18])
    return g.model(linear(g, g.node("Relu", [linear(g, x, 18, 8)]), 8, 5))


@module(
    "4: b0.0 b3.0*4 eye0.0*4 w0.0 w1.1 w3.0*4",
    "6: b2.0 w2.0 w3.1",
    "6: b4.0 w4.0 w5.1",
    "8: b1.0 w1.0 w2.1",
    plain=False,
)
def tnet() -> onnx.ModelProto:
    """PointNet's T-Net: a (d, d) map made from the features multiplies them."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 9), 3, 4, 1, rank=1)])  # N,4,P
    t = g.reduce("ReduceMax", g.node("Relu", [g.conv(x, 4, 8, 1, rank=1)]), [2], keepdims=0)
    t = g.gemm(g.node("Relu", [g.gemm(t, 8, 6)]), 6, 16)
    t = g.reshape(
        g.node("Add", [t, g.weight(np.eye(4, dtype=np.float32).reshape(-1), "eye")]), [-1, 4, 4]
    )
    x = g.node("Transpose", [x], perm=[0, 2, 1])
    x = g.node("Transpose", [g.node("MatMul", [x, t])], perm=[0, 2, 1])
    x = g.node("Relu", [g.conv(x, 4, 6, 1, rank=1)])
    x = g.reduce("ReduceMax", x, [2], keepdims=0)
    return g.model(g.gemm(x, 6, 5))


@module("6: b0.0 w0.1 w1.0")
def gcn_constant() -> onnx.ModelProto:
    """A X W with the graph in the file."""
    g = Builder()
    adj = g.weight((np.random.default_rng(0).random((5, 5)) < 0.5).astype(np.float32) / 3, "A")
    x = g.input(5, 7)
    x = g.node("Relu", [g.node("MatMul", [adj, linear(g, x, 7, 6)])])
    x = g.node("MatMul", [adj, linear(g, x, 6, 4)])
    return g.model(x)


@module("6: b0.0 w0.1 w1.0")
def gcn_input() -> onnx.ModelProto:
    """The graph is an input."""
    g = Builder(batch=5)
    adj = g.input(5, name="A")
    x = g.input(7)
    x = g.node("Relu", [g.node("MatMul", [adj, linear(g, x, 7, 6)])])
    return g.model(g.node("MatMul", [adj, linear(g, x, 6, 4)]))


@module("2: adst0.1 asrc0.1 w0.1*3 w1.0*3")
def gat() -> onnx.ModelProto:
    """Scores of pairs from sums of two; heads go."""
    g = Builder(batch=5)
    heads, d = 2, 3
    adj = g.input(5, name="A")
    x = g.reshape(g.node("MatMul", [g.input(7), g.normal(7, heads * d)]), [5, heads, d])
    src = g.reduce(
        "ReduceSum", g.node("Mul", [x, g.normal(1, heads, d, stem="asrc")]), [2], keepdims=0
    )
    dst = g.reduce(
        "ReduceSum", g.node("Mul", [x, g.normal(1, heads, d, stem="adst")]), [2], keepdims=0
    )
    e = g.node("Add", [g.unsqueeze(src, [1]), g.unsqueeze(dst, [0])])  # 5,5,heads
    e = g.node("LeakyRelu", [e])
    e = g.node(
        "Where",
        [
            g.node("Greater", [g.unsqueeze(adj, [2]), g.weight(np.float32(0), "z")]),
            e,
            g.weight(np.float32(-9), "low"),
        ],
    )
    a = g.node("Softmax", [e], axis=1)
    y = g.node("Einsum", [a, x], equation="ijh,jhd->ihd")
    y = g.node("Elu", [g.reshape(y, [5, heads * d])])
    return g.model(linear(g, y, heads * d, 4))


@module("4: b0.0 w0.0 w1.1*2", "6: b1.0 w1.0 w2.1")
def edgeconv() -> onnx.ModelProto:
    """DGCNN: concat (x_j - x_i, x_i)."""
    g = Builder(batch=1)
    x = g.node("Relu", [g.conv(g.input(3, 9), 3, 4, 1, rank=1)])  # 1,4,9
    xt = g.node("Transpose", [x], perm=[0, 2, 1])
    idx = g.ints(np.random.default_rng(0).integers(0, 9, (9, 3)))
    nb = g.node("Gather", [xt, idx], axis=1)  # 1,9,3,4
    c = g.node("Expand", [g.unsqueeze(xt, [2]), g.ints([1, 9, 3, 4])])
    e = g.node("Concat", [g.node("Sub", [nb, c]), c], axis=3)
    e = g.node("Transpose", [e], perm=[0, 3, 1, 2])
    e = g.reduce("ReduceMax", conv_relu(g, e, 8, 6, 1), [3], keepdims=0)
    return g.model(g.conv(e, 6, 5, 1, rank=1))


@module("6: w0.1 w1.1")
def deep_set() -> onnx.ModelProto:
    """A sum over the set."""
    g = Builder()
    x = g.node("Relu", [g.node("MatMul", [g.input(9, 3), g.normal(3, 6)])])
    s = g.reduce("ReduceSum", x, [1], keepdims=0)
    return g.model(g.gemm(s, 6, 5))


@module(
    "3: b1.0 b2.0 w1.0 w2.0",
    "3: b3.0 w3.0 w4.1",
    "6: b0.0 b4.0 w0.0 w1.1 w2.1 w3.1 w4.0 w5.1",
    plain=False,
)
def non_local() -> onnx.ModelProto:
    """Attention over pixels in a bottleneck."""
    g = Builder()
    x = conv_relu(g, g.input(3, 4, 4), 3, 6)
    q, k, v = (g.reshape(g.conv(x, 6, 3, 1), [-1, 3, 16]) for _ in range(3))
    a = g.node(
        "Softmax", [g.node("MatMul", [g.node("Transpose", [q], perm=[0, 2, 1]), k])], axis=-1
    )
    y = g.node("MatMul", [a, g.node("Transpose", [v], perm=[0, 2, 1])])
    y = g.reshape(g.node("Transpose", [y], perm=[0, 2, 1]), [-1, 3, 4, 4])
    return g.model(g.conv(g.node("Add", [x, g.conv(y, 3, 6, 1)]), 6, 5, 1))


@module("~6: b0.0 w0.0 w1.1")
def danet_channel() -> onnx.ModelProto:
    """DANet: attention among channels, (C, C) over pixels: not exact."""
    g = Builder()
    x = conv_relu(g, g.input(3, 4, 4), 3, 6)
    f = g.reshape(x, [-1, 6, 16])
    e = g.node("MatMul", [f, g.node("Transpose", [f], perm=[0, 2, 1])])
    e = g.node("Sub", [g.reduce("ReduceMax", e, [-1]), e])
    y = g.reshape(g.node("MatMul", [g.node("Softmax", [e], axis=-1), f]), [-1, 6, 4, 4])
    return g.model(
        g.conv(g.node("Add", [g.node("Mul", [y, g.weight(np.float32(0.3), "beta")]), x]), 6, 5, 1)
    )


@module("4: b0.0 centers0.1 w0.0 w1.1 w2.1*3")
def netvlad() -> onnx.ModelProto:
    """Residuals to centres, assigned softly."""
    g = Builder()
    x = conv_relu(g, g.input(3, 4, 4), 3, 4)
    a = g.reshape(g.node("Softmax", [g.conv(x, 4, 3, 1)], axis=1), [-1, 3, 16])
    f = g.node("Transpose", [g.reshape(x, [-1, 4, 16])], perm=[0, 2, 1])
    v = g.node("MatMul", [a, f])  # N,3,4
    v = g.node(
        "Sub", [v, g.node("Mul", [g.reduce("ReduceSum", a, [2]), g.normal(3, 4, stem="centers")])]
    )
    return g.model(g.gemm(g.reshape(v, [-1, 12]), 12, 5))


@pytest.mark.parametrize("name", MODULES)
def test_the_module_has_its_groups(name):
    MODULES.check(name)


@pytest.mark.parametrize("packed", [False, True])
def test_a_latent_that_is_drawn(packed):
    """A variational autoencoder draws noise of the latent's shape, so its outputs vary.

    With an operator of the same shape in place of the noise, they can be compared.
    """
    g = Builder()
    x = g.node("Relu", [g.gemm(g.input(7), 7, 10)])
    if packed:
        mean, log = g.split(g.gemm(x, 10, 12), [6, 6])
    else:
        mean, log = g.gemm(x, 10, 6), g.gemm(x, 10, 6)
    deviation = g.node("Exp", [g.node("Mul", [log, g.weight(np.float32(0.5), "half")])])
    noise = g.node("RandomNormalLike", [deviation])
    z = g.node("Add", [mean, g.node("Mul", [deviation, noise])])
    proto = g.model(g.gemm(g.node("Relu", [g.gemm(z, 6, 8)]), 8, 5))
    latent = "6: b1.0*2 w1.0*2 w2.1" if packed else "6: b1.0 b2.0 w1.0 w2.0 w3.1"
    assert latent in described(proto)
    result = spa.prune(proto, ratio=0.5, limits=spa.Limits(scope="local"))
    assert_equals_zeroed(_still(proto), _still(result.model), result.plan.to_json())


def _still(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Softplus in place of noise."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for node in result.graph.node:
        if node.op_type == "RandomNormalLike":
            node.op_type = "Softplus"
    return result
