"""Parts of no entries: what a rotary embedding leaves of heads that are turned whole, and its kin.

An empty tensor has no channel that could go, but it has axes, and these shrink with the tensor that
it was picked from. Here that tensor's heads and their columns are one axis of a weight, so that no
label is left in the part.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.coupling.cases import described, prove
from tests.graphs import Builder

HEADS, DIM, TOKENS, WIDTH = 4, 6, 5, 7
HEADS_GO = [f"{HEADS}: key0.1*{DIM} out0.0*{DIM} q0.1*{DIM} v0.1*{DIM}"]


def by_slice(g: Builder, x: str) -> tuple[str, str]:
    return g.slice(x, 0, DIM, axis=3), g.slice(x, DIM, 2**31 - 1, axis=3)


def by_split(g: Builder, x: str) -> tuple[str, str]:
    whole, nothing = g.split(x, [DIM, 0], axis=3)
    return whole, nothing


def by_gather(g: Builder, x: str) -> tuple[str, str]:
    return x, g.node("Gather", [x, g.ints(np.zeros(0, np.int64))], axis=3)


def concatenated(g: Builder, turned: str, nothing: str) -> str:
    return g.node("Concat", [turned, nothing], axis=3)


def in_front(g: Builder, turned: str, nothing: str) -> str:
    return g.node("Concat", [nothing, turned], axis=3)


def scaled(g: Builder, turned: str, nothing: str) -> str:
    """Each head by a factor of its own, and what is empty too."""
    factors = g.weight(np.linspace(1, 2, HEADS, dtype=np.float32).reshape(HEADS, 1, 1), "factors")
    turned, nothing = (g.node("Mul", [x, factors]) for x in (turned, nothing))
    return g.node("Concat", [turned, nothing], axis=3)


def summed(g: Builder, turned: str, nothing: str) -> str:
    """The sum of no entries is a zero for every head."""
    return g.node("Add", [turned, g.reduce("ReduceSum", nothing, [3])])


def attention(part, join) -> Builder:
    """Rotary attention whose rotation covers the heads from end to end."""
    g = Builder()
    x = g.input(TOKENS, WIDTH)
    angles = np.outer(np.arange(TOKENS), 3.0 ** -np.arange(DIM)).astype(np.float32)
    cos, sin = g.weight(np.cos(angles), "cos"), g.weight(np.sin(angles), "sin")
    turned = []
    for stem in ("q", "key"):
        y = g.node("MatMul", [x, g.normal(WIDTH, HEADS * DIM, stem=stem)])
        y = g.node("Transpose", [g.reshape(y, [0, 0, HEADS, DIM])], perm=[0, 2, 1, 3])
        whole, nothing = part(g, y)
        first, second = g.split(whole, [DIM // 2, DIM // 2], axis=3)
        other = g.node("Concat", [g.node("Neg", [second]), first], axis=3)
        whole = g.node("Add", [g.node("Mul", [whole, cos]), g.node("Mul", [other, sin])])
        turned.append(join(g, whole, nothing))
    q, k = turned
    v = g.node("MatMul", [x, g.normal(WIDTH, HEADS * DIM, stem="v")])
    v = g.node("Transpose", [g.reshape(v, [0, 0, HEADS, DIM])], perm=[0, 2, 1, 3])
    scores = g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 1, 3, 2])])
    y = g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v])
    y = g.reshape(g.node("Transpose", [y], perm=[0, 2, 1, 3]), [0, 0, -1])
    return g.model(g.node("MatMul", [y, g.normal(HEADS * DIM, 4, stem="out")]))


@pytest.mark.parametrize("join", [concatenated, in_front, summed])
@pytest.mark.parametrize("part", [by_slice, by_split, by_gather])
def test_heads_go_from_empty_parts_too(part, join):
    proto = attention(part, join)
    assert described(proto) == HEADS_GO
    prove(proto)


def test_what_meets_an_empty_part_goes_with_its_heads():
    proto = attention(by_slice, scaled)
    (line,) = described(proto)
    assert line.count("factors") == 4  # those of queries and of keys, each of both parts
    prove(proto)


@pytest.mark.parametrize("part", [by_slice, by_split, by_gather])
def test_columns_go_all_the_same(part):
    proto = attention(part, concatenated)
    lines = described(proto, "head_dim")
    assert f"{DIM}: out0.0*{HEADS} v0.1*{HEADS}" in lines
    assert any("q0.1" in line for line in lines)
    prove(proto, attention="head_dim")


def test_an_empty_part_of_the_file_loses_its_heads_too():
    """Nothing of it is joined, and yet its heads have to be as many as those of the rest."""

    def with_past(g: Builder, turned: str, nothing: str) -> str:
        past = g.weight(np.zeros((1, HEADS, TOKENS, 0), np.float32), "past", "initializer")
        shape = g.node("Concat", [g.node("Shape", ["x"], end=1), g.ints([1, 1, 1])], axis=0)
        return g.node("Concat", [g.node("Expand", [past, shape]), turned], axis=3)

    proto = attention(by_gather, with_past)
    (line,) = described(proto)
    assert "past0.1 past1.1" in line
    prove(proto)
