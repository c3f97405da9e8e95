"""Compress, Trilu and OneHot: masks that are given by position.

1. Compress by known truth values is a selection along its axis. By computed ones, or of the
   flattened tensor, it keeps what it selects from.
2. Trilu compares rows with columns by their number, so the last two axes are kept.
3. OneHot's new axis is as long as its depth says; the axes of its indices pass.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.rules.selection import COMPUTED, where_fixed
from spa.coupling.tracker import Tracker
from spa.graph.model import Array
from spa.graph.nodes import Node


@rule("Compress", zero="each", jumps=True)
def compress(node: Node, tracker: Tracker) -> None:  # 1
    axis = node.attr("axis")
    if axis is None:
        tracker.keep_inputs(node, "it selects from the flattened tensor")
        tracker.write(node, [])
        return
    shape = tracker.shape(node, 0)
    axis = normal_axis(int(axis), len(shape))
    truth = tracker.value(node, 1)
    layers = tracker.read(node, 0)
    if truth is None:
        tracker.keep_layers(tracker.read(node, 1), node, "it says what is selected")
        tracker.write(node, tracker.keep_axes(layers, [axis], node, COMPUTED))
        return
    chosen = np.flatnonzero(truth)
    layers = where_fixed(node, tracker, layers, axis)
    tracker.write(node, [x.take(chosen, axis=axis) if x.shape[axis] > 1 else x for x in layers])


@resize("Compress")
def resize_compress(node: Node, cutter: Cutter) -> None:
    """Truth values of what goes are left out; what is beyond the last one is not selected."""
    truth: Array | None = cutter.value(node, 1)
    if node.attr("axis") is None or truth is None:
        return
    kept = cutter.input_kept(node, 0, normal_axis(int(node.attr("axis")), _rank(node, cutter)))
    if not kept.all():
        cutter.set_input(node, 1, truth[kept[: truth.size]])


@rule("Trilu", zero="each")
def trilu(node: Node, tracker: Tracker) -> None:  # 2
    rank = len(tracker.shape(node, 0))
    reason = "a triangle is cut out along this axis"
    layers = tracker.keep_axes(tracker.read(node, 0), (rank - 2, rank - 1), node, reason)
    tracker.write(node, layers)


@rule("OneHot")
def one_hot(node: Node, tracker: Tracker) -> None:  # 3
    rank = len(tracker.out_shape(node))
    axis = normal_axis(int(node.attr("axis", -1)), rank)
    tracker.keep_layers(tracker.read(node, 2), node, "it holds the values of off and on")
    layers = tracker.read(node, 0)
    tracker.write(node, [np.expand_dims(layer, axis) for layer in layers])


def _rank(node: Node, cutter: Cutter) -> int:
    return len(cutter.old_shape(node.inputs[0]))
