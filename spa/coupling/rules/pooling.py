"""Pools: a window over the spatial axes; channels pass. x: (N, C, in...)   y: (N, C, out...).

Global pools have no window and are reductions.

MaxPool's second output numbers the entries of all of x, channels included. MaxUnpool undoes it with
these numbers: as both lose the same channels, the numbers that the smaller model makes are the ones
that it needs, if its maps are as large as x's. Anything else that reads them keeps the channels.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.align import align
from spa.coupling.rules.base import Cutter, resize, rule
from spa.coupling.rules.convolution import WINDOW
from spa.coupling.tracker import Tracker
from spa.graph.model import Model
from spa.graph.nodes import Node


@rule("AveragePool", "MaxPool", zero="each", steady=True)
@rule("LpPool")
def pool(node: Node, tracker: Tracker) -> None:
    spatial = range(2, len(tracker.shape(node, 0)))
    layers = tracker.keep_axes(tracker.read(node, 0), spatial, node, WINDOW)
    tracker.write(node, layers)
    if len(node.outputs) > 1 and node.outputs[1]:
        if not _is_undone(node, tracker.model):
            tracker.keep_layers(layers, node, "the indices of MaxPool count over the channels")
        tracker.write(node, layers, 1)


@rule("MaxUnpool", zero="each")
def unpool(node: Node, tracker: Tracker) -> None:
    """x, indices: (N, C, in...)   y: (N, C, out...)."""
    shape = tracker.shape(node, 0)
    spatial = range(2, len(shape))
    operands = [
        (shape, tracker.keep_axes(tracker.read(node, i), spatial, node, WINDOW)) for i in (0, 1)
    ]
    tracker.write(node, align(tracker, node, operands, len(shape)))


@resize("MaxUnpool")
def resize_unpool(node: Node, cutter: Cutter) -> None:
    """The output's shape, where it is named, follows."""
    new = cutter.new_shape(node.outputs[0])
    sizes = cutter.value(node, 2)
    if sizes is not None and sizes.tolist() != list(new):
        cutter.set_input(node, 2, np.asarray(new, dtype=np.int64))


def _is_undone(node: Node, model: Model) -> bool:
    """Whether a pool's indices are read by operators alone that make maps as large as its own."""
    name, graph = node.outputs[1], model.graph
    if name in graph.outputs or name in graph.captured:
        return False
    readers = [(graph.nodes[use.node], use.position) for use in graph.uses.get(name, ())]
    return all(
        reader.op == "MaxUnpool"
        and position == 1
        and all(
            model.same_size(node.inputs[0], k, reader.outputs[0], k)
            for k in range(2, len(model.shapes[node.inputs[0]]))
        )
        for reader, position in readers
    )
