"""Conv and ConvTranspose, plain, grouped and depthwise.

Conv            x: (N, I, in...)   W: (O, I/g, k...)   b: (O,)   y: (N, O, out...)
ConvTranspose   x: (N, I, in...)   W: (I, O/g, k...)   b: (O,)   y: (N, O, out...)

1. One group: the contracted axis of W goes with the input's channels, the other gives the output's.
2. Several groups: W shares its contracted axis among all groups, so that there are two ways to
   shrink: the same index in every group, or whole groups with their outputs.
3. One channel in and one out per group (depthwise): whole groups, which are single channels.

The window reaches over the spatial axes, so they are kept whole, and so are the kernel's.
"""

from __future__ import annotations

from spa.coupling.components import Pairs
from spa.coupling.labels import KEPT, Labels, along
from spa.coupling.rules.base import Cutter, resize, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node

WINDOW = "a window reaches over this axis"


@rule("Conv", weights=(1, 2))
def conv(node: Node, tracker: Tracker) -> None:
    """Branches are numbered as in the module's text."""
    channels, weight_out, weight_in = _operands(node, tracker, out_axis=0)
    _bias(node, tracker, weight_out)
    g = int(node.attr("group", 1))
    if g == 1:  # 1
        tracker.equal(channels, weight_in, node)
    else:
        x = channels.reshape(g, -1)  # (g, I/g)
        y = weight_out.reshape(g, -1)  # (g, O/g)
        if x.shape[1] == 1 and y.shape[1] == 1:  # 3
            tracker.equal(x, y, node)
        else:  # 2
            same_index: list[Pairs] = [(x, x[:1]), (y, y[:1]), (x[0], weight_in)]
            whole_group: list[Pairs] = [
                (x, x[:, :1]), (y, y[:, :1]), (x[:, 0], y[:, 0]), (weight_in, weight_in * KEPT),
            ]  # fmt: skip
            tracker.choose(
                node, [("same index", same_index, None), ("whole groups", whole_group, None)]
            )
    _write(node, tracker, weight_out)


@rule("ConvTranspose", weights=(1, 2))
def conv_transpose(node: Node, tracker: Tracker) -> None:
    """Branches are numbered as in the module's text."""
    channels, weight_out, weight_in = _operands(node, tracker, out_axis=1)
    tracker.equal(channels, weight_in, node)
    g = int(node.attr("group", 1))
    if g == 1:  # 1
        outputs = weight_out
    else:  # 2 and 3
        # W shares its output axis among the groups, so the output's channels need labels of their
        # own: they follow W's output axis, or the group, as is chosen.
        outputs = tracker.made_up(node, 1, g * weight_out.size)
        x = channels.reshape(g, -1)  # (g, I/g)
        y = outputs.reshape(g, -1)  # (g, O/g)
        same_index: list[Pairs] = [(x, x[:1]), (y, weight_out[None, :])]
        whole_group: list[Pairs] = [
            (x, x[:, :1]), (y, y[:, :1]), (x[:, 0], y[:, 0]), (weight_out, weight_out * KEPT),
        ]  # fmt: skip
        tracker.choose(
            node, [("same index", same_index, None), ("whole groups", whole_group, None)]
        )
    _bias(node, tracker, outputs)
    _write(node, tracker, outputs)


@resize("Conv")
def resize_conv(node: Node, cutter: Cutter) -> None:
    """The number of groups is what the input's channels over W's contracted axis say."""
    channels, per_group = cutter.input_shape(node, 0)[1], cutter.input_shape(node, 1)[1]
    if node.attr("group", 1) != channels // per_group:
        cutter.set_attr(node, "group", channels // per_group)


@resize("ConvTranspose")
def resize_conv_transpose(node: Node, cutter: Cutter) -> None:
    """The number of groups is what the output's channels over W's output axis say."""
    channels, per_group = cutter.new_shape(node.outputs[0])[1], cutter.input_shape(node, 1)[1]
    if node.attr("group", 1) != channels // per_group:
        cutter.set_attr(node, "group", channels // per_group)


def _operands(node: Node, tracker: Tracker, out_axis: int) -> tuple[Labels, Labels, Labels]:
    """Labels of x's channels and of W's output and contracted axis; spatial axes are kept."""
    x, w = tracker.shape(node, 0), tracker.shape(node, 1)
    layers = tracker.keep_axes(tracker.read(node, 0), range(2, len(x)), node, WINDOW)
    weight = tracker.keep_axes(tracker.read(node, 1), range(2, len(w)), node, "")
    channels = tracker.vector(layers, 1, x[1], node)
    return (
        channels,
        tracker.vector(weight, out_axis, w[out_axis], node),
        tracker.vector(weight, 1 - out_axis, w[1 - out_axis], node),
    )


def _bias(node: Node, tracker: Tracker, outputs: Labels) -> None:
    if node.has_input(2):
        bias = tracker.vector(tracker.read(node, 2), 0, outputs.size, node)
        tracker.equal(bias, outputs, node)


def _write(node: Node, tracker: Tracker, outputs: Labels) -> None:
    rank = len(tracker.out_shape(node))
    batch = [layer for layer in tracker.read(node, 0) if layer.shape[0] > 1]
    layers = [along(outputs, 1, rank)]
    if batch:
        layers.append(along(tracker.vector(batch, 0, batch[0].shape[0], node), 0, rank))
    tracker.write(node, layers)
    constant = [tracker.is_constant(node, i) for i in (1, 2) if node.has_input(i)]
    if all(constant) and not batch:
        tracker.zeros.add(node.outputs[0])
