"""Conv and ConvTranspose, plain, grouped and depthwise.

Conv            x: (N, I, in...)   W: (O, I/g, k...)   b: (O,)   y: (N, O, out...)
ConvTranspose   x: (N, I, in...)   W: (I, O/g, k...)   b: (O,)   y: (N, O, out...)

1. One group: the contracted axis of W goes with the input's channels, the other gives the output's.
2. Several groups: W shares its contracted axis among all groups, so that there are two ways to
   shrink: the same index in every group, or whole groups with their outputs.
3. One channel in and one out per group (depthwise): whole groups, which are single channels.

A window reaches over the spatial axes, so they are kept whole, and so are the kernel's. Where
channels have become a spatial axis, two windows leave it free:
4. One of size 1 (stride 1, no padding) touches every place apart: labels pass.
5. One over the whole axis, without padding, is a contraction: the kernel's axis goes with it.

A weight may be computed while the model runs (mixtures of kernels, dynamic filters):
6. Where one layer follows both of its axes, it shrinks along either: a choice.
7. Then channels that are contracted go exactly only where the removed entries are zero.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.components import Pairs
from spa.coupling.contract import ACTIVATIONS
from spa.coupling.labels import KEPT, Labels, Layer, along, support
from spa.coupling.rules.base import Cutter, resize, rule
from spa.coupling.tracker import Tracker, Way
from spa.graph.nodes import Node

WINDOW = "a window reaches over this axis"


@rule("Conv", weights=(1, 2), biases=(2,))
def conv(node: Node, tracker: Tracker) -> None:
    """Branches are numbered as in the module's text."""
    channels, weight_out, weight_in, rest = _operands(node, tracker, out_axis=0)
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
            tracker.choose([("same index", same_index), ("whole groups", whole_group)])
    _write(node, tracker, weight_out, rest)


@rule("ConvTranspose", weights=(1, 2), biases=(2,))
def conv_transpose(node: Node, tracker: Tracker) -> None:
    """Branches are numbered as in the module's text."""
    channels, weight_out, weight_in, rest = _operands(node, tracker, out_axis=1)
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
        tracker.choose([("same index", same_index), ("whole groups", whole_group)])
    _bias(node, tracker, outputs)
    _write(node, tracker, outputs, rest)


