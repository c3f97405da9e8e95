"""Attention in the spellings that exporters write, every part of it drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tests.graphs import Builder
from tests.random_graphs.mlp import joined, pre_normed
from tests.random_graphs.norms import layer_norm
from tests.random_graphs.registry import (
    Draw,
    Tokens,
    block,
    concat,
    flip,
    linear,
    one_of,
    permute,
    scalar,
    shape_part,
    table,
    vector,
)


@dataclass(frozen=True)
class Heads:
    """How many heads of which size, and how many of them k and v have."""

    count: int
    size: int
    shared: int

    @property
    def width(self) -> int:
        return self.count * self.size


def draw_heads(draw: Draw, sizes: tuple[int, ...] = (2, 3, 4), *, shared: bool = True) -> Heads:
    count = one_of(draw, 2, 4, 4)
    own = one_of(draw, count, 1, count // 2) if shared else count
    return Heads(count, one_of(draw, *sizes), own)


def projections(g: Builder, draw: Draw, x: Tokens, name: str, heads: Heads) -> list[str]:
    """q, k and v of (N, T, heads, size), apart or packed in one matrix."""
    widths = [n * heads.size for n in (heads.count, heads.shared, heads.shared)]
    how = one_of(draw, "apart", "split", "slice", "stacked")
    if how == "stacked" and heads.shared == heads.count:
        both = linear(g, draw, name, x.width, 3 * heads.width)
        stacked = g.reshape(both, [0, 0, 3, heads.count, heads.size])
        stacked = permute(g, stacked, 2, 0, 1, 3, 4)
        return [g.node("Gather", [stacked, g.ints(i)], axis=0) for i in range(3)]
    if how in ("apart", "stacked"):
        parts = [linear(g, draw, name, x.width, d) for d in widths]
    else:
        both = linear(g, draw, name, x.width, sum(widths))
        if how == "split":
            parts = g.split(both, widths, axis=2)
        else:
            bounds = np.cumsum([0, *widths]).tolist()
            pairs = zip(bounds[:-1], bounds[1:], strict=True)
            parts = [g.slice(both, a, b, 2) for a, b in pairs]
    counts = (heads.count, heads.shared, heads.shared)
    return [g.reshape(y, [0, 0, n, heads.size]) for y, n in zip(parts, counts, strict=True)]


def _repeated(g: Builder, draw: Draw, name: str, heads: Heads) -> str:
    """(N, shared, T, size) -> (N, heads, T, size): every kv head for its group of query heads."""
    times = heads.count // heads.shared
    if times == 1:
        return name
    how = one_of(draw, "expand", "gather", "tile")
    if how == "gather":
        chosen = np.repeat(np.arange(heads.shared), times).tolist()
        return g.node("Gather", [name, g.ints(chosen)], axis=1)
    wide = g.unsqueeze(name, [2])
    if how == "expand":
        wide = g.node("Expand", [wide, g.ints([1, 1, times, 1, 1])])
    else:
        wide = g.node("Tile", [wide, g.ints([1, 1, times, 1, 1])])
    t = shape_part(g, name, 2)
    target = concat(g, [g.ints([0, heads.count]), t, g.ints([heads.size])], 0)
    return g.node("Reshape", [wide, target])


def _rotated(g: Builder, draw: Draw, name: str, x: Tokens, heads: Heads) -> str:
    """Rotary embedding of (N, heads, T, size): i and i + size/2 turn together."""
    half = heads.size // 2
    angle = np.outer(np.arange(260), 1.0 / 10 ** (np.arange(half) / half))
    cos, sin = (np.tile(f(angle), (1, 2)).astype(np.float32) for f in (np.cos, np.sin))
    if x.sized:
        tables = [g.weight(t[: x.count], "rotary") for t in (cos, sin)]
    else:
        t = shape_part(g, name, 2)
        tables = [
            g.node("Slice", [g.weight(v, "rotary"), g.ints([0]), t, g.ints([0])])
            for v in (cos, sin)
        ]
    a, b = g.split(name, [half, half], axis=3)
    turned = concat(g, [g.node("Neg", [b]), a], 3)
    return g.node("Add", [g.node("Mul", [name, tables[0]]), g.node("Mul", [turned, tables[1]])])


def _scaled(g: Builder, draw: Draw, name: str, heads: Heads) -> str:
    how = one_of(draw, "constant", "divided", "shape")
    root = math.sqrt(heads.size)
    if how == "constant":
        return g.node("Mul", [name, scalar(g, 1 / root)])
    if how == "divided":
        return g.node("Div", [name, scalar(g, root)])
    size = g.node("Gather", [g.node("Shape", [name]), g.ints(3)], axis=0)
    return g.node("Div", [name, g.node("Sqrt", [g.node("Cast", [size], to=1)])])


def _biased(g: Builder, draw: Draw, scores: str, x: Tokens, heads: Heads) -> str:
    """Relative positions, ALiBi slopes, masks, or nothing; scores: (N, heads, T, T)."""
    if not x.sized:
        return scores
    t = x.count
    how = one_of(draw, "none", "none", "table", "buckets", "slopes", "mask", "where")
    distance = np.abs(np.subtract.outer(np.arange(t), np.arange(t)))
    if how == "table":
        return g.node("Add", [scores, table(g, 1, heads.count, t, t, stem="bias")])
    if how == "buckets":  # Swin: rows of a table by constant indices
        rows = g.node("Gather", [table(g, t, heads.count), g.ints(distance.reshape(-1))], axis=0)
        bias = permute(g, g.reshape(rows, [t, t, -1]), 2, 0, 1)
        return g.node("Add", [scores, g.unsqueeze(bias, [0])])
    if how == "slopes":
        slopes = (2.0 ** -np.arange(1, heads.count + 1)).reshape(-1, 1, 1).astype(np.float32)
        far = g.weight(-distance.astype(np.float32), "far", "initializer")
        return g.node("Add", [scores, g.node("Mul", [g.weight(slopes, "slopes"), far])])
    causal = np.tril(np.ones((t, t), bool))
    if how == "mask":
        values = np.where(causal, 0.0, -1e4).astype(np.float32)
        return g.node("Add", [scores, g.weight(values, "causal", "initializer")])
    if how == "where":
        keep = g.weight(causal, "causal", "initializer")
        return g.node("Where", [keep, scores, scalar(g, -1e4)])
    return scores


def _softmax(g: Builder, scores: str) -> str:
    return g.node("Softmax", [scores], axis=-1 if g.opset >= 13 else 3)


@block(Tokens)
def attention(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Scaled dot product attention over (N, heads, T, size)."""
    rotary = flip(draw) and (x.sized or g.opset >= 10)
    heads = draw_heads(draw, (2, 4) if rotary else (2, 3, 4))
    q, k, v = (
        permute(g, y, 0, 2, 1, 3) for y in projections(g, draw, x, pre_normed(g, draw, x), heads)
    )
    if rotary:
        q, k = (_rotated(g, draw, y, x, heads) for y in (q, k))
    if one_of(draw, False, False, True):  # QK norms
        q, k = (layer_norm(g, draw, y, heads.size, 4) for y in (q, k))
    k, v = (_repeated(g, draw, y, heads) for y in (k, v))
    if flip(draw):
        q = _scaled(g, draw, q, heads)
    scores = g.node("MatMul", [q, permute(g, k, 0, 1, 3, 2)])
    weights = _softmax(g, _biased(g, draw, scores, x, heads))
    mixed = permute(g, g.node("MatMul", [weights, v]), 0, 2, 1, 3)
    merged = g.reshape(mixed, one_of(draw, [0, 0, heads.width], [0, 0, -1]))
    return joined(g, draw, x, linear(g, draw, merged, heads.width, x.width), x.width)


