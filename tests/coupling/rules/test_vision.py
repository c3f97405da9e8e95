"""Operators that sample or place pixels: channels pass, what says where stays whole."""

from __future__ import annotations

import numpy as np
import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, initializer, node_of

PASSED = ["8: b0.0 w0.0 w1.1"]


@pytest.mark.parametrize(("opset", "mode"), [(16, "bilinear"), (20, "linear"), (22, "nearest")])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_pixels_by_a_grid_pass_channels(opset, mode, padding):
    g = Builder(opset, batch=2)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    grid = g.weight(g.rng.uniform(-1.2, 1.2, (2, 5, 3, 2)).astype(np.float32), "k")
    x = g.node("GridSample", [x, grid], mode=mode, padding_mode=padding)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == PASSED
    prove(proto)


def test_a_computed_grid_stays_whole():
    """A spatial transformer: the channels that the grid is made of are coordinates."""
    g = Builder(17)
    source = g.input(3, 4, 4)
    x = g.conv(source, 3, 8)
    grid = g.node("Transpose", [g.node("Tanh", [g.conv(x, 8, 2)])], perm=[0, 2, 3, 1])
    proto = g.model(g.conv(g.node("GridSample", [x, grid]), 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1 w2.1"]
    assert "where pixels are taken from" in kept(proto)["w1.0"]
    prove(proto, plain=False)


def test_a_sum_of_sampled_zeros_is_exact():
    g = Builder(16, batch=2)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    grid = g.weight(g.rng.uniform(-1, 1, (2, 5, 3, 2)).astype(np.float32), "k")
    x = g.reduce("ReduceSum", g.node("GridSample", [x, grid]), [1])
    proto = g.model(x)
    assert described(proto) == ["8: b0.0 w0.0"]
    prove(proto, plain=False)


@pytest.mark.parametrize("batch", [2, "N"])
def test_an_affine_grid(batch):
    """theta comes from a branch of its own, whose hidden channels may go."""
    g = Builder(20, batch=batch)
    source = g.input(3, 4, 4)
    x = g.conv(source, 3, 8)
    pooled = g.node("Flatten", [g.node("GlobalAveragePool", [source])])
    theta = g.gemm(g.node("Relu", [g.gemm(pooled, 3, 7)]), 7, 6)
    size = g.node("Shape", [source]) if batch == "N" else g.ints([2, 3, 4, 4])
    grid = g.node("AffineGrid", [g.reshape(theta, [-1, 2, 3]), size])
    proto = g.model(g.conv(g.node("GridSample", [x, grid]), 8, 5))
    assert described(proto) == ["7: b1.0 w1.0 w2.1", "8: b0.0 w0.0 w3.1"]
    prove(proto, plain=False)


@pytest.mark.parametrize("opset", [10, 16])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_regions_pass_channels(opset, mode):
    g = Builder(opset, batch=2)
    x = g.conv(g.input(3, 8, 8), 3, 8)
    boxes = g.weight(
        np.array([[0, 0, 3, 3], [1, 2, 6, 7], [2, 0, 7, 5]], np.float32), "k", "constant"
    )
    x = g.node(
        "RoiAlign", [x, boxes, g.ints([0, 1, 1])], output_height=3, output_width=3, mode=mode
    )
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == PASSED
    prove(proto)


def test_regions_that_are_computed_stay_whole():
    g = Builder(16, batch=2)
    source = g.input(3, 8, 8)
    x = g.conv(source, 3, 8)
    pooled = g.node("Flatten", [g.node("GlobalAveragePool", [source])])
    boxes = g.gemm(g.node("Relu", [g.gemm(pooled, 3, 6)]), 6, 4)
    x = g.node("RoiAlign", [x, boxes, g.ints([0, 1])], output_height=2, output_width=2)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["6: b1.0 w1.0 w2.1", "8: b0.0 w0.0 w3.1"]
    assert "where pixels are taken from" in kept(proto)["w2.0"]
    prove(proto, plain=False)


def test_pooled_regions_pass_channels():
    g = Builder(12, batch=2)
    x = g.conv(g.input(3, 8, 8), 3, 8)
    boxes = g.weight(np.array([[0, 0, 0, 3, 3], [1, 1, 2, 6, 7]], np.float32), "k", "constant")
    x = g.node("MaxRoiPool", [x, boxes], pooled_shape=[2, 2])
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == PASSED
    prove(proto)


@pytest.mark.parametrize("block", [[2, 2], [3, 1]])
def test_columns_to_an_image_take_whole_blocks(block):
    g = Builder(18)
    wide = 4 * block[0] * block[1]
    length = (4 - block[0] + 1) * (4 - block[1] + 1)
    x = g.reshape(g.conv(g.input(3, 3, length), 3, wide, k=1), [0, wide, 3 * length])
    x = g.slice(x, 0, length, axis=2)
    x = g.node("Col2Im", [x, g.ints([4, 4]), g.ints(block)])
    proto = g.model(g.conv(x, 4, 5))
    times = wide // 4
    assert described(proto) == [f"4: b0.0*{times} w0.0*{times} w1.1"]
    prove(proto)


@pytest.mark.parametrize(
    ("axes", "sizes"), [([2, 3], [6, 2]), ([-1], [5]), ([1, 2], [8, 3]), (None, [2, 8, 3, 6])]
)
def test_a_crop_or_pad_of_pixels_passes_channels(axes, sizes):
    g = Builder(18, batch=2)
    x = g.node("CenterCropPad", [g.conv(g.input(3, 4, 4), 3, 8), g.ints(sizes)], axes=axes)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == PASSED
    pruned = prove(proto)
    left = initializer(pruned, node_of(pruned, "CenterCropPad").input[1])
    assert left.tolist() == [4 if size == 8 else size for size in sizes]


@pytest.mark.parametrize("size", [6, 11])
def test_a_crop_or_pad_of_channels_keeps_them(size):
    g = Builder(18)
    x = g.node("CenterCropPad", [g.conv(g.input(3, 4, 4), 3, 8), g.ints([size])], axes=[1])
    proto = g.model(g.conv(x, size, 5))
    assert described(proto) == []
    assert "at its middle" in kept(proto)["w0.0"]
