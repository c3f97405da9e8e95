"""Attention without hints: heads are found from Reshape, Transpose and MatMul alone."""

from __future__ import annotations

import numpy as np
import pytest

import spa
from tests.coupling.cases import described, prove
from tests.graphs import Builder
from tests.oracles import assert_equals_zeroed


def heads_of(g: Builder, x: str, tokens: int, heads: int, dim: int) -> str:
    """(B, T, heads*dim) -> (B, heads, T, dim)."""
    return g.node("Transpose", [g.reshape(x, [0, tokens, heads, dim])], perm=[0, 2, 1, 3])


def attend(g: Builder, q: str, k: str, v: str, dim: int, width: int, tokens: int) -> str:
    """Softmax attention and the output projection; q, k, v: (B, heads, T, dim)."""
    scale = g.weight(np.float32(1 / np.sqrt(dim)), "scale")
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 1, 3, 2])])
    weights = g.node("Softmax", [g.node("Mul", [scores, scale])], axis=-1)
    mixed = g.node("Transpose", [g.node("MatMul", [weights, v])], perm=[0, 2, 1, 3])
    merged = g.reshape(mixed, [0, tokens, -1])
    return g.node("MatMul", [merged, g.normal(width, 6, stem="out")])


def separate(heads=4, dim=3, tokens=5, biased=True) -> Builder:
    g = Builder()
    x = g.input(tokens, 7)
    parts = []
    for name in ("q", "key", "v"):
        y = g.node("MatMul", [x, g.normal(7, heads * dim, stem=name)])
        if biased:
            y = g.node("Add", [y, g.normal(heads * dim, stem=f"{name}b")])
        parts.append(heads_of(g, y, tokens, heads, dim))
    return g.model(attend(g, *parts, dim, heads * dim, tokens))


@pytest.mark.parametrize("biased", [True, False])
def test_heads_go_with_q_k_v_and_the_projection(biased):
    proto = separate(biased=biased)
    expected = (
        "4: key0.1*3 keyb0.0*3 out0.0*3 q0.1*3 qb0.0*3 v0.1*3 vb0.0*3"
        if biased
        else "4: key0.1*3 out0.0*3 q0.1*3 v0.1*3"
    )
    assert described(proto) == [expected]
    prove(proto, plain=False)


@pytest.mark.parametrize("biased", [True, False])
def test_head_dim_goes_in_q_and_k_and_in_v_and_the_projection(biased):
    proto = separate(biased=biased)
    model = spa.load(proto)
    groups = spa.find_groups(model, "head_dim")
    found = sorted(sorted({m.name[0] for m in group.members}) for group in groups)
    assert found == [["k", "q"], ["o", "v"]]
    assert [group.channels for group in groups] == [3, 3]
    assert all(group.exact for group in groups)
    result = spa.prune(model, ratio=0.5, limits=spa.Limits(scope="local"), attention="head_dim")
    assert result.proof.equal
    assert_equals_zeroed(proto, result.model, result.plan.to_json(), batches=(1, 3))


def test_none_keeps_attention_dense():
    groups = spa.find_groups(spa.load(separate()), "none")
    assert len(groups) == 0
    assert any("--attention none" in kept.reason for kept in groups.kept)


def test_another_word_is_refused():
    with pytest.raises(spa.SettingError, match="head_dim"):
        spa.find_groups(spa.load(separate()), "head_dims")


@pytest.mark.parametrize("how", ["split", "slice", "gather"])
def test_packed_qkv(how):
    heads, dim, tokens = 4, 3, 5
    width = heads * dim
    g = Builder()
    qkv = g.node("MatMul", [g.input(tokens, 7), g.normal(7, 3 * width, stem="qkv")])
    if how == "split":
        parts = [heads_of(g, y, tokens, heads, dim) for y in g.split(qkv, [width] * 3, axis=2)]
    elif how == "slice":
        parts = [
            heads_of(g, g.slice(qkv, i * width, (i + 1) * width, axis=2), tokens, heads, dim)
            for i in range(3)
        ]
    else:
        stacked = g.reshape(qkv, [0, tokens, 3, heads, dim])
        stacked = g.node("Transpose", [stacked], perm=[2, 0, 3, 1, 4])
        parts = [g.node("Gather", [stacked, g.ints(i)], axis=0) for i in range(3)]
    proto = g.model(attend(g, *parts, dim, width, tokens))
    assert described(proto) == ["4: out0.0*3 qkv0.1*9"]
    prove(proto, plain=False)


