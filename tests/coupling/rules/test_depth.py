"""DepthToSpace and SpaceToDepth: the channels of one block go together."""

from __future__ import annotations

import pytest

from tests.coupling.cases import described, prove
from tests.graphs import Builder


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("blocksize", [2, 3])
def test_depth_to_space_takes_whole_blocks(opset, mode, blocksize):
    g = Builder(opset)
    wide = 4 * blocksize**2
    x = g.conv(g.input(3, 4, 4), 3, wide)
    x = g.node("DepthToSpace", [x], blocksize=blocksize, mode=mode)
    proto = g.model(g.conv(x, 4, 5))
    assert described(proto) == [f"4: b0.0*{blocksize**2} w0.0*{blocksize**2} w1.1"]
    prove(proto)


@pytest.mark.parametrize("opset", [9, 13])
def test_space_to_depth_repeats_a_channel(opset):
    g = Builder(opset)
    x = g.conv(g.input(3, 4, 4), 3, 6)
    x = g.node("SpaceToDepth", [x], blocksize=2)
    proto = g.model(g.conv(x, 24, 5))
    assert described(proto) == ["6: b0.0 w0.0 w1.1*4"]
    prove(proto)


def test_there_and_back():
    g = Builder()
    x = g.conv(g.input(3, 4, 4), 3, 6)
    x = g.node("DepthToSpace", [g.node("SpaceToDepth", [x], blocksize=2)], blocksize=2)
    proto = g.model(g.conv(x, 6, 5))
    assert described(proto) == ["6: b0.0 w0.0 w1.1"]
    prove(proto)
