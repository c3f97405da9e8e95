"""Entries picked, written and masked one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    concat,
    conv,
    flip,
    linear,
    one_of,
    permute,
    shape_part,
)


def _some(draw: Draw, size: int, least: int = 1) -> list[int]:
    """Different indices below ``size``, in any order."""
    order = draw(st.permutations(range(size)))
    return list(order[: draw(st.integers(min(least, size), size))])


def _for_batch(g: Builder, name: str, values: np.ndarray, draw: Draw) -> str:
    """Indices (1, ...) repeated for every example: in the file, or while the model runs."""
    if isinstance(g.batch, int) and flip(draw):
        return g.ints(np.repeat(values, g.batch, axis=0))
    ones = g.ints([1] * (values.ndim - 1))
    return g.node("Expand", [g.ints(values), concat(g, [shape_part(g, name, 0), ones], 0)])


@block(Map, since=11, sized=True)
def gather_elements(g: Builder, draw: Draw, x: Map) -> Map:
    """Another selection for every pixel, or one for all, along the channels."""
    n = draw(st.integers(2, x.channels))
    if flip(draw):
        values = g.rng.integers(0, x.channels, (1, n, x.height, x.width))
    else:
        values = np.broadcast_to(
            g.rng.integers(0, x.channels, (1, n, 1, 1)), (1, n, x.height, x.width)
        )
    y = g.node("GatherElements", [x.name, _for_batch(g, x.name, values, draw)], axis=1)
    return replace(x, name=y, channels=n)


@block(Map, since=11)
def gather_nd(g: Builder, draw: Draw, x: Map) -> Map:
    chosen = _some(draw, x.channels, least=2)
    y = permute(g, x.name, 1, 0, 2, 3)
    y = g.node("GatherND", [y, g.ints(np.array(chosen)[:, None])])
    return replace(x, name=permute(g, y, 1, 0, 2, 3), channels=len(chosen))


@block(Map, since=11)
def scatter_nd(g: Builder, draw: Draw, x: Map) -> Map:
    """Some channels are written anew: x[:, chosen] = y."""
    chosen = _some(draw, x.channels)
    y = permute(g, conv(g, draw, x, len(chosen)), 1, 0, 2, 3)
    reduction = one_of(draw, None, "add") if g.opset >= 16 else None
    inputs = [permute(g, x.name, 1, 0, 2, 3), g.ints(np.array(chosen)[:, None]), y]
    y = g.node("ScatterND", inputs, reduction=reduction)
    return replace(x, name=permute(g, y, 1, 0, 2, 3))


@block(Map, sized=True)
def scatter_elements(g: Builder, draw: Draw, x: Map) -> Map:
    chosen = _some(draw, x.channels)
    shape = (1, len(chosen), x.height, x.width)
    values = np.broadcast_to(np.array(chosen).reshape(1, -1, 1, 1), shape)
    y = conv(g, draw, x, len(chosen))
    op = "ScatterElements" if g.opset >= 11 else "Scatter"
    reduction = one_of(draw, None, "add") if g.opset >= 16 else None
    inputs = [x.name, _for_batch(g, x.name, values, draw), y]
    return replace(x, name=g.node(op, inputs, axis=1, reduction=reduction))


@block(Tokens, since=24)
def tensor_scatter(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A token is written into a cache."""
    first = g.slice(x.name, 0, 1, 1)
    update = linear(g, draw, first, x.width, x.width)
    return replace(x, name=g.node("TensorScatter", [x.name, update], axis=1))


@block(Map)
def compressed(g: Builder, draw: Draw, x: Map) -> Map:
    truth = np.zeros(x.channels, bool)
    truth[_some(draw, x.channels, least=2)] = True
    condition = g.weight(truth, "truth", "initializer")
    y = g.node("Compress", [x.name, condition], axis=1)
    return replace(x, name=y, channels=int(truth.sum()))


@block(Map, since=14)
def triangle(g: Builder, draw: Draw, x: Map) -> Map:
    return replace(x, name=g.node("Trilu", [x.name], upper=draw(st.integers(0, 1))))


@block(Map)
def eye_like(g: Builder, draw: Draw, x: Map) -> Map:
    """An identity matrix in the shape of another matrix."""
    s = g.node("Flatten", [g.node("GlobalAveragePool", [x.name])])
    eye = g.node("EyeLike", [g.normal(x.channels, x.channels)], dtype=1)
    s = g.unsqueeze(g.node("MatMul", [s, eye]), [2, 3])
    return replace(x, name=g.node("Add", [x.name, s]))


@block(Map)
def over_size(g: Builder, draw: Draw, x: Map) -> Map:
    """Divided by the number of entries, which must stay what it was."""
    size = g.node("Cast", [g.node("Size", [g.node("GlobalMaxPool", [x.name])])], to=1)
    return replace(x, name=g.node("Div", [x.name, g.node("Sqrt", [size])]))
