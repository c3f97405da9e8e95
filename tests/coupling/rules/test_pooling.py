"""Pools pass channels; indices and windows over channels keep them."""

import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("opset", [9, 13, 18, 22])
def test_windows_over_pixels(op, opset):
    g = Builder(opset)
    x = g.conv(g.input(3, 6, 6), 3, 8)
    x = g.node(op, [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_global_pools(op, rank):
    g = Builder()
    x = g.node(op, [g.conv(g.input(*[3, *[4] * rank]), 3, 8, rank=rank)])
    proto = g.model(g.gemm(g.node("Flatten", [x]), 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_the_indices_of_max_pool_keep_the_channels():
    g = Builder()
    x, indices = g.node("MaxPool", [g.conv(g.input(3, 4, 4), 3, 8)], 2, kernel_shape=[2, 2])
    x = g.node("Add", [x, g.node("Cast", [indices], to=1)])
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == []
    assert "indices of MaxPool" in kept(proto)["w0.0"]


def test_a_window_over_former_channels_keeps_them():
    g = Builder()
    x = g.node("Transpose", [g.conv(g.input(3, 6, 6), 3, 8)], perm=[0, 2, 1, 3])
    x = g.node("MaxPool", [x], kernel_shape=[2, 2])
    proto = g.model(g.conv(x, 6, 5))
    assert described(proto) == []
    assert "a window reaches over this axis" in kept(proto)["w0.0"]
