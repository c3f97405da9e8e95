"""Reductions: a reduced axis disappears with its labels.

Over a tracked axis that is not exact: a mean over fewer entries is another mean, and so on; only a
sum of entries that are zero when they go loses nothing. Over the other axes it changes nothing.
"""

from __future__ import annotations

from spa.coupling.labels import Layer
from spa.coupling.rules.base import normal_axis, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node

# Zero entries add nothing to these.
OF_ZERO = ("ReduceL1", "ReduceL2", "ReduceSum", "ReduceSumSquare")


@rule(
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
def reduction(node: Node, tracker: Tracker) -> None:
    shape = tracker.shape(node, 0)
    axes = _axes(node, tracker, len(shape))
    if axes is None:
        tracker.keep_inputs(node, "the reduced axes are computed while the model runs")
        return
    layers: list[Layer] = []
    for layer in tracker.read(node, 0):
        for axis in axes:
            if layer.shape[axis] > 1:
                if node.op not in OF_ZERO or node.inputs[0] not in tracker.zeros:
                    tracker.mark_inexact(layer, node, f"{node.op} is taken over this axis")
                # What is left of a layer over several axes follows the remaining ones.
                first = layer.take([0], axis=axis)
                if first.size > 1:
                    tracker.equal(layer, first, node)
                layer = first
        if layer.size > 1:
            layers.append(layer)
    if not node.attr("keepdims", 1):
        layers = [layer.squeeze(tuple(axes)) for layer in layers]
    tracker.write(node, layers)


def _axes(node: Node, tracker: Tracker, rank: int) -> list[int] | None:
    """Reduced axes; an attribute in old opsets, an input since 13 or 18; none means all."""
    axes = node.attr("axes")
    if node.has_input(1):
        axes = tracker.value(node, 1)
        if axes is None:
            return None
    if axes is None or len(axes) == 0:
        return [] if node.attr("noop_with_empty_axes", 0) else list(range(rank))
    return [normal_axis(int(axis), rank) for axis in axes]
