"""Pools: a window over the spatial axes; channels pass. x: (N, C, in...)   y: (N, C, out...)."""

from __future__ import annotations

from spa.coupling.rules.base import rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node


@rule("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool")
def pool(node: Node, tracker: Tracker) -> None:
    shape = tracker.shape(node, 0)
    layers = tracker.keep_axes(
        tracker.read(node, 0), range(2, len(shape)), node, "a window reaches over this axis"
    )
    tracker.write(node, layers)
    # MaxPool's second output holds flat indices into x, which shift when channels go.
    if len(node.outputs) > 1 and node.outputs[1]:
        tracker.keep_layers(layers, node, "the indices of MaxPool count over the channels")
