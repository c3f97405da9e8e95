"""LSTM, GRU and RNN over tokens: one direction or both, stacked, with states of zeros or none."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tests.graphs import Builder
from tests.random_graphs.registry import (
    Draw,
    Tokens,
    block,
    concat,
    flip,
    linear,
    one_of,
    permute,
    shape_part,
)

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _layer(g: Builder, draw: Draw, op: str, x: str, din: int, hidden: int, both: bool) -> str:
    """(T, N, din) -> (T, N, directions * hidden)."""
    d = 2 if both else 1
    inputs = [x, g.normal(d, GATES[op] * hidden, din), g.normal(d, GATES[op] * hidden, hidden)]
    biased, state = flip(draw), one_of(draw, "none", "none", "zeros")
    if biased or state == "zeros":
        inputs.append(g.normal(d, 2 * GATES[op] * hidden, stem="b") if biased else "")
    if state == "zeros":
        shape = concat(g, [g.ints([d]), shape_part(g, x, 1), g.ints([hidden])], 0)
        zeros = g.node("ConstantOfShape", [shape])
        inputs += ["", zeros, *([zeros] if op == "LSTM" else [])]
    attrs = {"hidden_size": hidden, "direction": "bidirectional" if both else "forward"}
    if op == "GRU":
        attrs["linear_before_reset"] = draw(st.integers(0, 1))
    y = g.node(op, inputs, **attrs)  # (T, directions, N, hidden)
    if not both and flip(draw):
        return g.squeeze(y, [1])
    return g.reshape(permute(g, y, 0, 2, 1, 3), [0, 0, d * hidden])


@block(Tokens)
def recurrent(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    op, hidden, both = one_of(draw, *GATES), one_of(draw, 3, 4, 6), flip(draw)
    y, d = permute(g, x.name, 1, 0, 2), x.width
    for _ in range(draw(st.integers(1, 2))):
        y, d = _layer(g, draw, op, y, d, hidden, both), hidden * (2 if both else 1)
    return replace(x, name=permute(g, y, 1, 0, 2), width=d)


@block(Tokens)
def last_state(g: Builder, draw: Draw, x: Tokens) -> Tokens:
    """The last state alone (Y_h), projected and added to every token."""
    op, hidden = one_of(draw, *GATES), one_of(draw, 3, 4)
    inputs = [permute(g, x.name, 1, 0, 2), g.normal(1, GATES[op] * hidden, x.width)]
    inputs.append(g.normal(1, GATES[op] * hidden, hidden))
    outputs = ["", g.fresh("state_")]
    g.node(op, inputs, outputs, hidden_size=hidden)
    state = permute(g, outputs[1], 1, 0, 2)  # (N, 1, hidden)
    y = linear(g, draw, state, hidden, x.width)
    return replace(x, name=g.node("Add", [x.name, y]))
