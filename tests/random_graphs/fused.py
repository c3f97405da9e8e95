"""Attention, norms and activations as one operator: standard ones and those of com.microsoft."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.activations import act
from tests.random_graphs.attention import Heads, draw_heads, projections
from tests.random_graphs.mlp import joined, pre_normed
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    flip,
    linear,
    one_of,
    permute,
    scalar,
    table,
    vector,
    width,
)

MICROSOFT = "com.microsoft"


def _projected(g: Builder, draw: Draw, x: Tokens, heads: Heads, rank: int) -> list[str]:
    """q, k and v as (N, T, heads * size), or (N, heads, T, size)."""
    parts = projections(g, draw, x, pre_normed(g, draw, x), heads)
    if rank == 4:
        return [permute(g, y, 0, 2, 1, 3) for y in parts]
    counts = (heads.count, heads.shared, heads.shared)
    return [g.reshape(y, [0, 0, n * heads.size]) for y, n in zip(parts, counts, strict=True)]


def _out(g: Builder, draw: Draw, x: Tokens, y: str, heads: Heads) -> Tokens:
    return joined(g, draw, x, linear(g, draw, y, heads.width, x.width), x.width)


@block(Tokens, since=23)
def attention_operator(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    heads, rank = draw_heads(draw), one_of(draw, 3, 4)
    q, k, v = _projected(g, draw, x, heads, rank)
    attrs = {"is_causal": draw(st.integers(0, 1)), "scale": one_of(draw, None, 0.4)}
    if rank == 3:
        attrs |= {"q_num_heads": heads.count, "kv_num_heads": heads.shared}
    inputs = [q, k, v]
    if x.sized and flip(draw):
        inputs.append(table(g, *one_of(draw, (1, heads.count), (1, 1), ()), x.count, x.count))
    y = g.node("Attention", inputs, **attrs)
    if rank == 4:
        y = g.reshape(permute(g, y, 0, 2, 1, 3), [0, 0, heads.width])
    return _out(g, draw, x, y, heads)


@block(Tokens)
def packed_attention(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    heads = draw_heads(draw, shared=False)
    w = g.normal(x.width, 3 * heads.width)
    inputs = [x.name, w, g.normal(3 * heads.width, stem="b")]
    y = g.node("Attention", inputs, num_heads=heads.count, domain=MICROSOFT)
    return _out(g, draw, x, y, heads)


@block(Tokens)
def multi_head_attention(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    heads = draw_heads(draw, shared=False)
    inputs = _projected(g, draw, x, heads, 3)
    if flip(draw):
        inputs.append(g.normal(3 * heads.width, stem="b"))
    attrs = {"num_heads": heads.count, "scale": one_of(draw, None, 0.4)}
    y = g.node("MultiHeadAttention", inputs, domain=MICROSOFT, **attrs)
    return _out(g, draw, x, y, heads)


@block(Tokens, sized=True)
def group_query_attention(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    drawn = draw_heads(draw)
    heads = Heads(drawn.count, 8, drawn.shared)
    q, k, v = _projected(g, draw, x, heads, 3)
    n = g.slice(g.node("Shape", [x.name]), 0, 1, 0)
    last = g.weight(np.array(x.count - 1, np.int32), "last", "initializer")
    lengths = g.node("Expand", [last, n])
    total = g.weight(np.array(x.count, np.int32), "total", "initializer")
    y = g.node(
        "GroupQueryAttention", [q, k, v, "", "", lengths, total],
        num_heads=heads.count, kv_num_heads=heads.shared, domain=MICROSOFT,
    )  # fmt: skip
    return _out(g, draw, x, y, heads)


def _rotary(g: Builder, draw: Draw, x: Tokens, domain: str) -> Tokens:
    heads = Heads(one_of(draw, 2, 4), 4, 0)
    heads = replace(heads, shared=heads.count)
    q, k, v = _projected(g, draw, x, heads, 4)
    angle = np.outer(np.arange(x.count), [1.0, 0.1])
    cos, sin = (g.weight(f(angle).astype(np.float32), "rotary") for f in (np.cos, np.sin))
    ids = g.node("Expand", [g.ints(np.arange(x.count)[None]), _batch_by_one(g, x)])
    tables = [ids, cos, sin] if domain else [cos, sin, ids]
    attrs = {"interleaved": draw(st.integers(0, 1)), "domain": domain}
    q, k = (g.node("RotaryEmbedding", [y, *tables], **attrs) for y in (q, k))
    scores = g.node("MatMul", [q, permute(g, k, 0, 1, 3, 2)])
    weights = g.node("Softmax", [scores], axis=-1 if g.opset >= 13 else 3)
    mixed = permute(g, g.node("MatMul", [weights, v]), 0, 2, 1, 3)
    return _out(g, draw, x, g.reshape(mixed, [0, 0, heads.width]), heads)


@block(Tokens, sized=True, since=23)
def rotary_operator(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """q and k rotated by the standard operator."""
    return _rotary(g, draw, x, "")


@block(Tokens, sized=True)
def rotary_of_microsoft(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    return _rotary(g, draw, x, MICROSOFT)


def _batch_by_one(g: Builder, x: Tokens) -> str:
    n = g.slice(g.node("Shape", [x.name]), 0, 1, 0)
    return g.node("Concat", [n, g.ints([1])], axis=0)


@block(Tokens)
def fused_activation(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    d = width(draw)
    op = one_of(draw, "Gelu", "QuickGelu", "FastGelu", "BiasGelu")
    y = g.node("MatMul", [x.name, g.normal(x.width, d)])
    inputs = [y]
    if op == "BiasGelu" or (op == "FastGelu" and flip(draw)):
        inputs.append(g.normal(d, stem="b"))
    return replace(x, name=g.node(op, inputs, domain=MICROSOFT), width=d)


@block(Tokens)
def fused_matmul(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    d, flipped = width(draw), draw(st.integers(0, 1))
    w = g.normal(d, x.width) if flipped else g.normal(x.width, d)
    attrs = {"transB": flipped, "alpha": one_of(draw, None, 0.5)}
    y = g.node("FusedMatMul", [x.name, w], domain=MICROSOFT, **attrs)
    return replace(x, name=act(g, draw, y), width=d)


@block(Tokens)
def skip_norm(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A residual sum and its norm in one; not exact."""
    y = linear(g, draw, act(g, draw, linear(g, draw, x.name, x.width, 6)), 6, x.width)
    simple = flip(draw)
    op = "SkipSimplifiedLayerNormalization" if simple else "SkipLayerNormalization"
    inputs = [x.name, y, vector(g, x.width, 1.0, "gamma")]
    inputs += [] if simple else [vector(g, x.width, 0.0, "beta")]
    return replace(x, name=g.node(op, inputs, domain=MICROSOFT, epsilon=1e-3))


@block(Map, since=18)
def group_norm(g: Builder, draw: Draw, x: Map) -> Map:
    groups = one_of(draw, *(n for n in (1, 2, 3, 4) if x.channels % n == 0))
    size = x.channels if g.opset >= 21 else groups  # one number a group, before
    scale, shift = (vector(g, size, v, "gn") for v in (1.0, 0.0))
    inputs = [x.name, scale, shift]
    y = g.node("GroupNormalization", inputs, num_groups=groups, epsilon=1e-2)
    return replace(x, name=g.node("Mul", [y, scalar(g, 0.7)]))
