"""Resize and Upsample: space changes its size, channels pass."""

from __future__ import annotations

import numpy as np
import pytest

from tests.coupling.cases import described, prove
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
