"""Operators along an axis whose entries have an order: sums so far, the largest, the reverse.

1. CumSum, CumProd: what comes later holds what came before, so an entry goes exactly only where it
   adds nothing (zeros, to a sum).
2. TopK over a tracked axis gives its values without saying where they were: prunable, not exact,
   and no fewer than k entries may be left. Where its indices are used, they are places along the
   axis, as those of ArgMax and ArgMin are; then the axis is kept.
3. ReverseSequence of whole lines is a flip, which surgery writes as a Slice; of parts of lines, it
   keeps the axis.

All other axes pass.
"""

from __future__ import annotations

import numpy as np
import onnx

from spa.coupling.align import align
from spa.coupling.labels import Layer, along, support
from spa.coupling.mixing import fold
from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.tracker import Tracker
from spa.graph.model import Model
from spa.graph.nodes import Node

PLACES = "its output says where along this axis its entries stand"
PARTS = "parts of it are turned round"


@rule("CumSum", "CumProd")
def cumulative(node: Node, tracker: Tracker) -> None:  # 1
    layers = tracker.read(node, 0)
    rank = len(tracker.shape(node, 0))
    value = tracker.value(node, 1)
    if value is None:
        tracker.keep_inputs(node, "its axis is computed while the model runs")
        tracker.write(node, [])
        return
    axis = normal_axis(int(value.reshape(-1)[0]), rank)
    zero = node.inputs[0] in tracker.zeros
    for layer in layers:
        if node.op == "CumProd" or not zero:
            tracker.mark_mixed(layer, [axis], node, f"{node.op} is taken over this axis")
    if zero and not any(layer.shape[axis] > 1 for layer in layers):
        tracker.zeros.add(node.outputs[0])
    tracker.write(node, layers)


@rule("TopK", jumps=True)
def top_k(node: Node, tracker: Tracker) -> None:
    """x: (..., A, ...)   values, indices: (..., k, ...)."""  # 2
    shape, wanted = tracker.shape(node, 0), tracker.out_shape(node)
    axis = normal_axis(int(node.attr("axis", -1)), len(shape))
    layers = tracker.read(node, 0)
    if _is_read(node, 1, tracker.model):
        layers = tracker.keep_axes(layers, [axis], node, PLACES)
    if tracker.model.varies(node.outputs[0] or node.outputs[1], axis):
        layers = tracker.keep_axes(layers, [axis], node, "how many are taken is computed")
    for layer in layers:
        tracker.at_least(layer, axis, wanted[axis])
    reason = f"{node.op} is taken over this axis"
    folded = [fold(tracker, node, layer, [axis], reason=reason) for layer in layers]
    for i in range(len(node.outputs)):
        tracker.write(node, [layer for layer in folded if layer is not None], i)


@rule("ArgMax", "ArgMin", jumps=True)
def arg_max(node: Node, tracker: Tracker) -> None:  # 2
    axis = normal_axis(int(node.attr("axis", 0)), len(tracker.shape(node, 0)))
    layers = tracker.keep_axes(tracker.read(node, 0), [axis], node, PLACES)
    if not node.attr("keepdims", 1):
        layers = [layer.squeeze(axis) for layer in layers]
    tracker.write(node, layers)


@rule("ReverseSequence", zero="each")
def reverse_sequence(node: Node, tracker: Tracker) -> None:
    """x: (T, N, ...) or (N, T, ...)   lengths: (N,)."""  # 3
    shape = tracker.shape(node, 0)
    time, batch = _time_axis(node), int(node.attr("batch_axis", 1))
    layers: list[Layer] = list(tracker.read(node, 0))
    if _is_flip(node, tracker):
        layers = [layer.take(_backwards(layer.shape[time]), axis=time) for layer in layers]
    else:
        layers = tracker.keep_axes(layers, [time], node, PARTS)
    lengths = [along(x, batch, len(shape)) for x in tracker.read(node, 1) if support(x)]
    per_example = tuple(size if k == batch else 1 for k, size in enumerate(shape))
    operands = [(shape, layers), (per_example, lengths)]
    tracker.write(node, align(tracker, node, operands, len(shape)))


@resize("ReverseSequence")
def resize_reverse_sequence(node: Node, cutter: Cutter) -> None:
    """Only lines that are turned round whole ever shrink."""
    time = _time_axis(node)
    if not cutter.is_cut(node.inputs[0], time):
        return
    bounds = [
        cutter.constant(node, hint, np.array([number], dtype=np.int64))
        for hint, number in (("starts", -1), ("ends", -(2**31)), ("axes", time), ("steps", -1))
    ]
    inputs = [node.inputs[0], *bounds]
    cutter.replace(
        node, [onnx.helper.make_node("Slice", inputs, list(node.outputs), name=node.name)]
    )


def _time_axis(node: Node) -> int:
    return int(node.attr("time_axis", 0))


def _backwards(size: int) -> range:
    return range(size - 1, -1, -1)


def _is_flip(node: Node, tracker: Tracker) -> bool:
    """Whether every line is turned round whole, at any size of the inputs."""
    sizes = tracker.model.sizes
    lengths = sizes.entries(node.inputs[1])
    whole = sizes.of(node.inputs[0], _time_axis(node))
    return lengths is not None and all(sizes.same(length, whole) for length in lengths)


def _is_read(node: Node, i: int, model: Model) -> bool:
    """Whether anything reads an output."""
    name = node.outputs[i] if i < len(node.outputs) else ""
    graph = model.graph
    return bool(name) and (name in graph.uses or name in graph.outputs or name in graph.captured)
