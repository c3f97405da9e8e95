"""From maps to tokens and back, and where both begin."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypothesis import strategies as st
from onnx import TensorProto

from tests.graphs import Builder
from tests.random_graphs.registry import Draw, Map, Tokens, Working, flip, one_of, permute, width


def to_tokens(g: Builder, draw: Draw, x: Map) -> Tokens:
    """(N, C, H, W) -> (N, T, D)."""
    patches = x.sized and x.height % 2 == x.width % 2 == 0 and x.height * x.width > 4
    if patches and flip(draw):
        d = width(draw)  # patch embedding
        w = g.normal(d, x.channels, 2, 2)
        y = g.node("Conv", [x.name, w, g.normal(d, stem="b")], strides=[2, 2])
        x = Map(y, d, x.height // 2, x.width // 2)
    count = x.height * x.width if x.sized else None
    how = one_of(draw, "rows", "columns")
    if how == "rows":  # (N, C, H, W) -> (N, H, W, C) -> (N, H*W, C)
        y = g.reshape(permute(g, x.name, 0, 2, 3, 1), [0, -1, x.channels])
    else:  # (N, C, H*W) -> (N, H*W, C)
        y = permute(g, g.reshape(x.name, [0, x.channels, -1]), 0, 2, 1)
    return Tokens(y, count, x.channels)


def to_map(g: Builder, draw: Draw, x: Tokens) -> Map:
    """(N, T, D) -> (N, D, H, W), as square as the number of tokens allows."""
    h = max(k for k in range(1, math.isqrt(x.count) + 1) if x.count % k == 0)
    w = x.count // h
    if flip(draw):
        y = permute(g, g.reshape(x.name, [0, h, w, x.width]), 0, 3, 1, 2)
    else:
        y = g.reshape(permute(g, x.name, 0, 2, 1), [0, -1, h, w])
    return Map(y, x.width, h, w)


def bridged(g: Builder, draw: Draw, x: Working, takes: type) -> Working:
    if isinstance(x, takes):
        return x
    return to_tokens(g, draw, x) if isinstance(x, Map) else to_map(g, draw, x)


@dataclass(frozen=True)
class Words:
    """A table with a row for every word."""

    name: str
    width: int


def start(g: Builder, draw: Draw, source: str) -> tuple[Working, Words | None]:
    """The inputs and a first layer, whose channels may go."""
    c = width(draw)
    if source in ("image", "any image"):
        h, w = (8, 6) if source == "image" else (None, None)
        name = g.input(3, h or "H", w or "W")
        return Map(g.node("Relu", [g.conv(name, 3, c)]), c, h, w), None
    count = one_of(draw, 4, 6, 9) if source in ("sequence", "words") else None
    if source in ("words", "any words"):
        ids = g.input(count or "T", dtype=TensorProto.INT64)
        words = Words(g.normal(draw(st.integers(5, 7)), c, stem="words"), c)
        return Tokens(g.node("Gather", [words.name, ids], axis=0), count, c), words
    y = g.node("MatMul", [g.input(count or "T", 5), g.normal(5, c)])
    return Tokens(y, count, c), None


SOURCES = ("image", "image", "any image", "sequence", "any sequence", "words", "any words")
