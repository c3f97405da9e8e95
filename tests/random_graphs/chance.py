"""Random numbers drawn while the model runs: its outputs cannot be compared as a whole."""

from __future__ import annotations

from dataclasses import replace

from tests.graphs import Builder
from tests.random_graphs.registry import Draw, Map, Tokens, block, one_of, scalar


@block(Map, since=15, until=22, plain=False)
def noise(g: Builder, draw: Draw, x: Map) -> Map:
    kind = one_of(draw, "Bernoulli", "RandomNormalLike", "RandomUniformLike", "RandomNormal",
                  "RandomUniform")  # fmt: skip
    if kind == "Bernoulli":
        y = g.node(kind, [g.node("Sigmoid", [x.name])])
    elif kind.endswith("Like"):
        y = g.node(kind, [x.name])
    else:
        y = g.node(kind, [], shape=[1, x.channels, 1, 1])
    y = g.node("Mul", [y, scalar(g, 0.1)])
    return replace(x, name=g.node("Add", [x.name, y]))


@block(Tokens, until=22, plain=False)
def drawn_class(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """A class drawn from the mean token; its number is added to all."""
    mean = g.reduce("ReduceMean", x.name, [1], keepdims=0)
    number = g.node("Multinomial", [mean], sample_size=1)  # (N, 1)
    y = g.node("Mul", [g.node("Cast", [number], to=1), scalar(g, 0.01)])
    return replace(x, name=g.node("Add", [x.name, g.unsqueeze(y, [2])]))
