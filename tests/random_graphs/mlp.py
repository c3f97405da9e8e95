"""Layers over tokens: MLPs, gated ones, experts, mixing over the tokens, embeddings."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.activations import act
from tests.random_graphs.norms import layer_norm
from tests.random_graphs.registry import (
    Draw,
    Map,
    Tokens,
    block,
    concat,
    flip,
    linear,
    one_of,
    permute,
    scalar,
    table,
    width,
)


def pre_normed(g: Builder, draw: Draw, x: Tokens) -> str:
    """What a residual branch reads: the tokens, or a norm of them (which is not exact)."""
    return layer_norm(g, draw, x.name, x.width) if draw(st.integers(0, 3)) == 0 else x.name


def joined(g: Builder, draw: Draw, x: Tokens, y: str, d: int) -> Tokens:
    """The branch alone, or with the tokens added where the widths agree."""
    if d == x.width and one_of(draw, True, True, False):
        return replace(x, name=g.node("Add", [x.name, y]))
    return replace(x, name=y, width=d)


@block(Tokens)
def mlp(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    hidden, d = width(draw), one_of(draw, x.width, x.width, 6)
    y = act(g, draw, linear(g, draw, pre_normed(g, draw, x), x.width, hidden))
    return joined(g, draw, x, linear(g, draw, y, hidden, d), d)


@block(Tokens)
def linear_act(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    d = width(draw)
    return replace(x, name=act(g, draw, linear(g, draw, x.name, x.width, d)), width=d)


@block(Tokens)
def gated_mlp(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """GLU, SwiGLU, GEGLU: two projections, or one that is split."""
    hidden, source = width(draw), pre_normed(g, draw, x)
    how = one_of(draw, "apart", "split", "slice", "stacked")
    if how == "apart":
        a, b = (linear(g, draw, source, x.width, hidden) for _ in range(2))
    else:
        both = linear(g, draw, source, x.width, 2 * hidden)
        if how == "split":
            a, b = g.split(both, [hidden, hidden], axis=2)
        elif how == "slice":
            a, b = g.slice(both, 0, hidden, 2), g.slice(both, hidden, 2**31, 2)
        else:
            pairs = g.reshape(both, [0, 0, 2, hidden])
            a, b = (g.node("Gather", [pairs, g.ints(i)], axis=2) for i in (0, 1))
    gate = one_of(draw, "silu", "sigmoid", "tanh", "relu")
    if gate == "silu":
        a = g.node("Mul", [a, g.node("Sigmoid", [a])])
    else:
        a = g.node({"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}[gate], [a])
    y = g.node("Mul", [a, b])
    return joined(g, draw, x, linear(g, draw, y, hidden, x.width), x.width)


@block(Tokens, plain=False)
def experts(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A mixture of experts with stacked weights; all of them run, a router weighs them."""
    e, hidden = one_of(draw, 2, 3), width(draw)
    d = x.width
    logits = linear(g, draw, x.name, d, e)
    weights = g.node("Softmax", [logits], axis=2)  # (N, T, E)
    first, second = g.normal(e, d, hidden), g.normal(e, hidden, d)
    if g.opset >= 12 and flip(draw):
        y = act(g, draw, g.node("Einsum", [x.name, first], equation="ntd,edh->nteh"))
        if flip(draw):
            y = g.node("Einsum", [y, second, weights], equation="nteh,ehd,nte->ntd")
        else:
            y = g.node("Einsum", [y, second], equation="nteh,ehd->nted")
            y = g.reduce("ReduceSum", g.node("Mul", [y, g.unsqueeze(weights, [3])]), [2], 0)
    else:  # (N, 1, T, D) x (E, D, H) -> (N, E, T, H)
        y = g.node("MatMul", [g.unsqueeze(x.name, [1]), first])
        if flip(draw):
            y = g.node("Add", [y, g.normal(e, 1, hidden, stem="b")])
        y = g.node("MatMul", [act(g, draw, y), second])
        weights = g.unsqueeze(permute(g, weights, 0, 2, 1), [3])
        y = g.reduce("ReduceSum", g.node("Mul", [y, weights]), [1], 0)
    return joined(g, draw, x, y, d)


