"""Maps that grow: by a factor, to given sizes, to the size that another map has."""

from __future__ import annotations

from dataclasses import replace

from tests.graphs import Builder
from tests.random_graphs.registry import Draw, Map, block, conv, flip, one_of


@block(Map, sized=True)
def upsampled(g: Builder, draw: Draw, x: Map) -> Map:
    if x.height > 8:
        return x
    sizes = None
    if g.opset >= 11 and isinstance(g.batch, int) and flip(draw):
        sizes = [g.batch, x.channels, 2 * x.height, 2 * x.width]
    return Map(g.resize(x.name, 2, sizes=sizes), x.channels, 2 * x.height, 2 * x.width)


@block(Map, since=13)
def resized_as(g: Builder, draw: Draw, x: Map) -> Map:
    """Resized to the size that another map has, as feature pyramids do."""
    low = g.node("AveragePool", [x.name], kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1])
    low = conv(g, draw, replace(x, name=low), x.channels, 1)
    shape = g.node("Shape", [x.name])
    lead, tail = g.slice(g.node("Shape", [low]), 0, 2, 0), g.slice(shape, 2, 4, 0)
    sizes = g.node("Concat", [lead, tail], axis=0)
    y = g.node("Resize", [low, "", "", sizes], mode=one_of(draw, "nearest", "linear"))
    return replace(x, name=g.node("Add", [x.name, y]))
