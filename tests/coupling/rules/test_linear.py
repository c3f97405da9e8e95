"""Gemm and MatMul: transposes, biases, ranks, weights on either side."""

import numpy as np
import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, from_text, initializer


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 22])
@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("bias", [False, True])
def test_a_perceptron(opset, trans, bias):
    g = Builder(opset)
    x = g.node("Relu", [g.gemm(g.input(7), 7, 8, trans=trans, bias=bias)])
    proto = g.model(g.gemm(x, 8, 5, trans=trans, bias=bias))
    b = " b0.0" if bias or opset < 11 else ""
    assert described(proto) == [f"8:{b} w0.{1 - trans} w1.{trans}"]
    pruned = prove(proto)
    assert initializer(pruned, "w0").shape == ((4, 7) if trans else (7, 4))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (8,), (1, 8)])
def test_every_shape_of_gemm_s_third_operand(shape):
    text = """g (float[N,7] x) => (float[N,5] y) {
      a = Gemm<alpha=0.5, beta=2.0>(x, A, c)
      r = Sigmoid(a)
      y = Gemm(r, B)
    }"""
    value = np.full(shape, 0.3, np.float32)
    proto = from_text(text, {"A": (7, 8), "B": (8, 5), "c": value})
    member = f" c.{len(shape) - 1}" if 8 in shape else ""
    assert described(proto) == [f"8: A.1 B.0{member}"]
    prove(proto)


@pytest.mark.parametrize("rank", [2, 3, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_matmul_over_any_rank(rank, bias):
    g = Builder()
    x = g.input(*[4, 3, 2][: rank - 2], 7)
    x = g.node("MatMul", [x, g.normal(7, 8)])
    if bias:
        x = g.node("Add", [x, g.normal(8, stem="b")])
    proto = g.model(g.node("MatMul", [g.node("Sigmoid", [x]), g.normal(8, 5)]))
    assert described(proto) == [f"8:{' b0.0' if bias else ''} w0.1 w1.0"]
    prove(proto)


def test_a_weight_on_the_left():
    g = Builder()
    x = g.node("MatMul", [g.normal(8, 6), g.input(6, 4)])
    proto = g.model(g.node("MatMul", [g.normal(5, 8), g.node("Tanh", [x])]))
    assert described(proto) == ["8: w0.0 w1.1"]
    prove(proto)


def test_a_vector_as_the_second_weight():
    """MatMul by a vector drops the axis, as in NumPy."""
    g = Builder()
    x = g.node("Relu", [g.node("MatMul", [g.input(4, 7), g.normal(7, 8)])])
    proto = g.model(g.node("MatMul", [x, g.normal(8)]))
    assert described(proto) == ["8: w0.1 w1.0"]
    prove(proto)


def test_a_batched_weight_is_cut_in_all_its_matrices():
    g = Builder()
    x = g.node("Relu", [g.node("MatMul", [g.input(3, 4, 7), g.normal(3, 7, 8)])])
    proto = g.model(g.node("MatMul", [x, g.normal(3, 8, 5)]))
    assert described(proto) == ["8: w0.2 w1.1"]
    assert "w0.0" in kept(proto)
    prove(proto)


def test_the_example_of_the_paper_s_figure():
    """Y = W X: row 1 of W1 goes with column 1 of W2."""
    g = Builder(batch=4)
    x = g.node("MatMul", [g.normal(4, 4), g.input(3)])
    proto = g.model(g.node("MatMul", [g.normal(3, 4), x]))
    assert described(proto) == ["4: w0.0 w1.1"]
    prove(proto)


def test_the_output_and_the_input_are_kept():
    g = Builder()
    proto = g.model(g.gemm(g.input(7), 7, 5))
    assert described(proto) == []
    assert kept(proto)["w0.0"] == "5 of 5: it is an output of the model"
    assert kept(proto)["w0.1"].startswith("7 of 7")


def test_a_low_rank_factor_of_size_1_is_left_alone():
    g = Builder()
    x = g.node("Relu", [g.gemm(g.input(7), 7, 1)])
    proto = g.model(g.gemm(x, 1, 5))
    assert described(proto) == []
