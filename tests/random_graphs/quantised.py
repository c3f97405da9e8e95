"""Quantised weights and activations: a scale for all, one per channel, or one per block."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.graphs import Builder
from tests.random_graphs.activations import act
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    flip,
    one_of,
    scalar,
    width,
)

MICROSOFT = "com.microsoft"


def _domain(g: Builder, draw: Draw) -> str | None:
    return one_of(draw, None, None, None, MICROSOFT)


def _integers(g: Builder, *shape: int) -> str:
    return g.weight(g.rng.integers(-100, 100, shape).astype(np.int8), "q")


def _scales(g: Builder, size: int | None, typical: float) -> str:
    shape = () if size is None else (size,)
    return g.weight((typical * (0.5 + g.rng.random(shape))).astype(np.float32), "s")


def _points(g: Builder, draw: Draw, size: int | None, dtype: type = np.int8) -> list[str]:
    if flip(draw):
        return []
    shape = () if size is None else (size,)
    low, high = (-3, 4) if dtype is np.int8 else (120, 136)
    return [g.weight(np.asarray(g.rng.integers(low, high, shape), dtype), "z", "initializer")]


@block(Map, since=13, plain=False)
def conv_of_integers(g: Builder, draw: Draw, x: Map) -> Map:
    """A convolution whose weight lies in the file as integers."""
    cout, k = width(draw), one_of(draw, 1, 3)
    axis = one_of(draw, None, 0, 1)
    size = None if axis is None else (cout, x.channels)[axis]
    inputs = [_integers(g, cout, x.channels, k, k), _scales(g, size, 0.01)]
    inputs += _points(g, draw, size)
    w = g.node("DequantizeLinear", inputs, axis=axis, domain=_domain(g, draw))
    y = g.node("Conv", [x.name, w], pads=[k // 2] * 4)
    return replace(x, name=act(g, draw, y), channels=cout)


@block(Tokens, since=13, plain=False)
def linear_of_integers(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    dout = width(draw)
    axis = one_of(draw, None, 0, 1)
    size = None if axis is None else (x.width, dout)[axis]
    inputs = [_integers(g, x.width, dout), _scales(g, size, 0.01)]
    w = g.node("DequantizeLinear", inputs + _points(g, draw, size), axis=axis)
    y = g.node("MatMul", [x.name, w])
    return replace(x, name=act(g, draw, y), width=dout)


@block(Tokens, since=21, plain=False)
def linear_of_blocks(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A scale for every block of rows, as language models are packed."""
    if x.width % 2:
        return x
    dout, per = width(draw), x.width // 2
    scales = (0.01 * (0.5 + g.rng.random((2, dout)))).astype(np.float32)
    inputs = [_integers(g, x.width, dout), g.weight(scales, "s")]
    w = g.node("DequantizeLinear", inputs, axis=0, block_size=per)
    return replace(x, name=g.node("MatMul", [x.name, w]), width=dout)


@block(Map, since=10, plain=False)
def quantised_and_back(g: Builder, draw: Draw, x: Map) -> Map:
    """Activations to eight bits and back, as quantisation-aware training leaves them."""
    axis = one_of(draw, None, 1) if g.opset >= 13 else None
    size = None if axis is None else x.channels
    dtype = one_of(draw, np.int8, np.uint8)
    scale = _scales(g, size, 0.05)
    points = _points(g, draw, size, dtype)
    if not points and dtype is np.int8:
        shape = () if size is None else (size,)
        points = [g.weight(np.zeros(shape, np.int8), "z", "initializer")]
    domain = _domain(g, draw) if axis is None else None
    y = g.node("QuantizeLinear", [x.name, scale, *points], axis=axis, domain=domain)
    y = g.node("DequantizeLinear", [y, scale, *points], axis=axis, domain=domain)
    return replace(x, name=y)


@block(Map, since=13, plain=False)
def weight_quantised_and_back(g: Builder, draw: Draw, x: Map) -> Map:
    """A float weight through both operators (fake quantisation)."""
    cout = width(draw)
    axis = one_of(draw, None, 0)
    size = None if axis is None else cout
    scale = _scales(g, size, 0.02)
    zero = [g.weight(np.zeros(() if size is None else (size,), np.int8), "z", "initializer")]
    w = g.normal(cout, x.channels, 1, 1)
    q = g.node("QuantizeLinear", [w, scale, *zero], axis=axis)
    w = g.node("DequantizeLinear", [q, scale, *zero], axis=axis)
    y = g.node("Conv", [g.node("Mul", [x.name, scalar(g, 0.5)]), w])
    return replace(x, name=y, channels=cout)
