"""Operators that only rearrange: an output layer is what the same operator makes of the input's.

1. Transpose permutes a layer's axes; Squeeze and Unsqueeze take and add axes of size 1.
2. Reshape and Flatten cut both shapes into blocks of equal products; a layer is expanded only over
   the block that it follows (`spa.coupling.labels.reshape_layer`). Where a block begins and ends
   must hold for all sizes of the inputs, not only for the example's: else what follows it is kept.

Reshape's target is rewritten when the output shrinks:
3. A constant target keeps its 0 and -1.
4. A target that is computed is written with the kept sizes, where each open size is the input's at
   the same place (a 0), or the only one (a -1). A -1 beside a 0 is not: of an empty batch nobody
   can tell it.
5. Else it stays computed, from the dense sizes (see `spa.pruning.surgery`). Entries of axes that
   shrink are put in their places; of an open one (C * T in one axis) as much as is left of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spa.coupling.labels import Layer, blocks, reshape_layer, support
from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.tracker import Shape, Tracker
from spa.graph.model import Model
from spa.graph.nodes import Node

UNTOLD = "where its entries lie after the Reshape depends on sizes that the file leaves open"
UNKNOWN = "its size in the target shape is computed in a way that cannot be followed"


@rule("Transpose", zero="each", moves=True)
def transpose(node: Node, tracker: Tracker) -> None:
    rank = len(tracker.shape(node, 0))
    perm = node.attr("perm", list(range(rank))[::-1])
    tracker.write(node, [layer.transpose(perm) for layer in tracker.read(node, 0)])


@rule("Squeeze", "Unsqueeze", zero="each", moves=True)
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


@rule("Reshape", "Flatten", zero="each", moves=True)
def reshape(node: Node, tracker: Tracker) -> None:
    old, new = tracker.shape(node, 0), tracker.out_shape(node)
    read = _told(node, tracker, old, new)
    layers = [reshape_layer(layer, old, new) for layer in read]
    if node.op == "Reshape" and tracker.value(node, 1) is None:
        model = tracker.model
        if _numbers(node, model, new) is None:
            lost = [k for k in range(len(new)) if not _can_follow(node, model, k)]
            layers = tracker.keep_axes(layers, lost, node, UNKNOWN)
    tracker.write(node, layers)


def _told(node: Node, tracker: Tracker, old: Shape, new: Shape) -> Sequence[Layer]:
    """The input's layers, less what cannot be followed for all sizes (2)."""
    layers = tracker.read(node, 0)
    source, target = (tracker.model.sizes.axes(name) for name in (node.inputs[0], node.outputs[0]))
    if source == old and target == new:
        return layers
    followed = {k for layer in layers for k in support(layer)}
    same = tracker.model.sizes.algebra.same_product

    def meet(i: int, j: int) -> bool:
        return same(source[i:], target[j:]) or same(source[:i], target[:j])

    lost = []
    for here, there in blocks(old, new):
        if followed.isdisjoint(here):
            continue
        begin, end = (
            (here[0], there[0] if there else 0),
            (here[-1] + 1, there[-1] + 1 if there else 0),
        )
        if there and not (meet(*begin) and meet(*end)):
            lost += [k for k in here if k in followed]
    return tracker.keep_axes(layers, lost, node, UNTOLD) if lost else layers


def _can_follow(node: Node, model: Model, k: int) -> bool:
    """Whether an entry of a computed target can be given what is left of it (5)."""
    if not model.varies(node.outputs[0], k):
        return True
    entries = model.sizes.entries(node.inputs[1])
    if entries is None:
        return False
    return isinstance(entries[k], int) or model.sizes.algebra.sign(entries[k], -1) == 1


@resize("Reshape")
def resize_reshape(node: Node, cutter: Cutter) -> None:
    output = node.outputs[0]
    old, new = cutter.old_shape(output), cutter.new_shape(output)
    if old == new:
        return
    target = cutter.value(node, 1)
    left = cutter.input_shape(node, 0)
    if target is None:
        sizes = _numbers(node, cutter.model, new, left)
        if sizes is None:
            _put_entries(node, cutter, old, new, left)  # 5
            return
    else:  # 3
        follows = {k for k, size in enumerate(target) if size in (0, -1)}
        if node.attr("allowzero", 0):
            follows = {k for k, size in enumerate(target) if size == -1}
        sizes = [int(target[k]) if k in follows else new[k] for k in range(len(new))]
        # A 0 copies the input's size at the same place, which may not be what shrank.
        for k in follows:
            if sizes[k] == 0 and (k >= len(left) or left[k] != new[k]):
                sizes[k] = new[k]
    cutter.set_input(node, 1, np.asarray(sizes, dtype=np.int64))
    if node.attr("allowzero", 0) and 0 in sizes:
        cutter.set_attr(node, "allowzero", 0)


def _numbers(node: Node, model: Model, new: Shape, left: Shape | None = None) -> list[int] | None:
    """A target of numbers alone that holds for all sizes (4); None where there is none.

    Args:
        node: the Reshape.
        model: the dense model.
        new: the output's shape as it shall be.
        left: the input's shape as it will be, where that is known.
    """
    source, output = node.inputs[0], node.outputs[0]
    sizes, rank = list(new), len(model.shapes[source])
    asked = model.sizes.entries(node.inputs[1]) or [None] * len(new)
    for k in range(len(new)):
        if model.varies(output, k):
            copied = k < rank and model.same_size(source, k, output, k)
            sizes[k] = 0 if copied and (left is None or left[k] == new[k]) else -1
    if -1 not in sizes:
        return sizes
    alone = sizes.count(-1) == 1
    return sizes if alone and (0 not in sizes or asked[sizes.index(-1)] == -1) else None


def _put_entries(node: Node, cutter: Cutter, old: Shape, new: Shape, left: Shape) -> None:
    """Gives the entries of axes that shrink what is left of them; -1 and fitting 0s stay."""
    known = cutter.model.sizes.entries(node.inputs[1]) or [None] * len(new)
    copies = not node.attr("allowzero", 0)
    entries: dict[int, int] = {}
    shares: dict[int, tuple[int, int]] = {}
    for k, entry in enumerate(known):
        copied = copies and isinstance(entry, int) and entry == 0
        fits = copied and k < len(left) and left[k] == new[k]
        if old[k] == new[k] or fits or (isinstance(entry, int) and entry == -1):
            continue
        if cutter.varies(node.outputs[0], k):
            shares[k] = (new[k], old[k])
        else:
            entries[k] = new[k]
    cutter.set_entries(node, 1, entries, shares)
