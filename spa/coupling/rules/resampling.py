"""Resize and Upsample: axes that change their size are kept whole, the others pass.

1. An axis passes where its scale is exactly 1: each entry is then its own sample, in every mode.
2. Target sizes name the passing axes too. Constant ones are rewritten; in computed ones the sizes
   of axes that shrank are taken from the input as it comes (``Where(shrank, Shape(x), sizes)``).
   What the sizes of all other axes are computed from keeps its size.
"""

from __future__ import annotations

import numpy as np
import onnx

from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node


@rule("Resize", "Upsample")
def resample(node: Node, tracker: Tracker) -> None:
    rank = len(tracker.shape(node, 0))
    axes = [k for k in range(rank) if not _passes(node, tracker, k)]  # 1
    layers = tracker.keep_axes(tracker.read(node, 0), axes, node, "a window reaches over this axis")
    if node.has_input(3) and tracker.value(node, 3) is None:  # 2
        named = _named(node, rank)
        kept = [i for i, axis in enumerate(named) if axis in axes]
        tracker.keep_origins(node, 3, "its size is used in a computation", elements=kept)
    tracker.write(node, layers)


@resize("Resize")
def resize_resample(node: Node, cutter: Cutter) -> None:
    """Target sizes follow; scales are 1 where anything is cut and need nothing."""
    output = node.outputs[0]
    named = _named(node, len(cutter.old_shape(output)))
    cut = np.array([cutter.is_cut(output, axis) for axis in named])
    if not node.has_input(3) or not cut.any():
        return
    sizes = cutter.value(node, 3)
    if sizes is not None:
        new = np.array([cutter.new_shape(output)[axis] for axis in named])
        cutter.set_input(node, 3, np.where(cut, new, sizes))
        return
    shape, picked, target = (f"{output}_{hint}" for hint in ("shape", "picked", "sizes"))
    nodes = [onnx.helper.make_node("Shape", [node.inputs[0]], [shape])]
    axes = cutter.constant(node, "axes", np.array(named, dtype=np.int64))
    nodes.append(onnx.helper.make_node("Gather", [shape, axes], [picked]))
    mask = cutter.constant(node, "shrank", cut)
    nodes.append(onnx.helper.make_node("Where", [mask, picked, node.inputs[3]], [target]))
    inputs = [*node.inputs[:3], target]
    nodes.append(onnx.helper.make_node("Resize", inputs, [output], node.name, **node.attrs))
    cutter.replace(node, nodes)


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
        return True
    scales = node.attr("scales")
    if scales is None:
        scales = tracker.value(node, 2 if len(node.inputs) > 2 else 1)
    # Scales that are computed and happen to leave a size as it is: channels alone are trusted.
    return axis < 2 if scales is None else float(scales[named.index(axis)]) == 1.0
