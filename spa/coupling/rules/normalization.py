"""Norms: batch and instance norm treat channels apart, the others mix what they normalise.

1. BatchNormalization, InstanceNormalization: the vectors go with the channel axis (axis 1).
2. LayerNormalization and friends over a tracked axis: prunable, but not exact.
3. Softmax and friends over a tracked axis: likewise.
4. LRN's window reaches over the channels: they are kept.
"""

from __future__ import annotations

from spa.coupling.align import align
from spa.coupling.labels import Layer
from spa.coupling.rules.base import normal_axis, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node


@rule("BatchNormalization", "InstanceNormalization")
def per_channel(node: Node, tracker: Tracker) -> None:
    """x: (N, C, ...)   every vector: (C,)."""  # 1
    shape, layers = tracker.shape(node, 0), tracker.read(node, 0)
    if node.op == "InstanceNormalization":
        layers = tracker.keep_axes(layers, range(2, len(shape)), node, "instance norm averages it")
    channels = shape[1] if len(shape) > 1 else 1
    labels = tracker.vector(layers, 1, channels, node) if len(shape) > 1 else None
    for i in range(1, len(node.inputs)):
        vector = tracker.vector(tracker.read(node, i), 0, channels, node)
        if labels is None:
            tracker.keep(vector, node, "the input has no channel axis")
        else:
            tracker.equal(labels, vector, node)
    tracker.write(node, layers)
    for i in range(1, len(node.outputs)):  # running statistics, in training graphs
        if node.outputs[i] in tracker.model.shapes and labels is not None:
            tracker.write(node, [labels] if labels.size > 1 else [], i)


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def over_last_axes(node: Node, tracker: Tracker) -> None:
    """x: (..., normalised axes)   scale, bias: broadcast to the normalised axes."""  # 2
    shape = tracker.shape(node, 0)
    first = normal_axis(int(node.attr("axis", -1)), len(shape))
    operands = [(tracker.shape(node, i), tracker.read(node, i)) for i in range(len(node.inputs))]
    layers = align(tracker, node, operands, len(shape))
    _mix(node, tracker, layers, range(first, len(shape)), "a norm is taken over this axis")
    tracker.write(node, layers)
    for i in range(1, len(node.outputs)):  # mean and inverse deviation, of size 1 on those axes
        if node.outputs[i] in tracker.model.shapes:
            rest = tracker.keep_axes(layers, range(first, len(shape)), node, "")
            tracker.write(node, rest, i)


@rule("Softmax", "LogSoftmax", "Hardmax", "LpNormalization", "MeanVarianceNormalization")
def over_one_axis(node: Node, tracker: Tracker) -> None:
    """Before opset 13, Softmax takes all axes from ``axis`` on as one."""  # 3
    shape, layers = tracker.shape(node, 0), tracker.read(node, 0)
    rank = len(shape)
    if node.op == "MeanVarianceNormalization":
        axes = [normal_axis(int(a), rank) for a in node.attr("axes", (0, 2, 3))]
    elif node.op == "LpNormalization" or tracker.model.graph.opset >= 13:
        axes = [normal_axis(int(node.attr("axis", -1)), rank)]
    else:
        axes = list(range(normal_axis(int(node.attr("axis", 1)), rank), rank))
    _mix(node, tracker, layers, axes, f"{node.op} is taken over this axis")
    if node.op == "MeanVarianceNormalization":
        for layer in layers:
            tracker.mark_inexact(layer, node, "a channel of zeros is divided by its deviation")
    tracker.write(node, layers)


@rule("LRN")
def local_response(node: Node, tracker: Tracker) -> None:
    """The window slides over axis 1."""  # 4
    layers = tracker.keep_axes(tracker.read(node, 0), [1], node, "a window reaches over this axis")
    tracker.write(node, layers)


def _mix(
    node: Node, tracker: Tracker, layers: list[Layer], axes: range | list[int], reason: str
) -> None:
    for layer in layers:
        if any(layer.shape[k] > 1 for k in axes):
            tracker.mark_inexact(layer, node, reason)
