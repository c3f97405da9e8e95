"""Operators of com.microsoft that ONNX Runtime's fusions leave in files."""

import numpy as np
import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder

MICROSOFT = "com.microsoft"


def mlp(make):
    """(B, T, 7) -> 8 -> what is made -> 6."""
    g = Builder()
    x = g.node("MatMul", [g.input(5, 7), g.normal(7, 8, stem="up")])
    return g.model(g.node("MatMul", [make(g, x), g.normal(8, 6, stem="down")]))


@pytest.mark.parametrize("op", ["Gelu", "QuickGelu", "FastGelu"])
def test_an_activation(op):
    proto = mlp(lambda g, x: g.node(op, [x], domain=MICROSOFT))
    assert described(proto) == ["8: down0.0 up0.1"]
    prove(proto)


@pytest.mark.parametrize("op", ["BiasGelu", "FastGelu"])
def test_an_activation_with_a_bias(op):
    proto = mlp(lambda g, x: g.node(op, [x, g.normal(8, stem="b")], domain=MICROSOFT))
    assert described(proto) == ["8: b0.0 down0.0 up0.1"]
    prove(proto)


@pytest.mark.parametrize("op", ["Gelu", "QuickGelu"])
def test_an_activation_keeps_zero(op):
    def make(bias):
        g = Builder()
        x = g.node("MatMul", [g.input(5, 7), g.normal(7, 8, stem="up")])
        if bias:
            x = g.node("BiasGelu", [x, g.normal(8, stem="b")], domain=MICROSOFT)
        return g.model(g.reduce("ReduceSum", g.node(op, [x], domain=MICROSOFT), [2]))

    assert described(make(bias=False)) == ["8: up0.1"]
    assert described(make(bias=True)) == ["~8: b0.0 up0.1"]
    prove(make(bias=False), plain=False)


@pytest.mark.parametrize("simple", [True, False])
@pytest.mark.parametrize("summed", [True, False])
def test_a_residual_sum_and_its_norm(simple, summed):
    """The width is prunable, but a norm over it is not exact; the MLP's own width is."""
    g = Builder()
    op = "SkipSimplifiedLayerNormalization" if simple else "SkipLayerNormalization"
    x = g.node("MatMul", [g.input(5, 7), g.normal(7, 8, stem="in")])
    y = g.node("Relu", [g.node("MatMul", [x, g.normal(8, 12, stem="up")])])
    y = g.node("MatMul", [y, g.normal(12, 8, stem="down")])
    vectors = [g.normal(8, stem=stem) for stem in ("gamma", "bias" if simple else "beta")]
    vectors += [] if simple else [g.normal(8, stem="bias")]
    outputs = ["normed", "", "", "sum"] if summed else ["normed"]
    g.node(op, [x, y, *vectors], outputs, domain=MICROSOFT)
    z = g.node("Add", ["normed", "sum"]) if summed else "normed"
    proto = g.model(g.node("MatMul", [z, g.normal(8, 6, stem="out")]))
    names = "bias0.0 down0.1 gamma0.0 in0.1 out0.0 up0.0"
    width = names if simple else names.replace("bias0.0 ", "beta0.0 bias0.0 ")
    assert described(proto) == ["12: down0.0 up0.1", f"~8: {width}"]
    prove(proto, equal=False)


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("right", [0, 1])
def test_a_matrix_product_of_transposed_operands(left, right):
    g = Builder()
    x = g.node("Relu", [g.node("MatMul", [g.input(5, 7), g.normal(7, 8, stem="in")])])
    x = g.node("Transpose", [x], perm=[0, 2, 1]) if left else x
    w = g.normal(6, 8) if right else g.normal(8, 6)
    y = g.node("FusedMatMul", [x, w], domain=MICROSOFT, transA=left, transB=right, alpha=0.5)
    proto = g.model(g.node("MatMul", [y, g.normal(6, 4, stem="out")]))
    assert described(proto) == [f"6: out0.0 w0.{1 - right}", f"8: in0.1 w0.{right}"]
    prove(proto)


@pytest.mark.parametrize("attention", ["heads", "head_dim"])
def test_attention_of_fused_products(attention):
    heads, dim, tokens = 4, 3, 5
    g = Builder()
    x = g.input(tokens, 7)
    q, k, v = (
        g.node("Transpose", [g.reshape(g.node("MatMul", [x, g.normal(7, heads * dim, stem=s)]),
                                       [0, tokens, heads, dim])], perm=[0, 2, 1, 3])
        for s in ("q", "key", "v")
    )  # fmt: skip
    scores = g.node("FusedMatMul", [q, k], domain=MICROSOFT, transB=1, alpha=float(dim**-0.5))
    y = g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v])
    y = g.reshape(g.node("Transpose", [y], perm=[0, 2, 1, 3]), [0, tokens, -1])
    proto = g.model(g.node("MatMul", [y, g.normal(heads * dim, 6, stem="out")]))
    assert described(proto) == ["4: key0.1*3 out0.0*3 q0.1*3 v0.1*3"]
    assert described(proto, "head_dim") == ["3: key0.1*4 q0.1*4", "3: out0.0*4 v0.1*4"]
    prove(proto, attention=attention)


def test_a_moved_batch_axis_is_kept():
    g = Builder(batch=2)
    x = g.node("Relu", [g.node("MatMul", [g.input(5, 7), g.normal(7, 8, stem="in")])])
    w = g.weight(np.random.default_rng(0).standard_normal((8, 2, 6)).astype(np.float32))
    y = g.node("FusedMatMul", [x, w], domain=MICROSOFT, transBatchB=1)
    proto = g.model(g.node("MatMul", [y, g.normal(6, 4, stem="out")]))
    assert described(proto) == []
    assert "moves the batch axis" in kept(proto)["in0.1"]
