"""Recurrent layers.

x: (T, N, in), or (N, T, in) by layout   y: (T, D, N, H)   last states: (D, N, H)
"""

from __future__ import annotations

from spa.graph.nodes import Node
from spa.graph.sizes.registry import Axes, Reasoner, axes_of


@axes_of("GRU", "LSTM", "RNN", "com.microsoft::DynamicQuantizeLSTM")
def recurrent(node: Node, reason: Reasoner) -> list[Axes]:
    x = reason.axes(node.inputs[0])
    made = next(name for name in node.outputs if name)
    hidden = reason.seen(made)[-1]
    directions = 2 if node.attr("direction", "forward") == "bidirectional" else 1
    if int(node.attr("layout", 0)):
        last = (x[0], directions, hidden)
        return [(x[0], x[1], directions, hidden), last, last]
    last = (directions, x[1], hidden)
    return [(x[0], directions, x[1], hidden), last, last]
