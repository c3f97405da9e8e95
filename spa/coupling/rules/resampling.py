"""Resize and Upsample: axes that change their size are kept whole, the others pass.

1. An axis passes where its scale is exactly 1, or its target the input's size, for inputs of any
   size: each entry is then its own sample, in every mode.
2. Target sizes name the passing axes too. Constant ones are rewritten; in computed ones those of
   axes that shrank are put in their places.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node


@rule("Resize", "Upsample")
def resample(node: Node, tracker: Tracker) -> None:
    rank = len(tracker.shape(node, 0))
    axes = [k for k in range(rank) if not _passes(node, tracker, k)]  # 1
    layers = tracker.keep_axes(tracker.read(node, 0), axes, node, "a window reaches over this axis")
    tracker.write(node, layers)


@resize("Resize")
def resize_resample(node: Node, cutter: Cutter) -> None:
    """Target sizes follow; scales are 1 where anything is cut and need nothing."""
    output = node.outputs[0]
    named = _named(node, len(cutter.old_shape(output)))
    cut = np.array([cutter.is_cut(output, axis) for axis in named])
    if not node.has_input(3) or not cut.any():
        return
    cutter.set_entries(
        node, 3, {int(i): cutter.new_shape(output)[named[i]] for i in np.flatnonzero(cut)}
    )


def _named(node: Node, rank: int) -> list[int]:
    """The axis of every target size or scale."""
    return [normal_axis(int(axis), rank) for axis in node.attr("axes", range(rank))]


def _passes(node: Node, tracker: Tracker, axis: int) -> bool:
    """Whether an axis is scaled by exactly 1."""
    old, new = tracker.shape(node, 0), tracker.out_shape(node)
    named = _named(node, len(old))
    if axis not in named:
        return True
    cropped = node.attr("coordinate_transformation_mode") == "tf_crop_and_resize"
    fitted = node.attr("keep_aspect_ratio_policy", "stretch") != "stretch"
    if old[axis] != new[axis] or ((cropped or fitted) and axis > 1):
        return False
    if node.has_input(3):
        return tracker.model.same_size(node.inputs[0], axis, node.outputs[0], axis)
    scales = node.attr("scales")
    if scales is None:
        place = 2 if len(node.inputs) > 2 else 1
        scales = tracker.model.sizes.entries(node.inputs[place])
    scale = None if scales is None else scales[named.index(axis)]
    return isinstance(scale, (int, float)) and float(scale) == 1.0
