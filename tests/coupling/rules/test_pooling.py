"""Pools pass channels; indices and windows over channels keep them."""

import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, initializer, node_of


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("opset", [9, 13, 18, 22])
def test_windows_over_pixels(op, opset):
    g = Builder(opset)
    x = g.conv(g.input(3, 6, 6), 3, 8)
    x = g.node(op, [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    proto = g.model(g.conv(x, 8, 5))
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


def _unpooled(batch: int | str, *, sizes: list[int] | None = None):
    """SegNet: a pool's indices are used where its map is made large again."""
    g = Builder(13, batch=batch)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    pooled, places = g.node("MaxPool", [x], 2, kernel_shape=[2, 2], strides=[2, 2])
    y = g.conv(g.node("Relu", [pooled]), 8, 8)
    inputs = [y, places] + ([g.ints(sizes)] if sizes else [])
    z = g.node("MaxUnpool", inputs, kernel_shape=[2, 2], strides=[2, 2])
    return g, z, places


@pytest.mark.parametrize(("batch", "sizes"), [("N", None), (2, None), (2, [2, 8, 4, 4])])
def test_what_a_pool_is_undone_with(batch, sizes):
    g, z, _ = _unpooled(batch, sizes=sizes)
    proto = g.model(g.conv(z, 8, 5))
    assert described(proto) == ["8: b0.0 b1.0 w0.0 w1.0 w1.1 w2.1"]
    pruned = prove(proto)
    if sizes:
        left = initializer(pruned, node_of(pruned, "MaxUnpool").input[2])
        assert left.tolist() == [2, 4, *sizes[2:]]


def test_maps_of_another_size_keep_the_channels():
    """The indices then run on from one channel into the next."""
    g, z, _ = _unpooled(2, sizes=[2, 8, 5, 6])
    proto = g.model(g.conv(z, 8, 5))
    assert described(proto) == []
    assert "count over the channels" in kept(proto)["w0.0"]


def test_indices_that_something_else_reads_keep_the_channels():
    g, z, places = _unpooled(2)
    count = g.node("Cast", [places], to=1)
    proto = g.model(g.conv(z, 8, 5), g.node("ReduceMax", [count], keepdims=0))
    assert described(proto) == []
    assert "count over the channels" in kept(proto)["w0.0"]
