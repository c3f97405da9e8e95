"""Reductions: a reduced axis disappears with its labels.

Over a tracked axis that is not exact: a mean over fewer entries is another mean, and so on; only a
sum of entries that are zero when they go loses nothing. Over the other axes it changes nothing.
What is left of a layer over a reduced axis and others is told in `spa.coupling.mixing`.

Global pools are reductions over the spatial axes, which need not be pixels: tf2onnx writes a layer
norm's mean over the channels as one.
"""

from __future__ import annotations

from spa.coupling.labels import Layer
from spa.coupling.mixing import fold
from spa.coupling.rules.base import normal_axis, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node

# Zero entries add nothing to these.
OF_ZERO = ("GlobalLpPool", "ReduceL1", "ReduceL2", "ReduceSum", "ReduceSumSquare")


@rule("ReduceL1", "ReduceL2", "ReduceSum", "ReduceSumSquare", zero="each")
@rule("ReduceLogSum", "ReduceLogSumExp", "ReduceProd")
@rule("ReduceMax", "ReduceMean", "ReduceMin", zero="each", steady=True)
def reduction(node: Node, tracker: Tracker) -> None:
    shape = tracker.shape(node, 0)
    axes = _axes(node, tracker, len(shape))
    if axes is None:
        tracker.keep_inputs(node, "the reduced axes are computed while the model runs")
        return
    layers = _reduced(node, tracker, axes)
    if not node.attr("keepdims", 1):
        layers = [layer.squeeze(tuple(axes)) for layer in layers]
    tracker.write(node, layers)


@rule("GlobalAveragePool", "GlobalMaxPool", zero="each", steady=True)
@rule("GlobalLpPool")
def global_pool(node: Node, tracker: Tracker) -> None:
    """x: (N, C, in...)   y: (N, C, 1...)."""
    axes = list(range(2, len(tracker.shape(node, 0))))
    tracker.write(node, _reduced(node, tracker, axes))


def _reduced(node: Node, tracker: Tracker, axes: list[int]) -> list[Layer]:
    """Layers of the output, of size 1 on the reduced axes."""
    exact = node.op in OF_ZERO and node.inputs[0] in tracker.zeros
    reason = None if exact else f"{node.op} is taken over this axis"
    for axis in axes if node.op not in OF_ZERO else ():
        for layer in tracker.read(node, 0):
            tracker.at_least(layer, axis, 1)  # of nothing there is no mean, and no maximum
    folded = [fold(tracker, node, x, axes, reason=reason) for x in tracker.read(node, 0)]
    return [layer for layer in folded if layer is not None]


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
