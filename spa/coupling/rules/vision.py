"""Operators that sample or place pixels: channels pass, pixels and regions are kept.

GridSample     x: (N, C, in...)   grid: (N, out..., r)             y: (N, C, out...)
RoiAlign       x: (N, C, H, W)    rois: (R, 4)   examples: (R,)    y: (R, C, h, w)
MaxRoiPool     x: (N, C, H, W)    rois: (R, 5)                     y: (R, C, h, w)
AffineGrid     theta: (N, r, r + 1)                                y: (N, out..., r)
Col2Im         x: (N, C * block, L)                                y: (N, C, out...)
CenterCropPad  crops or pads some axes to given sizes

1. What says where pixels are taken from stays whole.
2. Col2Im's channels hold one entry for every place of the block; these go together.
3. CenterCropPad keeps the axes whose size it changes.
"""

from __future__ import annotations

from spa.coupling.align import align
from spa.coupling.labels import reshape_layer
from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.rules.convolution import WINDOW
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node

WHERE = "it says where pixels are taken from"


@rule("GridSample", zero="each")
def grid_sample(node: Node, tracker: Tracker) -> None:  # 1
    shape, grid = tracker.shape(node, 0), tracker.shape(node, 1)
    rank = len(shape)
    layers = tracker.keep_axes(tracker.read(node, 0), range(2, rank), node, WINDOW)
    where = tracker.keep_axes(tracker.read(node, 1), range(1, rank), node, WHERE)
    ones = (1,) * (rank - 2)
    operands = [((*shape[:2], *ones), layers), ((grid[0], 1, *ones), where)]
    tracker.write(node, align(tracker, node, operands, rank))


@rule("RoiAlign", "MaxRoiPool", zero="each")
def of_regions(node: Node, tracker: Tracker) -> None:  # 1
    for i in range(1, len(node.inputs)):
        tracker.keep_layers(tracker.read(node, i), node, WHERE)
    axes = [k for k in range(len(tracker.shape(node, 0))) if k != 1]
    tracker.write(node, tracker.keep_axes(tracker.read(node, 0), axes, node, WINDOW))


@rule("AffineGrid")
def affine_grid(node: Node, tracker: Tracker) -> None:  # 1
    layers = tracker.keep_axes(tracker.read(node, 0), (1, 2), node, WHERE)
    rank = len(tracker.out_shape(node))
    tracker.write(node, [layer.reshape((-1, *(1,) * (rank - 1))) for layer in layers])


@rule("Col2Im", zero="each")
def col2im(node: Node, tracker: Tracker) -> None:  # 2
    n, wide, length = tracker.shape(node, 0)
    output = tracker.out_shape(node)
    channels = output[1]
    seen = (n, channels, wide // channels, length)
    layers = tracker.keep_axes(tracker.read(node, 0), [2], node, WINDOW)
    blocks = [reshape_layer(layer, (n, wide, length), seen) for layer in layers]
    whole = tracker.keep_axes(blocks, [2], node, "its entries are the places of a block")
    tracker.write(node, [x.reshape((*x.shape[:2], *(1,) * (len(output) - 2))) for x in whole])


@rule("CenterCropPad", zero="each")
def center_crop_pad(node: Node, tracker: Tracker) -> None:  # 3
    axes = _axes(node, len(tracker.shape(node, 0)))
    axes = [k for k in axes if not tracker.model.same_size(node.inputs[0], k, node.outputs[0], k)]
    reason = "it is cropped or padded at its middle"
    tracker.write(node, tracker.keep_axes(tracker.read(node, 0), axes, node, reason))


@resize("CenterCropPad")
def resize_center_crop_pad(node: Node, cutter: Cutter) -> None:
    """Sizes that are named without a change follow."""
    old, new = (shape(node.outputs[0]) for shape in (cutter.old_shape, cutter.new_shape))
    named = _axes(node, len(new))
    cutter.set_entries(node, 1, {i: new[k] for i, k in enumerate(named) if old[k] != new[k]})


def _axes(node: Node, rank: int) -> list[int]:
    return [normal_axis(int(axis), rank) for axis in node.attr("axes", range(rank))]
