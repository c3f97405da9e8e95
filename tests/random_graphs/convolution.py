"""Convolutions: plain, grouped, depthwise, transposed, tied, over one axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.activations import act
from tests.random_graphs.registry import (
    Draw,
    Map,
    block,
    conv,
    flip,
    one_of,
    quad,
    vector,
    width,
)


@block(Map)
def conv_act(g: Builder, draw: Draw, x: Map) -> Map:
    cout = width(draw)
    return replace(x, name=act(g, draw, conv(g, draw, x, cout)), channels=cout)


@block(Map)
def conv_bn(g: Builder, draw: Draw, x: Map) -> Map:
    cout = width(draw)
    y = g.batch_norm(conv(g, draw, x, cout), cout)
    return replace(x, name=act(g, draw, y), channels=cout)


@block(Map)
def norm_first(g: Builder, draw: Draw, x: Map) -> Map:
    y = replace(x, name=act(g, draw, g.batch_norm(x.name, x.channels)))
    cout = width(draw)
    return replace(x, name=conv(g, draw, y, cout), channels=cout)


@block(Map)
def grouped(g: Builder, draw: Draw, x: Map) -> Map:
    x = quad(g, draw, x)
    cout, group = one_of(draw, 4, 8, 16), one_of(draw, 2, 4)
    y = g.conv(x.name, x.channels, cout, 3, group=group, bias=flip(draw))
    return replace(x, name=act(g, draw, y), channels=cout)


@block(Map)
def depthwise(g: Builder, draw: Draw, x: Map) -> Map:
    y = g.conv(x.name, x.channels, x.channels, 3, group=x.channels, bias=flip(draw))
    return replace(x, name=g.node("Relu", [y]))


@block(Map)
def depth_multiplier(g: Builder, draw: Draw, x: Map) -> Map:
    y = g.conv(x.name, x.channels, 2 * x.channels, 3, group=x.channels)
    return replace(x, name=y, channels=2 * x.channels)


@block(Map, sized=True)
def transposed(g: Builder, draw: Draw, x: Map) -> Map:
    x = quad(g, draw, x)
    cout, group, bias = one_of(draw, 4, 8), one_of(draw, 1, 1, 2, 4), flip(draw)
    if x.height <= 8:
        y = g.conv_transpose(x.name, x.channels, cout, 2, group=group, bias=bias, stride=2)
        return Map(act(g, draw, y), cout, 2 * x.height, 2 * x.width)
    y = g.conv_transpose(x.name, x.channels, cout, 1, group=group, bias=bias)
    return replace(x, name=y, channels=cout)


@block(Map)
def tied(g: Builder, draw: Draw, x: Map) -> Map:
    """One weight used by two convolutions on purpose."""
    w = g.normal(x.channels, x.channels, 3, 3, stem="tied")
    y = g.conv(x.name, x.channels, x.channels, 3, weight=w, bias=flip(draw))
    y = g.conv(act(g, draw, y), x.channels, x.channels, 3, weight=w)
    return replace(x, name=y)


@block(Map)
def shared_vector(g: Builder, draw: Draw, x: Map) -> Map:
    """One bias shared by two convolutions by coincidence, and by a batch norm."""
    c = width(draw)
    b = g.weight(np.full(c, 0.25, np.float32), "same")
    first = g.node("Conv", [x.name, g.normal(c, x.channels, 1, 1), b])
    y = g.node("Relu", [first])
    y = g.node("Conv", [y, g.normal(c, c, 1, 1), b])
    var = vector(g, c, 1.0, "var", positive=True)
    y = g.node("BatchNormalization", [y, b, b, b, var])
    return replace(x, name=y, channels=c)


@block(Map, sized=True)
def conv_1d(g: Builder, draw: Draw, x: Map) -> Map:
    cout = width(draw)
    y = g.reshape(x.name, [0, x.channels, x.height * x.width])
    y = g.conv(y, x.channels, cout, 3, rank=1, bias=flip(draw))
    return replace(x, name=g.reshape(y, [0, -1, x.height, x.width]), channels=cout)


@block(Map, plain=False)
def weight_reshaped(g: Builder, draw: Draw, x: Map) -> Map:
    """A 1x1 convolution's weight stored as a matrix."""
    cout = width(draw)
    w = g.reshape(g.normal(cout, x.channels), [cout, x.channels, 1, 1])
    return replace(x, name=g.node("Conv", [x.name, w]), channels=cout)


@block(Map, plain=False)
def weight_half(g: Builder, draw: Draw, x: Map) -> Map:
    """A weight stored in half precision."""
    cout = width(draw)
    value = g.rng.standard_normal((cout, x.channels, 1, 1)) / np.sqrt(x.channels)
    w = g.node("Cast", [g.weight(value.astype(np.float16), "half")], to=1)
    return replace(x, name=g.node("Conv", [x.name, w]), channels=cout)


@block(Map, plain=False)
def weight_standardised(g: Builder, draw: Draw, x: Map) -> Map:
    """A convolution whose weight is normalised in the graph, filter by filter."""
    cout = width(draw)
    w = g.normal(cout, x.channels, 3, 3)
    mean = g.reduce("ReduceMean", w, [1, 2, 3])
    centred = g.node("Sub", [w, mean])
    var = g.reduce("ReduceMean", g.node("Mul", [centred, centred]), [1, 2, 3])
    floor = g.weight(np.float32(1e-2), "floor", "initializer")
    w = g.node("Div", [centred, g.node("Sqrt", [g.node("Add", [var, floor])])])
    y = g.node("Conv", [x.name, w], pads=[1] * 4)
    return replace(x, name=act(g, draw, y), channels=cout)


@block(Map)
def dilated(g: Builder, draw: Draw, x: Map) -> Map:
    """Dilation, and padding that the operator works out itself."""
    cout = width(draw)
    how = one_of(draw, "pads", "SAME_UPPER", "SAME_LOWER")
    w = g.normal(cout, x.channels, 3, 3)
    attrs = {"pads": [2] * 4, "dilations": [2, 2]} if how == "pads" else {"auto_pad": how}
    y = g.node("Conv", [x.name, w], kernel_shape=[3, 3], **attrs)
    return replace(x, name=act(g, draw, y), channels=cout)


@block(Map)
def inverted_residual(g: Builder, draw: Draw, x: Map) -> Map:
    hidden = draw(st.integers(2, 3)) * x.channels
    y = g.node("Relu", [g.batch_norm(conv(g, draw, x, hidden, 1), hidden)])
    y = g.conv(y, hidden, hidden, 3, group=hidden, bias=flip(draw))
    y = g.clip(y, 0.0, 6.0)
    y = g.conv(y, hidden, x.channels, 1)
    return replace(x, name=g.node("Add", [x.name, y]))
