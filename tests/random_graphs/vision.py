"""Pixels sampled, unfolded, cropped and pooled by region; windows that move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.graphs import Builder
from tests.random_graphs.activations import act
from tests.random_graphs.registry import (
    Draw,
    Map,
    block,
    concat,
    conv,
    flip,
    one_of,
    permute,
    shape_part,
    width,
)

REGIONS = 2


@block(Map, since=16, sized=True)
def grid_sampled(g: Builder, draw: Draw, x: Map) -> Map:
    """At places in the file, or that a convolution computes."""
    if flip(draw):
        values = g.rng.uniform(-1, 1, (1, x.height, x.width, 2)).astype(np.float32)
        shape = concat(g, [shape_part(g, x.name, 0), g.ints([1, 1, 1])], 0)
        grid = g.node("Expand", [g.weight(values, "grid"), shape])
    else:
        grid = permute(g, g.node("Tanh", [conv(g, draw, x, 2)]), 0, 2, 3, 1)
    padding = one_of(draw, "zeros", "border")
    return replace(x, name=g.node("GridSample", [x.name, grid], padding_mode=padding))


@block(Map, since=20, sized=True)
def transformed(g: Builder, draw: Draw, x: Map) -> Map:
    """A spatial transformer: the pooled map says how the whole is turned."""
    theta = g.gemm(g.node("Flatten", [g.node("GlobalAveragePool", [x.name])]), x.channels, 6)
    theta = g.reshape(g.node("Tanh", [theta]), [-1, 2, 3])
    size = concat(g, [shape_part(g, x.name, 0), g.ints([x.channels, x.height, x.width])], 0)
    grid = g.node("AffineGrid", [theta, size])
    return replace(x, name=g.node("GridSample", [x.name, grid]))


@block(Map, sized=True, until=22, plain=False)
def regions(g: Builder, draw: Draw, x: Map) -> Map:
    """Two regions of the first example take the place of the batch."""
    op = one_of(draw, "MaxRoiPool", "RoiAlign") if g.opset >= 10 else "MaxRoiPool"
    boxes = np.array([[0, 0, x.width - 1, x.height - 1], [0, 0, 2, 2]], np.float32)
    if op == "MaxRoiPool":
        rois = g.weight(np.concatenate([np.zeros((2, 1), np.float32), boxes], 1), "rois")
        y = g.node(op, [x.name, rois], pooled_shape=[4, 4])
    else:
        examples = g.ints([0] * REGIONS)
        y = g.node(op, [x.name, g.weight(boxes, "rois"), examples], output_height=4, output_width=4)
    return Map(y, x.channels, 4, 4)


@block(Map, since=18, sized=True)
def columns_to_image(g: Builder, draw: Draw, x: Map) -> Map:
    """Fold: every pixel's channels become a window of the image."""
    if x.height > 8:
        return x
    c, h, w = 4, 2 * x.height, 2 * x.width
    y = g.reshape(conv(g, draw, x, 4 * c), [0, 4 * c, -1])
    y = g.node("Col2Im", [y, g.ints([h, w]), g.ints([2, 2])], strides=[2, 2])
    return Map(y, c, h, w)


@block(Map, since=18, sized=True)
def centred(g: Builder, draw: Draw, x: Map) -> Map:
    if flip(draw):
        y = g.node("CenterCropPad", [x.name, g.ints([x.height + 1, x.width])], axes=[2, 3])
        return replace(x, name=y, height=x.height + 1)
    more = one_of(draw, -1, 1, 2)
    y = g.node("CenterCropPad", [x.name, g.ints([x.channels + more])], axes=[1])
    return replace(x, name=y, channels=x.channels + more)


@block(Map, since=19, sized=True)
def deformable(g: Builder, draw: Draw, x: Map) -> Map:
    cout, group = width(draw), 1
    if x.channels % 2 == 0 and cout % 2 == 0:
        group = one_of(draw, 1, 2)
    offsets = g.node("Tanh", [conv(g, draw, x, 18, 3)])
    inputs = [x.name, g.normal(cout, x.channels // group, 3, 3), offsets]
    masked = flip(draw)
    if flip(draw) or masked:
        inputs.append(g.normal(cout, stem="b"))
    if masked:
        inputs.append(g.node("Sigmoid", [conv(g, draw, x, 9, 3)]))
    y = g.node("DeformConv", inputs, group=group, pads=[1] * 4, kernel_shape=[3, 3])
    return replace(x, name=act(g, draw, y), channels=cout)


@block(Map, since=11, sized=True, plain=False)
def unpooled(g: Builder, draw: Draw, x: Map) -> Map:
    """The largest pixels go back to where they stood."""
    if x.height % 2 or x.width % 2:
        return x
    y, places = g.node("MaxPool", [x.name], 2, kernel_shape=[2, 2], strides=[2, 2])
    y = g.node("Relu", [y]) if flip(draw) else y
    y = g.node("MaxUnpool", [y, places], kernel_shape=[2, 2], strides=[2, 2])
    return replace(x, name=y)
