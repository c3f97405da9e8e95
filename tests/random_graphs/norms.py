"""Norms, as one operator and written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.graphs import Builder
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    flip,
    last_axis,
    one_of,
    scalar,
    untied,
    vector,
)


def layer_norm(g: Builder, draw: Draw, name: str, size: int, rank: int = 3) -> str:
    """A norm over the last axis: LayerNorm or RMSNorm, fused or written out."""
    kinds = ["layer", "rms"]
    kinds += ["fused layer"] * 2 if g.opset >= 17 else []
    kinds += ["fused rms"] * 2 if g.opset >= 23 else []
    kind = one_of(draw, *kinds)
    if kind == "fused layer":
        inputs = [name, vector(g, size, 1.0, "gamma")]
        inputs += [vector(g, size, 0.0, "beta")] if flip(draw) else []
        return g.node("LayerNormalization", inputs, axis=one_of(draw, -1, rank - 1), epsilon=1e-3)
    if kind == "fused rms":
        inputs = [name, vector(g, size, 1.0, "gamma")]
        return g.node("RMSNormalization", inputs, axis=-1, epsilon=1e-3)
    axes = [last_axis(g, rank)]
    if kind == "layer":
        name = g.node("Sub", [name, g.reduce("ReduceMean", name, axes)])
    square = g.node("Mul", [name, name]) if flip(draw) else g.node("Pow", [name, scalar(g, 2.0)])
    var = g.node("Add", [g.reduce("ReduceMean", square, axes), scalar(g, 1e-3)])
    if flip(draw):
        y = g.node("Div", [name, g.node("Sqrt", [var])])
    else:
        y = g.node("Mul", [name, g.node("Reciprocal", [g.node("Sqrt", [var])])])
    y = g.node("Mul", [y, vector(g, size, 1.0, "gamma")])
    return g.node("Add", [y, vector(g, size, 0.0, "beta")]) if kind == "layer" else y


@block(Tokens)
def token_norm(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    return replace(x, name=layer_norm(g, draw, x.name, x.width))


@block(Map)
def channels_last_norm(g: Builder, draw: Draw, x: Map) -> Map:
    """ConvNeXt: a norm over the channels, between two transposes."""
    y = g.node("Transpose", [x.name], perm=[0, 2, 3, 1])
    y = layer_norm(g, draw, y, x.channels, 4)
    return replace(x, name=g.node("Transpose", [y], perm=[0, 3, 1, 2]))


@block(Map)
def instance_norm(g: Builder, draw: Draw, x: Map) -> Map:
    scale, shift = (vector(g, x.channels, v, "in") for v in (1.0, 0.0))
    return replace(x, name=g.node("InstanceNormalization", [x.name, scale, shift], epsilon=1e-2))


@block(Map, sized=True)
def group_norm_written_out(g: Builder, draw: Draw, x: Map) -> Map:
    """As PyTorch exports it: an instance norm of (N, groups, ...), an affine per channel."""
    groups = one_of(draw, *(n for n in (1, 2, 3, 4) if x.channels % n == 0))
    ones, zeros = (g.weight(np.full(groups, v, np.float32), "g", "initializer") for v in (1.0, 0.0))
    y = g.reshape(x.name, [0, groups, -1])
    y = g.node("InstanceNormalization", [y, ones, zeros], epsilon=1e-2)
    y = g.reshape(y, [-1, x.channels, x.height, x.width])
    gamma, beta = (
        g.weight(g._vector(x.channels, v).reshape(-1, 1, 1), "affine") for v in (1.0, 0.0)
    )
    return replace(x, name=g.node("Add", [g.node("Mul", [y, gamma]), beta]))


@block(Map)
def softmax_over(g: Builder, draw: Draw, x: Map) -> Map:
    """A softmax over pixels or channels, as weights of the map."""
    axis = one_of(draw, 1, 3) if g.opset >= 13 else 3
    op = one_of(draw, "Softmax", "LogSoftmax", "LpNormalization")
    y = g.node(op, [x.name], axis=axis)
    return replace(x, name=g.node("Add", [x.name, g.node("Tanh", [y])]))


@block(Map, sized=True)
def mean_variance(g: Builder, draw: Draw, x: Map) -> Map:
    """Of a map that varies in every channel: ONNX Runtime gives 0/0 for one that does not."""
    axes = one_of(draw, None, [2, 3], [1, 2, 3])
    slope = g.rng.standard_normal((x.height, x.width)).astype(np.float32)
    y = g.node("Add", [x.name, g.weight(slope, "slope", "initializer")])
    return replace(x, name=g.node("MeanVarianceNormalization", [y], axes=axes))


@block(Tokens, sized=True)
def hard_choice(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Hardmax along the tokens: one of them is singled out for every feature."""
    y = g.node("Transpose", [untied(g, x)], perm=[0, 2, 1])
    y = g.node("Hardmax", [y], axis=2)
    y = g.node("Transpose", [y], perm=[0, 2, 1])
    return replace(x, name=g.node("Add", [x.name, y]))
