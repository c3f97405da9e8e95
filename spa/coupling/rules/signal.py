"""Transforms over one axis or two: DFT and STFT over time, Det over a matrix. Other axes pass.

DFT   x: (..., T, ..., 1 or 2)      y: (..., F, ..., 2)
STFT  x: (N, T, 1 or 2)             y: (N, frames, F, 2)
Det   x: (..., M, M)                y: (...)
"""

from __future__ import annotations

from spa.coupling.labels import along
from spa.coupling.rules.base import normal_axis, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node

TRANSFORMED = "a transform is taken over this axis"


@rule("DFT", zero="each")
def dft(node: Node, tracker: Tracker) -> None:
    """The axis is an attribute before opset 20."""
    rank = len(tracker.shape(node, 0))
    axis = node.attr("axis", 1)
    if tracker.model.graph.opset >= 20:
        axis = -2
        if node.has_input(2):
            value = tracker.value(node, 2)
            if value is None:
                tracker.keep_inputs(node, "its axis is computed while the model runs")
                tracker.write(node, [])
                return
            axis = int(value.reshape(-1)[0])
    axes = (normal_axis(axis, rank), rank - 1)
    tracker.write(node, tracker.keep_axes(tracker.read(node, 0), axes, node, TRANSFORMED))


@rule("STFT")
def stft(node: Node, tracker: Tracker) -> None:
    for i in range(1, len(node.inputs)):
        if node.has_input(i):
            tracker.keep_layers(tracker.read(node, i), node, "a window is laid over frames")
    rank = len(tracker.shape(node, 0))
    layers = tracker.keep_axes(tracker.read(node, 0), range(1, rank), node, TRANSFORMED)
    tracker.write(node, [along(layer.reshape(-1), 0, 4) for layer in layers])


@rule("Det", jumps=True)
def det(node: Node, tracker: Tracker) -> None:
    rank = len(tracker.shape(node, 0))
    axes = (rank - 2, rank - 1)
    layers = tracker.keep_axes(tracker.read(node, 0), axes, node, "a determinant is taken over it")
    tracker.write(node, [layer.squeeze(axes) for layer in layers])