@resize("Conv")
def resize_conv(node: Node, cutter: Cutter) -> None:
    """The number of groups is what the input's channels over W's contracted axis say."""
    channels, (_, per_group, *kernel) = cutter.input_shape(node, 0)[1], cutter.input_shape(node, 1)
    if list(node.attr("kernel_shape", kernel)) != kernel:
        cutter.set_attr(node, "kernel_shape", kernel)
    if node.attr("group", 1) != channels // per_group:
        cutter.set_attr(node, "group", channels // per_group)


@resize("ConvTranspose")
def resize_conv_transpose(node: Node, cutter: Cutter) -> None:
    """The number of groups is what the output's channels over W's output axis say."""
    channels, per_group = cutter.new_shape(node.outputs[0])[1], cutter.input_shape(node, 1)[1]
    if node.attr("group", 1) != channels // per_group:
        cutter.set_attr(node, "group", channels // per_group)


def _operands(
    node: Node, tracker: Tracker, out_axis: int
) -> tuple[Labels, Labels, Labels, list[Layer]]:
    """Labels of x's channels and of W's output and contracted axis, and layers of x's other axes.

    Spatial axes are kept but for 4 and 5.
    """
    x, w = tracker.shape(node, 0), tracker.shape(node, 1)
    layers, weight = tracker.read(node, 0), tracker.read(node, 1)
    plain = all([layer.size == layer.shape[1] for layer in layers])  # nearly always
    for axis in () if plain else range(2, len(x)):
        follows = [support(layer) for layer in layers if layer.shape[axis] > 1]
        if follows == [(axis,)] and _covers(node, tracker, axis):  # 5
            labels = tracker.vector(layers, axis, x[axis], node)
            tracker.equal(labels, tracker.vector(weight, axis, w[axis], node), node)
            layers = [layer for layer in layers if layer.shape[axis] == 1]
            weight = [layer for layer in weight if layer.shape[axis] == 1]
        elif (follows or w[axis] > 1) and not _is_pointwise(node, tracker, axis):
            layers = tracker.keep_axes(layers, [axis], node, WINDOW)
            weight = tracker.keep_axes(weight, [axis], node, "")
    if plain:
        weight = _without_pixels(node, tracker, weight)
    rest = [layer for layer in layers if layer.shape[1] == 1]
    channels = tracker.vector(layers, 1, x[1], node)
    weight = _single_axes(node, tracker, weight)
    weight_out = tracker.vector(weight, out_axis, w[out_axis], node)
    weight_in = tracker.vector(weight, 1 - out_axis, w[1 - out_axis], node)
    zero = tracker.is_zeroed(node, 1) or node.inputs[0] in tracker.zeros
    if not zero and weight_in.size > 1:  # 7
        tracker.mark_inexact(weight_in, node, ACTIVATIONS)
    return channels, weight_out, weight_in, rest


def _without_pixels(node: Node, tracker: Tracker, weight: list[Layer]) -> list[Layer]:
    """Keeps a kernel's spatial axes."""
    result = []
    for layer in weight:
        if layer.size in layer.shape[:2]:
            result.append(layer)
        elif layer.size in layer.shape[2:]:
            tracker.keep(layer, node, "")
        else:
            result += tracker.keep_axes([layer], range(2, layer.ndim), node, "")
    return result


def _single_axes(node: Node, tracker: Tracker, weight: list[Layer]) -> list[Layer]:
    """Layers of a weight that follow one of its axes each."""
    result: list[Layer] = []
    for layer in weight:
        if layer.size in layer.shape:
            result.append(layer)
            continue
        axes = support(layer)
        made_up = {k: tracker.space.fresh("", k, layer.shape[k], is_parameter=False) for k in axes}
        ways: list[Way] = []
        for axis in axes:  # 6
            pairs = [(layer, along(made_up[axis], axis, layer.ndim))]
            pairs += [(v, np.zeros_like(v)) for k, v in made_up.items() if k != axis]
            ways.append((f"axis {axis}", pairs))
        tracker.choose(ways)
        result += [along(vector, k, layer.ndim) for k, vector in made_up.items()]
    return result


def _is_pointwise(node: Node, tracker: Tracker, axis: int) -> bool:
    """Whether the window along a spatial axis is of size 1 and moves in steps of 1."""
    if tracker.shape(node, 1)[axis] > 1:
        return False
    k, rank = axis - 2, len(tracker.shape(node, 0)) - 2
    padded = [
        *node.attr("pads", [0] * 2 * rank)[k::rank],
        node.attr("output_padding", [0] * rank)[k],
    ]
    return node.attr("strides", [1] * rank)[k] == 1 and not any(padded)


def _covers(node: Node, tracker: Tracker, axis: int) -> bool:
    """Whether a convolution's window takes in a spatial axis whole, so that one place is left."""
    k, rank = axis - 2, len(tracker.shape(node, 0)) - 2
    return (
        node.op == "Conv"
        and tracker.shape(node, 1)[axis] == tracker.shape(node, 0)[axis]
        and tracker.out_shape(node)[axis] == 1
        and node.attr("dilations", [1] * rank)[k] == 1
        and node.attr("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and not any(node.attr("pads", [0] * 2 * rank)[k::rank])
    )


def _bias(node: Node, tracker: Tracker, outputs: Labels) -> None:
    if node.has_input(2):
        bias = tracker.vector(tracker.read(node, 2), 0, outputs.size, node)
        tracker.equal(bias, outputs, node)


def _write(node: Node, tracker: Tracker, outputs: Labels, rest: list[Layer]) -> None:
    rank = len(tracker.out_shape(node))
    tracker.write(node, [along(outputs, 1, rank), *rest])
    zeroed = [tracker.is_zeroed(node, i) for i in (1, 2) if node.has_input(i)]
    if all(zeroed) and not rest:
        tracker.zeros.add(node.outputs[0])
