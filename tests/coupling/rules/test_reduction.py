"""Reductions: exact over other axes, not exact over the channels, but for sums of zeros."""

from __future__ import annotations

import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder

OPS = ("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
       "ReduceProd", "ReduceSum", "ReduceSumSquare")  # fmt: skip


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("opset", [11, 13, 18])
def test_over_space_the_channels_pass(op, opset):
    g = Builder(opset)
    x = g.reduce(op, g.conv(g.input(3, 3, 3), 3, 6), [2, 3], keepdims=0)
    proto = g.model(g.gemm(x, 6, 4))
    assert described(proto) == ["6: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("op", OPS)
def test_over_channels_only_a_sum_of_zeros_is_exact(op):
    g = Builder(18)
    x = g.conv(g.input(3, 3, 3), 3, 6)
    proto = g.model(g.reduce(op, x, [1]))
    exact = op in ("ReduceL1", "ReduceL2", "ReduceSum", "ReduceSumSquare")
    assert described(proto) == [("" if exact else "~") + "6: b0.0 w0.0"]
    prove(proto, equal=exact, plain=False)


@pytest.mark.parametrize("op", ["Sigmoid", "Exp", "Softplus"])
def test_a_sum_after_what_moves_zero_is_not_exact(op):
    g = Builder(13)
    x = g.node(op, [g.conv(g.input(3, 3, 3), 3, 6)])
    proto = g.model(g.reduce("ReduceSum", x, [1]))
    assert described(proto) == ["~6: b0.0 w0.0"]


def test_a_sum_after_a_batch_norm_is_not_exact():
    g = Builder(13)
    x = g.batch_norm(g.conv(g.input(3, 3, 3), 3, 6, bias=False), 6)
    proto = g.model(g.reduce("ReduceSum", x, [1]))
    (line,) = described(proto)
    assert line.startswith("~6:")


def test_all_axes():
    g = Builder(13)
    x = g.conv(g.input(3, 3, 3), 3, 6)
    proto = g.model(g.node("ReduceSum", [x], keepdims=0))
    assert described(proto) == ["6: b0.0 w0.0"]
    prove(proto, plain=False)


def test_computed_axes_keep_what_they_may_reduce():
    g = Builder(18)
    x = g.conv(g.input(3, 3, 3), 3, 6)
    axis = g.node("Cast", [g.reduce("ReduceMax", x, [0, 1, 2, 3], keepdims=0)], to=7)
    axis = g.node("Clip", [axis, g.ints(2), g.ints(3)])
    proto = g.model(g.node("ReduceSum", [x, g.unsqueeze(axis, [0])], keepdims=1))
    assert described(proto) == []
    assert "computed while the model runs" in kept(proto)["w0.0"]


@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMean", "ReduceLogSumExp"])
def test_some_channel_is_left_of_those_that_are_reduced(op):
    """Two of eight channels make a mask; nothing else tells them from the others."""
    g = Builder(13)
    x = g.node("Relu", [g.conv(g.input(3, 4, 4), 3, 8)])
    mask = g.reduce(op, g.slice(x, 0, 2), [1])
    proto = g.model(g.conv(g.node("Mul", [x, mask]), 8, 5))
    assert described(proto) == ["6: b0.0 w0.0 w1.1", "~2: b0.0 w0.0 w1.1"]
    prove(proto, equal=False, plain=False, ratio=0.7)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_pools_over_pixels(op, rank):
    g = Builder()
    x = g.node(op, [g.conv(g.input(*[3, *[4] * rank]), 3, 8, rank=rank)])
    proto = g.model(g.gemm(g.node("Flatten", [x]), 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
def test_a_global_pool_over_former_channels_is_a_reduction(op):
    """As tf2onnx writes a layer norm's mean: x (N, T, C) is made (N, T, 1, C) first."""
    exact = op == "GlobalLpPool"
    g = Builder(15)
    x = g.node("MatMul", [g.input(4, 7), g.normal(7, 6)])
    pooled = g.node(op, [g.unsqueeze(x, [2])])
    x = g.node("Sub", [x, g.squeeze(pooled, [2])])
    proto = g.model(g.node("MatMul", [x, g.normal(6, 5)]))
    assert described(proto) == [("" if exact else "~") + "6: w0.1 w1.0"]
    prove(proto, equal=exact, plain=False)