def test_batch_and_heads_merged_in_one_axis():
    """torch.nn.MultiheadAttention: (T, B, C) -> (T, B*h, d) -> (B*h, T, d)."""
    heads, dim, tokens = 4, 3, 5
    g = Builder()
    x = g.node("Transpose", [g.input(tokens, 7)], perm=[1, 0, 2])
    parts = []
    for name in ("q", "key", "v"):
        y = g.node("MatMul", [x, g.normal(7, heads * dim, stem=name)])
        parts.append(g.node("Transpose", [g.reshape(y, [tokens, -1, dim])], perm=[1, 0, 2]))
    q, k, v = parts
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 2, 1])])
    mixed = g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v])
    merged = g.reshape(g.node("Transpose", [mixed], perm=[1, 0, 2]), [-1, heads * dim])
    proto = g.model(g.node("MatMul", [merged, g.normal(heads * dim, 6, stem="out")]))
    assert described(proto) == ["4: key0.1*3 out0.0*3 q0.1*3 v0.1*3"]
    prove(proto, plain=False)


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_a_kv_head_goes_with_its_query_heads(kv_heads):
    heads, dim, tokens = 4, 3, 5
    g = Builder()
    x = g.input(tokens, 7)
    q = heads_of(g, g.node("MatMul", [x, g.normal(7, heads * dim, stem="q")]), tokens, heads, dim)
    repeated = []
    for name in ("key", "v"):
        y = g.node("MatMul", [x, g.normal(7, kv_heads * dim, stem=name)])
        y = g.unsqueeze(heads_of(g, y, tokens, kv_heads, dim), [2])
        shape = [1, kv_heads, heads // kv_heads, tokens, dim]
        y = g.node("Expand", [y, g.ints(shape)])
        repeated.append(g.reshape(y, [0, heads, tokens, dim]))
    proto = g.model(attend(g, q, *repeated, dim, heads * dim, tokens))
    if kv_heads == 2:
        assert described(proto) == ["2: key0.1*3 out0.0*6 q0.1*6 v0.1*3"]
    else:
        # One kv head for all: any query head may go, and the kv head stays.
        assert described(proto) == ["4: out0.0*3 q0.1*3"]
    prove(proto, plain=False)


def test_rotary_embeddings_keep_heads_apart():
    heads, dim, tokens = 4, 4, 5
    g = Builder()
    x = g.input(tokens, 7)
    angles = np.outer(np.arange(tokens), [1.0, 0.1]).astype(np.float32)
    cos = g.weight(np.cos(np.tile(angles, 2)).reshape(1, 1, tokens, dim), "cos")
    sin = g.weight(np.sin(np.tile(angles, 2)).reshape(1, 1, tokens, dim), "sin")

    def rotated(y: str) -> str:
        low, high = g.slice(y, 0, 2, axis=3), g.slice(y, 2, 4, axis=3)
        half = g.node("Concat", [g.node("Neg", [high]), low], axis=-1)
        return g.node("Add", [g.node("Mul", [y, cos]), g.node("Mul", [half, sin])])

    parts = [
        heads_of(g, g.node("MatMul", [x, g.normal(7, heads * dim, stem=n)]), tokens, heads, dim)
        for n in ("q", "key", "v")
    ]
    proto = g.model(
        attend(g, rotated(parts[0]), rotated(parts[1]), parts[2], dim, heads * dim, tokens)
    )
    assert described(proto) == ["4: key0.1*4 out0.0*4 q0.1*4 v0.1*4"]
    prove(proto, plain=False)
    groups = spa.find_groups(spa.load(proto), "head_dim")
    pairs = next(g for g in groups if {m.name[0] for m in g.members} >= {"q", "k"})
    assert pairs.channels == 2  # i and i + d/2 go together, with the columns of cos and sin
    assert {"c", "s"} <= {m.name[0] for m in pairs.members}


def test_a_relative_position_bias_goes_with_its_head():
    heads, dim, tokens = 4, 3, 5
    g = Builder()
    x = g.input(tokens, 7)
    q, k, v = (
        heads_of(g, g.node("MatMul", [x, g.normal(7, heads * dim, stem=n)]), tokens, heads, dim)
        for n in ("q", "key", "v")
    )
    table = g.normal(9, heads, stem="table")
    index = g.ints((np.arange(tokens)[:, None] - np.arange(tokens)[None, :] + 4).reshape(-1))
    bias = g.reshape(g.node("Gather", [table, index], axis=0), [tokens, tokens, heads])
    bias = g.unsqueeze(g.node("Transpose", [bias], perm=[2, 0, 1]), [0])
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 1, 3, 2])])
    weights = g.node("Softmax", [g.node("Add", [scores, bias])], axis=-1)
    mixed = g.node("Transpose", [g.node("MatMul", [weights, v])], perm=[0, 2, 1, 3])
    merged = g.reshape(mixed, [0, tokens, -1])
    proto = g.model(g.node("MatMul", [merged, g.normal(heads * dim, 6, stem="out")]))
    assert described(proto) == ["4: key0.1*3 out0.0*3 q0.1*3 table0.1 v0.1*3"]
    prove(proto, plain=False)


def test_channel_attention():
    """XCA: k^T q over tokens, a (d, d) map in every head."""
    heads, dim, tokens = 4, 3, 5
    g = Builder()
    x = g.input(tokens, 7)
    q, k, v = (
        heads_of(g, g.node("MatMul", [x, g.normal(7, heads * dim, stem=n)]), tokens, heads, dim)
        for n in ("q", "key", "v")
    )
    scores = g.node("MatMul", [g.node("Transpose", [q], perm=[0, 1, 3, 2]), k])  # (B, h, d, d)
    weights = g.node("Softmax", [scores], axis=-1)
    mixed = g.node("MatMul", [weights, g.node("Transpose", [v], perm=[0, 1, 3, 2])])
    mixed = g.node("Transpose", [mixed], perm=[0, 3, 1, 2])
    merged = g.reshape(mixed, [0, tokens, -1])
    proto = g.model(g.node("MatMul", [merged, g.normal(heads * dim, 6, stem="out")]))
    assert described(proto) == ["4: key0.1*3 out0.0*3 q0.1*3 v0.1*3"]
    prove(proto, plain=False)
