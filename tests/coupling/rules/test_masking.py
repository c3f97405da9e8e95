"""Compress, Trilu and OneHot: a known selection is followed, positions are kept."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from tests.coupling.cases import described, kept, prove
from tests.graphs import Builder, initializer, node_of


@pytest.mark.parametrize("opset", [9, 11])
@pytest.mark.parametrize("truth", ["10110101", "0111", "11111111"])
def test_channels_by_known_truths(opset, truth):
    """Channels beyond the last truth value are not selected."""
    g = Builder(opset)
    truths = np.array([c == "1" for c in truth])
    x = g.node("Compress", [g.conv(g.input(3, 4, 4), 3, 8), g.weight(truths, "k")], axis=1)
    n = int(truths.sum())
    proto = g.model(g.conv(x, n, 5))
    expected = [f"{n}: b0.0 w0.0 w1.1"] + ([f"{8 - n}: b0.0 w0.0"] if n < 8 else [])
    assert described(proto) == sorted(expected)
    pruned = prove(proto)
    left = initializer(pruned, node_of(pruned, "Compress").input[1])
    assert left.dtype == bool
    assert 0 < left.sum() == initializer(pruned, "w1").shape[1] < n


def test_pixels_by_computed_truths_pass_channels():
    g = Builder(13, batch=1)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    row = g.reshape(g.reduce("ReduceMean", x, [0, 1, 2]), [4])
    truths = g.node("Not", [g.node("Less", [row, g.reduce("ReduceMin", row, [0])])])
    proto = g.model(g.conv(g.node("Compress", [x, truths], axis=-1), 8, 5))
    assert described(proto) == ["~8: b0.0 w0.0 w1.1"]
    prove(proto, equal=False, plain=False)


def test_channels_by_computed_truths_are_kept():
    g = Builder(13, batch=1)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    mean = g.reshape(g.node("GlobalAveragePool", [x]), [8])
    truths = g.node("Not", [g.node("Less", [mean, g.reduce("ReduceMin", mean, [0])])])
    proto = g.model(g.conv(g.node("Compress", [x, truths], axis=1), 8, 5))
    assert described(proto) == []
    assert "it says what is selected" in kept(proto)["w0.0"]


def test_a_flattened_selection_keeps_all():
    g = Builder(13, batch=1)
    x = g.conv(g.input(3, 2, 2), 3, 8)
    x = g.node("Compress", [x, g.weight(np.arange(32) % 3 == 0, "k")])
    proto = g.model(g.node("MatMul", [x, g.normal(11, 5)]))
    assert described(proto) == []
    assert "flattened" in kept(proto)["w0.0"]


@pytest.mark.parametrize("upper", [0, 1])
def test_a_triangle_of_pixels_passes_channels(upper):
    g = Builder(14)
    x = g.node("Trilu", [g.conv(g.input(3, 4, 4), 3, 8), g.ints(1)], upper=upper)
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto)


def test_a_triangle_of_channels_keeps_them():
    g = Builder(14)
    x = g.node("Transpose", [g.conv(g.input(3, 4, 4), 3, 8)], perm=[0, 2, 3, 1])
    x = g.node("Transpose", [g.node("Trilu", [x])], perm=[0, 3, 1, 2])
    proto = g.model(g.conv(x, 8, 5))
    assert described(proto) == []
    assert "triangle" in kept(proto)["w0.0"]


@pytest.mark.parametrize("axis", [-1, 2])
def test_classes_of_pixels_pass_channels(axis):
    g = Builder(13)
    x = g.conv(g.input(3, 4, 4), 3, 8)
    best = g.node("ArgMax", [x], axis=3, keepdims=0)  # (N, C, H)
    y = g.node("OneHot", [best, g.ints(4), g.weight(np.array([0, 1], "f"), "v")], axis=axis)
    proto = g.model(g.conv(g.node("Cast", [y], to=TensorProto.FLOAT), 8, 5))
    assert described(proto) == ["8: b0.0 w0.0 w1.1"]
    prove(proto, plain=False)
