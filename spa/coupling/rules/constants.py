"""Operators that make tensors out of nothing, or out of shapes alone: nothing of theirs shrinks.

A ConstantOfShape with a fixed shape is a weight in some files; it is labelled when it is read.
"""

from __future__ import annotations

import numpy as np

from spa.coupling.rules.base import Cutter, resize, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node


@rule(
    "BlackmanWindow", "Constant", "ConstantOfShape", "EyeLike", "HammingWindow", "HannWindow",
    "MelWeightMatrix", "RandomNormal", "RandomUniform", "Range", "Shape", "Size",
)  # fmt: skip
def constant(node: Node, tracker: Tracker) -> None:
    """Shape reads no values, so what it reads may shrink (see `spa.coupling.arithmetic`)."""
    if node.op == "EyeLike":
        tracker.keep_inputs(node, "EyeLike takes its shape")


@resize("ConstantOfShape")
def resize_constant_of_shape(node: Node, cutter: Cutter) -> None:
    """The filled weight's shape follows."""
    old, new = cutter.old_shape(node.outputs[0]), cutter.new_shape(node.outputs[0])
    if old != new:
        cutter.set_input(node, 0, np.asarray(new, dtype=np.int64))
