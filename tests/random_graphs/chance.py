"""Random numbers drawn while the model runs: its outputs cannot be compared as a whole."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.registry import Draw, Map, Tokens, block, scalar


@block(Map, since=15, until=22, plain=False)
def noise(g: Builder, draw: Draw, x: Map) -> Map:
    kinds = ("Bernoulli", "RandomNormalLike", "RandomUniformLike", "RandomNormal", "RandomUniform")
    y = x.name
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=3)):
        if kind == "Bernoulli":
            z = g.node(kind, [g.node("Sigmoid", [y])])
        elif kind.endswith("Like"):
            z = g.node(kind, [y])
        else:
            z = g.node(kind, [], shape=[1, x.channels, 1, 1])
        y = g.node("Add", [y, g.node("Mul", [z, scalar(g, 0.1)])])
    return replace(x, name=y)


@block(Tokens, until=22, plain=False)
def drawn_class(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A class drawn from the mean token; its number is added to all."""
    mean = g.reduce("ReduceMean", x.name, [1], keepdims=0)
    logits = g.gemm(mean, x.width, 5)
    number = g.node("Multinomial", [logits], sample_size=1)  # (N, 1)
    y = g.node("Mul", [g.node("Cast", [number], to=1), scalar(g, 0.01)])
    return replace(x, name=g.node("Add", [x.name, g.unsqueeze(y, [2])]))
