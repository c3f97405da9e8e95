"""Norms: each mixes the entries of some axes (`spa.coupling.mixing`) and scales with vectors.

1. BatchNormalization: the vectors go with the channel axis (axis 1). In training mode it averages
   over all other axes.
2. InstanceNormalization averages over the axes after the channels, and is else the same. Exporters
   write group norm with it: channels seen as groups x channels per group.
3. GroupNormalization does so itself. Whole groups go, or the same channels of every group; the
   groups stay equally large either way.
4. LayerNormalization and friends, over the last axes.
5. Softmax and friends, over one axis or several.
6. LRN's window reaches over the channels: they are kept.
"""

from __future__ import annotations

from collections.abc import Iterable

from spa.coupling.align import align
from spa.coupling.labels import Layer, reshape_layer
from spa.coupling.mixing import fold
from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.tracker import Shape, Tracker
from spa.graph.nodes import Node

NORM = "a norm is taken over this axis"


@rule("BatchNormalization", "InstanceNormalization", affine=(1, 2))
def per_channel(node: Node, tracker: Tracker) -> None:
    """x: (N, C, ...)   every vector: (C,)."""
    shape = tracker.shape(node, 0)
    if len(shape) < 2:
        tracker.keep_inputs(node, "the input has no channel axis")
        tracker.write(node, [])
        return
    layers = tracker.read(node, 0)
    channels = [layer for layer in layers if layer.shape[1] > 1]
    vectors = [layer for i in range(1, len(node.inputs)) for layer in tracker.read(node, i)]
    if len(channels) == 1 and channels[0].size == shape[1] and len(vectors) == len(node.inputs) - 1:
        tracker.equal_to_all(channels[0].reshape(-1), vectors, node)  # nearly always
    else:
        layers = _scaled(node, tracker, layers, shape, per=(shape[1],))
    if node.op == "InstanceNormalization":  # 2
        _mix(node, tracker, layers, range(2, len(shape)))
    elif node.attr("training_mode", 0):  # 1
        _mix(node, tracker, layers, [0, *range(2, len(shape))])
    tracker.write(node, layers)
    for i in range(1, len(node.outputs)):  # running statistics, in training graphs
        if node.outputs[i] in tracker.model.shapes:
            labels = tracker.vector(layers, 1, shape[1], node)
            tracker.write(node, [labels] if labels.size > 1 else [], i)


@rule("GroupNormalization", affine=(1, 2))
def per_group(node: Node, tracker: Tracker) -> None:
    """x: (N, C, ...) seen as (N, G, C/G, ...)   scale, bias: (G,), from opset 21 on (C,)."""
    shape, g = tracker.shape(node, 0), int(node.attr("num_groups"))  # 3
    seen = (shape[0], g, shape[1] // g, *shape[2:])
    grids = [reshape_layer(layer, shape, seen) for layer in tracker.read(node, 0)]
    for grid in grids:
        tracker.open_grid(grid)
    per = (g,) if tracker.model.graph.opset < 21 else seen[1:3]
    layers = _scaled(node, tracker, grids, seen, per)
    _mix(node, tracker, layers, range(2, len(seen)))
    tracker.write(node, [reshape_layer(layer, seen, shape) for layer in layers])


@resize("GroupNormalization")
def resize_per_group(node: Node, cutter: Cutter) -> None:
    """Groups of which nothing stays are no longer counted."""
    g = int(node.attr("num_groups"))
    groups = int(cutter.kept(node.inputs[0], 1).reshape(g, -1).any(axis=1).sum())
    if groups != g:
        cutter.set_attr(node, "num_groups", groups)


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", affine=(1, 2))
def over_last_axes(node: Node, tracker: Tracker) -> None:
    """x: (..., normalised axes)   scale, bias: broadcast to the normalised axes."""  # 4
    shape = tracker.shape(node, 0)
    axes = range(normal_axis(int(node.attr("axis", -1)), len(shape)), len(shape))
    operands = [(tracker.shape(node, i), tracker.read(node, i)) for i in range(len(node.inputs))]
    layers = align(tracker, node, operands, len(shape))
    _mix(node, tracker, layers, axes)
    tracker.write(node, layers)
    for i in range(1, len(node.outputs)):  # mean and inverse deviation, of size 1 on those axes
        if node.outputs[i] in tracker.model.shapes:
            folded = [fold(tracker, node, layer, axes, reason=NORM) for layer in layers]
            tracker.write(node, [layer for layer in folded if layer is not None], i)


@rule("Softmax", "LogSoftmax", "LpNormalization", "MeanVarianceNormalization")
@rule("Hardmax", jumps=True)
def over_one_axis(node: Node, tracker: Tracker) -> None:
    """Before opset 13, Softmax takes all axes from ``axis`` on as one."""  # 5
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
    """The window slides over axis 1."""  # 6
    layers = tracker.keep_axes(tracker.read(node, 0), [1], node, "a window reaches over this axis")
    tracker.write(node, layers)


def _scaled(
    node: Node, tracker: Tracker, layers: list[Layer], shape: Shape, per: Shape
) -> list[Layer]:
    """Aligns x with the vectors, which are ``per`` axis 1 (and 2) of it."""
    operands = [(shape, layers)]
    wide = (1, *per) + (1,) * (len(shape) - 1 - len(per))
    for i in range(1, len(node.inputs)):
        flat = tracker.shape(node, i)
        operands.append((wide, [reshape_layer(x, flat, wide) for x in tracker.read(node, i)]))
    return align(tracker, node, operands, len(shape))


def _mix(
    node: Node, tracker: Tracker, layers: list[Layer], axes: Iterable[int], reason: str = NORM
) -> None:
    axes = list(axes)
    for layer in layers:
        tracker.mark_mixed(layer, axes, node, reason)