@block(Tokens, sized=True)
def token_mixing(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """MLP-Mixer: a perceptron over the tokens, between two transposes or from the left."""
    hidden = width(draw)
    if flip(draw):
        y = linear(g, draw, permute(g, x.name, 0, 2, 1), x.count, hidden)
        y = linear(g, draw, act(g, draw, y), hidden, x.count)
        y = permute(g, y, 0, 2, 1)
    else:
        y = g.node("MatMul", [g.normal(hidden, x.count), x.name])
        y = g.node("Add", [y, g.normal(hidden, 1, stem="b")])
        y = g.node("MatMul", [g.normal(x.count, hidden), act(g, draw, y)])
    return replace(x, name=g.node("Add", [x.name, y]))


@block(Tokens)
def token_shift(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Half of the features come from the token before (RWKV)."""
    first = draw(st.integers(1, x.width - 1))
    a, b = g.split(x.name, [first, x.width - first], axis=2)
    b = g.pad(b, [0, 1, 0, 0, -1, 0])
    return replace(x, name=concat(g, [a, b], 2))


@block(Tokens)
def convolved_tokens(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A convolution along the tokens: plain, or depthwise as in Conformer."""
    y = permute(g, x.name, 0, 2, 1)
    if flip(draw):
        w = g.normal(x.width, 1, 3)
        y = g.node("Conv", [y, w], group=x.width, pads=[1, 1])
        d = x.width
    else:
        d = width(draw)
        y = g.conv(y, x.width, d, 3, rank=1, bias=flip(draw))
    return replace(x, name=permute(g, act(g, draw, y), 0, 2, 1), width=d)


@block(Tokens)
def features_moved(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Features rolled, repeated or joined with themselves."""
    d = x.width
    how = one_of(draw, "roll", "gather", "twice", "pad")
    if how == "roll":
        k = draw(st.integers(1, d - 1))
        y = concat(g, [g.slice(x.name, k, 2**31, 2), g.slice(x.name, 0, k, 2)], 2)
    elif how == "gather":
        chosen = draw(st.lists(st.integers(0, d - 1), min_size=2, max_size=d + 2))
        y, d = g.node("Gather", [x.name, g.ints(chosen)], axis=2), len(chosen)
    elif how == "twice":
        y, d = g.node("Tile", [x.name, g.ints([1, 1, 2])]), 2 * d
    else:
        y, d = g.pad(x.name, [0, 0, 1, 0, 0, 2]), d + 3
    return replace(x, name=y, width=d)


@block(Tokens, sized=True)
def patches_merged(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """Swin: pairs of tokens become one of twice the width, then a linear layer."""
    if x.count % 2 or x.count < 4:
        return x
    if flip(draw):
        y = g.reshape(x.name, [0, x.count // 2, 2 * x.width])
    elif g.opset >= 10:
        y = concat(g, [g.slice(x.name, k, 2**31, 1, 2) for k in (0, 1)], 2)
    else:
        return x
    d = width(draw)
    y = g.node("MatMul", [y, g.normal(2 * x.width, d)])
    return Tokens(y, x.count // 2, d)


@block(Tokens)
def added_table(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A row of a small table by a constant index (token types), added to all tokens."""
    rows = g.normal(3, x.width, stem="types")
    y = g.node("Gather", [rows, g.ints(draw(st.integers(0, 2)))], axis=0)
    return replace(x, name=g.node("Add", [x.name, y]))


@block(Tokens)
def pooled_gate(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A gate for every feature from the mean over the tokens."""
    s = g.reduce(one_of(draw, "ReduceMean", "ReduceMax"), x.name, [1], keepdims=0)
    s = g.node("Relu", [g.gemm(s, x.width, 4, trans=draw(st.integers(0, 1)))])
    s = g.node("Sigmoid", [g.gemm(s, 4, x.width, trans=draw(st.integers(0, 1)))])
    return replace(x, name=g.node("Mul", [x.name, g.unsqueeze(s, [1])]))


@block(Map)
def dynamic_filter(g: Builder, draw: Draw, x: Map) -> Map:
    """Every channel scaled and shifted by what a small net makes of the pooled map (FiLM)."""
    s = g.node("Flatten", [g.node("GlobalAveragePool", [x.name])])
    both = g.gemm(s, x.channels, 2 * x.channels)
    a, b = (g.unsqueeze(part, [2, 3]) for part in g.split(both, [x.channels] * 2))
    return replace(x, name=g.node("Add", [g.node("Mul", [x.name, a]), b]))


@block(Tokens)
def learnt_queries(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A few learnt vectors joined to the tokens for every example."""
    n = draw(st.integers(1, 2))
    rows = table(g, 1, n, x.width, stem="queries")
    shape = g.node("Shape", [x.name])
    target = concat(g, [g.slice(shape, 0, 1, 0), g.ints([1, 1])], 0)
    y = concat(g, [x.name, g.node("Expand", [rows, target])], 1)
    count = x.count + n if x.count else None
    return Tokens(g.node("Mul", [y, scalar(g, 0.9)]), count, x.width)
