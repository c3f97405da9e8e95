"""Operators that make tensors out of nothing, or out of shapes alone: nothing of theirs shrinks.

1. A floating ConstantOfShape with a shape that the file holds is a weight in some files; it is
   labelled when it is read.
2. Any other ConstantOfShape makes entries up, as Expand does: they may go with what they meet.
   Where its shape is computed from open sizes, the axes that are fixed still shrink.
"""

from __future__ import annotations

from spa.coupling.labels import along
from spa.coupling.rules.base import Cutter, resize, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node


@rule(
    "BlackmanWindow", "Constant", "EyeLike", "HammingWindow", "HannWindow",
    "MelWeightMatrix", "RandomNormal", "RandomUniform", "Range", "Shape", "Size",
)  # fmt: skip
def constant(node: Node, tracker: Tracker) -> None:
    """Shape reads no values, so what it reads may shrink (see `spa.graph.shape_arithmetic`)."""
    if node.op == "EyeLike":
        tracker.keep_inputs(node, "EyeLike takes its shape")


@rule("ConstantOfShape")
def constant_of_shape(node: Node, tracker: Tracker) -> None:
    if node.outputs[0] in tracker.model.parameters:  # 1
        return
    shape = tracker.out_shape(node)  # 2
    fixed = [k for k in range(len(shape)) if not tracker.model.varies(node.outputs[0], k)]
    labels = {k: tracker.made_up(node, k, shape[k]) for k in fixed if shape[k] > 1}
    tracker.write(node, [along(labels[k], k, len(shape)) for k in labels])


@resize("ConstantOfShape")
def resize_constant_of_shape(node: Node, cutter: Cutter) -> None:
    """The filled tensor's shape follows, by the entries that shrink."""
    output = node.outputs[0]
    old, new = cutter.old_shape(output), cutter.new_shape(output)
    cutter.set_entries(node, 0, {k: new[k] for k in range(len(old)) if old[k] != new[k]})