@block(Tokens, sized=True)
def attention_merged(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Batch and heads in one axis: (N*heads, T, size), as torch.nn.MultiheadAttention has it."""
    heads = draw_heads(draw, shared=False)
    t = x.count
    q, k, v = (
        g.reshape(permute(g, y, 0, 2, 1, 3), [-1, t, heads.size])
        for y in projections(g, draw, x, pre_normed(g, draw, x), heads)
    )
    scores = g.node("MatMul", [g.node("Mul", [q, scalar(g, 0.5)]), permute(g, k, 0, 2, 1)])
    if flip(draw):
        bias = table(g, heads.count, t, t, stem="bias")
        scores = g.node("Add", [g.reshape(scores, [-1, heads.count, t, t]), bias])
        scores = g.reshape(scores, [-1, t, t])
    weights = g.node("Softmax", [scores], axis=-1 if g.opset >= 13 else 2)
    mixed = g.reshape(g.node("MatMul", [weights, v]), [-1, heads.count, t, heads.size])
    merged = g.reshape(permute(g, mixed, 0, 2, 1, 3), [-1, t, heads.width])
    return joined(g, draw, x, linear(g, draw, merged, heads.width, x.width), x.width)


@block(Tokens, since=12)
def attention_einsum(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    heads = draw_heads(draw, shared=False)
    q, k, v = projections(g, draw, x, pre_normed(g, draw, x), heads)
    scores = g.node("Einsum", [_scaled(g, draw, q, heads), k], equation="nqhd,nkhd->nhqk")
    weights = _softmax(g, _biased(g, draw, scores, x, heads))
    mixed = g.node("Einsum", [weights, v], equation="nhqk,nkhd->nqhd")
    merged = g.reshape(mixed, [0, 0, heads.width])
    return joined(g, draw, x, linear(g, draw, merged, heads.width, x.width), x.width)


@block(Tokens, plain=False)
def talking_heads(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Scores mixed over the heads by a small matrix, before the softmax or after it."""
    heads = draw_heads(draw, shared=False)
    q, k, v = (permute(g, y, 0, 2, 1, 3) for y in projections(g, draw, x, x.name, heads))
    scores = g.node("MatMul", [_scaled(g, draw, q, heads), permute(g, k, 0, 1, 3, 2)])

    def mixed_over_heads(name: str) -> str:
        matrix = g.normal(heads.count, heads.count, stem="talk")
        y = g.node("MatMul", [permute(g, name, 0, 2, 3, 1), matrix])
        return permute(g, y, 0, 3, 1, 2)

    when = one_of(draw, "before", "after", "both")
    if when != "after":
        scores = mixed_over_heads(scores)
    weights = _softmax(g, scores)
    if when != "before":
        weights = mixed_over_heads(weights)
    mixed = permute(g, g.node("MatMul", [weights, v]), 0, 2, 1, 3)
    merged = g.reshape(mixed, [0, 0, heads.width])
    return joined(g, draw, x, linear(g, draw, merged, heads.width, x.width), x.width)


@block(Tokens, plain=False)
def feature_attention(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """XCA: features attend to features, (N, heads, size, size) scores."""
    heads = draw_heads(draw, shared=False)
    q, k, v = (
        permute(g, y, 0, 2, 3, 1) for y in projections(g, draw, x, x.name, heads)
    )  # (N, heads, size, T)
    scores = g.node("MatMul", [q, permute(g, k, 0, 1, 3, 2)])
    scores = g.node("Mul", [scores, table(g, heads.count, 1, 1, stem="temperature")])
    mixed = g.node("MatMul", [_softmax(g, scores), v])
    merged = g.reshape(permute(g, mixed, 0, 3, 1, 2), [0, 0, heads.width])
    return joined(g, draw, x, linear(g, draw, merged, heads.width, x.width), x.width)


@block(Tokens, plain=False)
def cross_attention(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A few learnt queries read the tokens, and are added to all of them as a mean."""
    heads = draw_heads(draw, shared=False)
    queries = table(g, 1, 2, heads.width, stem="queries")
    q = permute(g, g.reshape(queries, [1, 2, heads.count, heads.size]), 0, 2, 1, 3)
    _, k, v = (permute(g, y, 0, 2, 1, 3) for y in projections(g, draw, x, x.name, heads))
    scores = g.node("MatMul", [q, permute(g, k, 0, 1, 3, 2)])
    mixed = permute(g, g.node("MatMul", [_softmax(g, scores), v]), 0, 2, 1, 3)
    merged = g.reshape(mixed, [0, 2, heads.width])
    y = linear(g, draw, merged, heads.width, x.width)
    mean = g.reduce("ReduceMean", y, [1])
    return Tokens(g.node("Add", [x.name, mean]), x.count, x.width)


@block(Tokens)
def linear_attention(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """phi(q) (phi(k)^T v), without a softmax."""
    heads = draw_heads(draw, shared=False)
    q, k, v = (permute(g, y, 0, 2, 1, 3) for y in projections(g, draw, x, x.name, heads))
    q, k = (g.node("Sigmoid", [y]) for y in (q, k))
    context = g.node("MatMul", [permute(g, k, 0, 1, 3, 2), v])  # (N, heads, size, size)
    mixed = g.node("MatMul", [q, context])
    mixed = g.node("Mul", [mixed, scalar(g, 0.2)])
    merged = g.reshape(permute(g, mixed, 0, 2, 1, 3), [0, 0, heads.width])
    return joined(g, draw, x, linear(g, draw, merged, heads.width, x.width), x.width)


@block(Tokens)
def pooled_by_attention(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """One score per token weighs them; their sum is added to every token."""
    scores = linear(g, draw, x.name, x.width, 1)  # (N, T, 1)
    weights = g.node("Softmax", [scores], axis=1) if g.opset >= 13 else g.node("Sigmoid", [scores])
    pooled = g.reduce("ReduceSum", g.node("Mul", [weights, x.name]), [1])
    gate = g.node("Mul", [pooled, vector(g, x.width, 0.5, "gamma")])
    return Tokens(g.node("Add", [x.name, gate]), x.count, x.width)
