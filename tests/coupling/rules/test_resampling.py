"""Resize and Upsample: space changes its size, channels pass."""

from __future__ import annotations

import numpy as np
import pytest

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, initializer, node_of


@pytest.mark.parametrize("opset", [9, 10, 11, 13, 18, 19])
def test_channels_pass(opset):
    g = Builder(opset)
    x = g.resize(g.conv(g.input(3, 4, 4), 3, 6))
    proto = g.model(g.conv(x, 6, 5))
    assert described(proto) == ["6: b0.0 w0.0 w1.1"]
    prove(proto)


@pytest.mark.parametrize("opset", [11, 13, 19])
def test_target_sizes_name_the_channels_too(opset):
    g = Builder(opset, batch=2)
    x = g.resize(g.conv(g.input(3, 4, 4), 3, 6), sizes=[2, 6, 7, 9])
    pruned = prove(g.model(g.conv(x, 6, 5)))
    assert initializer(pruned, node_of(pruned, "Resize").input[3]).tolist() == [2, 3, 7, 9]


def _computed_sizes(g, x, like):
    """As torch writes ``interpolate(x, size=like.shape[2:])`` with a dynamic batch."""
    batch, space = (g.slice(g.node("Shape", [y]), *ends, axis=0) for y, ends in
                    ((x, (0, 2)), (like, (2, 4))))  # fmt: skip
    return g.node("Concat", [batch, space], axis=0)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("opset", [11, 13, 19])
def test_sizes_of_another_tensor(opset, constant):
    """Channels pass whether the target reads them off the tensor or names them."""
    g = Builder(opset)
    x = g.conv(g.input(3, 8, 8), 3, 6)
    y = g.conv(x, 6, 4, stride=2)
    none = "" if opset >= 13 else g.weight(np.zeros(0, np.float32), "none")
    sizes = _computed_sizes(g, y, x)
    if constant:
        batch, space = g.slice(sizes, 0, 1, axis=0), g.slice(sizes, 2, 4, axis=0)
        sizes = g.node("Concat", [batch, g.ints([4]), space], axis=0)
    y = g.node("Resize", [y, none, none, sizes], mode="linear")
    proto = g.model(g.conv(g.node("Concat", [x, y], axis=1), 10, 5))
    assert described(proto) == ["4: b1.0 w1.0 w2.1", "6: b0.0 w0.0 w1.1 w2.1"]
    prove(proto)


def test_sizes_computed_from_a_width_stay_what_they_were():
    """Here a number of channels says how large the image becomes, also when it shrinks."""
    g = Builder()
    x = g.conv(g.input(3, 8, 8), 3, 6)
    y = g.conv(x, 6, 4)
    batch, width = (g.slice(g.node("Shape", [z]), *ends, axis=0) for z, ends in
                    ((y, (0, 2)), (x, (1, 2))))  # fmt: skip
    sizes = g.node("Concat", [batch, width, width], axis=0)
    y = g.node("Resize", [y, "", "", sizes], mode="linear")
    proto = g.model(g.conv(y, 4, 5))
    assert described(proto) == ["4: b1.0 w1.0 w2.1", "6: b0.0 w0.0 w1.1"]
    prove(proto)


def test_channels_behind_space_pass():
    g = Builder()
    x = g.node("Transpose", [g.conv(g.input(3, 4, 4), 3, 6)], perm=[0, 2, 3, 1])
    scales = g.weight(np.array([1, 2, 2, 1], np.float32), "scales")
    x = g.node("Resize", [x, "", scales], mode="nearest")
    proto = g.model(g.node("MatMul", [x, g.normal(6, 5)]))
    assert described(proto) == ["6: b0.0 w0.0 w1.0"]
    prove(proto)


def test_a_scale_that_rounds_to_the_same_size_is_a_window():
    g = Builder()
    x = g.node("Transpose", [g.conv(g.input(3, 4, 4), 3, 6)], perm=[0, 2, 3, 1])
    scales = g.weight(np.array([1, 1, 1, 1.1], np.float32), "scales")
    x = g.node("Resize", [x, "", scales], mode="nearest")
    proto = g.model(g.node("MatMul", [x, g.normal(6, 5)]))
    assert described(proto) == []
    assert "a window" in kept(proto)["w0.0"]


@pytest.mark.parametrize("computed", [False, True])
def test_named_axes_leave_channels_alone(computed):
    """From opset 18 on, sizes may name the image's axes alone."""
    g = Builder(19)
    x = g.conv(g.input(3, 8, 8), 3, 6)
    y = g.conv(x, 6, 4, stride=2)
    space = g.slice(g.node("Shape", [x]), 2, 4, axis=0) if computed else g.ints([8, 8])
    y = g.node("Resize", [y, "", "", space], axes=[2, 3], mode="nearest")
    proto = g.model(g.conv(y, 4, 5))
    assert described(proto) == ["4: b1.0 w1.0 w2.1", "6: b0.0 w0.0 w1.1"]
    prove(proto)


def test_upsampling_of_channels_keeps_them():
    g = Builder(13)
    x = g.conv(g.input(3, 4, 4), 3, 6)
    scales = g.weight(np.array([1, 2, 1, 1], np.float32), "scales")
    proto = g.model(g.conv(g.node("Resize", [x, "", scales], mode="nearest"), 12, 5))
    assert described(proto) == []


def test_a_feature_pyramid():
    g = Builder(13)
    a = g.conv(g.input(3, 8, 8), 3, 6)
    b = g.conv(a, 6, 10, stride=2)
    merged = g.node("Add", [g.conv(a, 6, 7, k=1), g.resize(g.conv(b, 10, 7, k=1))])
    proto = g.model(g.conv(merged, 7, 5))
    assert "7: b2.0 b3.0 w2.0 w3.0 w4.1" in described(proto)
    prove(proto)
