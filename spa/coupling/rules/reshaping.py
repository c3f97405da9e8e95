"""Operators that only rearrange: an output layer is what the same operator makes of the input's.

1. Transpose permutes a layer's axes; Squeeze and Unsqueeze take and add axes of size 1.
2. Reshape and Flatten cut both shapes into blocks of equal products; a layer is expanded only over
   the block that it follows (`spa.coupling.labels.reshape_layer`).

Reshape's target is rewritten when the output shrinks:
3. A constant target keeps its 0 and -1.
4. A target that is computed from dynamic sizes is written with the kept sizes and a single -1.
5. Where two or more of its sizes are dynamic, and not copied from the input by a 0, only its other
   entries are changed; what the dynamic ones are computed from is kept, but for a -1 among them,
   which makes up for what goes.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from spa.coupling.labels import Layer, reshape_layer
from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.tracker import Shape, Tracker
from spa.graph.nodes import Node


class Varying(Protocol):
    """What tells which axes follow a dynamic size."""

    def varies(self, name: str, axis: int) -> bool:
        """Says whether an axis does."""


@rule("Transpose")
def transpose(node: Node, tracker: Tracker) -> None:
    rank = len(tracker.shape(node, 0))
    perm = node.attr("perm", list(range(rank))[::-1])
    tracker.write(node, [layer.transpose(perm) for layer in tracker.read(node, 0)])


@rule("Squeeze", "Unsqueeze")
def squeeze(node: Node, tracker: Tracker) -> None:
    """Only axes of size 1 come and go, so the axes that are left keep their order."""
    old, new = tracker.shape(node, 0), tracker.out_shape(node)
    axes = node.attr("axes") if not node.has_input(1) else tracker.value(node, 1)
    wide, narrow = (old, new) if len(old) >= len(new) else (new, old)
    if axes is None:
        single = [k for k, size in enumerate(wide) if size == 1]
    else:
        # Exporters write one axis as a scalar, too.
        single = [normal_axis(int(axis), len(wide)) for axis in np.reshape(axes, -1)]
    places = [k for k in range(len(wide)) if k not in single]
    assert [wide[k] for k in places] == list(narrow), f"{node}: axes {axes} of {old} give {new}"
    layers: list[Layer] = []
    for layer in tracker.read(node, 0):
        sizes = [1] * len(new)
        for outer, inner in zip(places, range(len(narrow)), strict=True):
            source, target = (outer, inner) if wide is old else (inner, outer)
            sizes[target] = layer.shape[source]
        layers.append(layer.reshape(sizes))
    tracker.write(node, layers)


@rule("Reshape", "Flatten")
def reshape(node: Node, tracker: Tracker) -> None:
    old, new = tracker.shape(node, 0), tracker.out_shape(node)
    layers = [reshape_layer(layer, old, new) for layer in tracker.read(node, 0)]
    if node.op == "Reshape" and not _can_rewrite(node, tracker, old, new):
        targets = tracker.model.run_values(node.inputs[1])
        dynamic = [
            k
            for k in range(len(new))
            if tracker.model.varies(node.outputs[0], k)
            and (targets is None or any(target[k] != -1 for target in targets))
        ]
        reason = "its target shape is computed from several dynamic sizes"
        layers = tracker.keep_axes(layers, dynamic, node, reason)
        tracker.keep_origins(node, 1, reason, elements=dynamic)
    tracker.write(node, layers)


@resize("Reshape")
def resize_reshape(node: Node, cutter: Cutter) -> None:
    output = node.outputs[0]
    old, new = cutter.old_shape(output), cutter.new_shape(output)
    if old == new and not cutter.is_stale(node, 1):
        return
    target = cutter.value(node, 1)
    dynamic = [k for k in range(len(new)) if cutter.varies(output, k)]
    inputs = cutter.old_shape(node.inputs[0])
    if target is None and not _can_write(node, cutter, inputs, old, dynamic):
        fixed = [k for k in range(len(new)) if k not in dynamic]  # 5
        stale = cutter.is_stale(node, 1)
        cutter.set_entries(node, 1, {k: new[k] for k in fixed if stale or old[k] != new[k]})
        return
    if target is not None:  # 3
        follows = {k for k, size in enumerate(target) if size in (0, -1)}
        if node.attr("allowzero", 0):
            follows = {k for k, size in enumerate(target) if size == -1}
        sizes = [int(target[k]) if k in follows else new[k] for k in range(len(new))]
        # A 0 copies the input's size at the same place, which may not be what shrank.
        left = cutter.input_shape(node, 0)
        for k in follows:
            if sizes[k] == 0 and (k >= len(left) or left[k] != new[k]):
                sizes[k] = new[k]
    else:  # 4
        sizes = [-1 if k in dynamic else new[k] for k in range(len(new))]
        if len(dynamic) > 1:
            sizes = _with_copies(sizes, inputs, old, dynamic)
    cutter.set_input(node, 1, np.asarray(sizes, dtype=np.int64))
    if node.attr("allowzero", 0) and 0 in sizes:
        cutter.set_attr(node, "allowzero", 0)


def _with_copies(sizes: list[int], inputs: Shape, outputs: Shape, dynamic: list[int]) -> list[int]:
    """Writes 0 for dynamic sizes that stand at the same place in the input; one -1 may remain."""
    result = list(sizes)
    for k in dynamic:
        if k < len(inputs) and inputs[k] == outputs[k]:
            result[k] = 0
    return result


def _can_rewrite(node: Node, tracker: Tracker, old: Shape, new: Shape) -> bool:
    if tracker.value(node, 1) is not None:
        return True
    dynamic = [k for k in range(len(new)) if tracker.model.varies(node.outputs[0], k)]
    return _can_write(node, tracker.model, old, new, dynamic)


def _can_write(node: Node, sizes_of: Varying, old: Shape, new: Shape, dynamic: list[int]) -> bool:
    """Whether a target of numbers alone will do: each dynamic size is copied, or is the one -1."""
    sizes = _with_copies([-1 if k in dynamic else s for k, s in enumerate(new)], old, new, dynamic)
    copies_hold = all(sizes[k] != 0 or sizes_of.varies(node.inputs[0], k) for k in dynamic)
    return copies_hold and sum(size == -1 for size in sizes) <= 1
