"""DeformConv: a convolution whose windows are moved by offsets that the model computes.

x: (N, C, H, W)   W: (O, C/g, kH, kW)   offset: (N, og*2*kH*kW, oH, oW)   b: (O,)
mask: (N, og*kH*kW, oH, oW)             y: (N, O, oH, oW)

1. Channels and groups are those of Conv (`spa.coupling.rules.convolution`).
2. Offsets and masks say where a window looks: they stay whole.
3. Offsets are shared by the channels of an offset group; several such groups stay equally large, so
   the same channels of each go.
"""

from __future__ import annotations

from spa.coupling.components import Pairs
from spa.coupling.contract import ACTIVATIONS
from spa.coupling.labels import KEPT, along
from spa.coupling.rules.base import Cutter, resize, rule
from spa.coupling.rules.convolution import WINDOW
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node


@rule("DeformConv", weights=(1, 3), biases=(3,))
def deform_conv(node: Node, tracker: Tracker) -> None:
    x, w = tracker.shape(node, 0), tracker.shape(node, 1)
    for i in (2, 4):  # 2
        if node.has_input(i):
            tracker.keep_layers(tracker.read(node, i), node, "it says where a window looks")
    spatial = range(2, len(x))
    layers = tracker.keep_axes(tracker.read(node, 0), [0, *spatial], node, WINDOW)
    weight = tracker.keep_axes(tracker.read(node, 1), spatial, node, "")
    channels = tracker.vector(layers, 1, x[1], node)
    outputs = tracker.vector(weight, 0, w[0], node)
    contracted = tracker.vector(weight, 1, w[1], node)
    g = int(node.attr("group", 1))
    if g == 1:  # 1
        tracker.equal(channels, contracted, node)
    else:
        each, made = channels.reshape(g, -1), outputs.reshape(g, -1)  # (g, C/g), (g, O/g)
        same_index: list[Pairs] = [(each, each[:1]), (made, made[:1]), (each[0], contracted)]
        whole_group: list[Pairs] = [
            (each, each[:, :1]), (made, made[:, :1]), (each[:, 0], made[:, 0]),
            (contracted, contracted * KEPT),
        ]  # fmt: skip
        tracker.choose([("same index", same_index), ("whole groups", whole_group)])
    moved = channels.reshape(int(node.attr("offset_group", 1)), -1)
    tracker.equal(moved, moved[:1], node)  # 3
    zeroed = [tracker.is_zeroed(node, 1)]
    if node.has_input(3):
        zeroed.append(tracker.is_zeroed(node, 3))
        bias = tracker.vector(tracker.read(node, 3), 0, outputs.size, node)
        tracker.equal(bias, outputs, node)
    if not zeroed[0] and node.inputs[0] not in tracker.zeros:
        tracker.mark_inexact(contracted, node, ACTIVATIONS)
    if all(zeroed):
        tracker.zeros.add(node.outputs[0])
    tracker.write(node, [along(outputs, 1, len(x))])


@resize("DeformConv")
def resize_deform_conv(node: Node, cutter: Cutter) -> None:
    """The number of groups is what the input's channels over W's contracted axis say."""
    groups = cutter.input_shape(node, 0)[1] // cutter.input_shape(node, 1)[1]
    if node.attr("group", 1) != groups:
        cutter.set_attr(node, "group", groups)
