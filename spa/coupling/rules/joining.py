"""Concat, Pad, Expand and Tile: tensors that grow along an axis.

1. Concat: along its axis, labels are put one after another, zeros (kept) for an operand that
   nothing follows there; over the other axes the operands are aligned, as in an elementwise
   operator.
2. Pad: entries that a constant pad adds get fresh labels, so they may go too; other modes repeat
   entries, so they keep the axis. A negative pad crops.
3. Expand: entries made by repeating an axis of size 1 get fresh labels.
4. Tile: the labels of a repeated axis are repeated; repeats of an axis of size 1 get fresh ones.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spa.coupling.align import align
from spa.coupling.labels import Layer, along, lift
from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.tracker import Tracker
from spa.graph.nodes import Node

Kept = npt.NDArray[np.bool_]


@rule("Concat")
def concat(node: Node, tracker: Tracker) -> None:  # 1
    rank = len(tracker.out_shape(node))
    axis = normal_axis(int(node.attr("axis", 1)), rank)
    read = [tracker.read(node, i) for i in range(len(node.inputs))]
    alone = [layers[0] for layers in read if len(layers) == 1]
    if len(alone) == len(read) and all([1 < x.size == x.shape[axis] for x in alone]):  # usual
        tracker.write(node, [np.concatenate(alone, axis=axis)])
        return
    shapes = [tracker.shape(node, i) for i in range(len(node.inputs))]
    others = [
        ((*shape[:axis], 1, *shape[axis + 1 :]), [x for x in layers if x.shape[axis] == 1])
        for shape, layers in zip(shapes, read, strict=True)
    ]
    result = align(tracker, node, others, rank)
    parts = [
        ([x for x in layers if x.shape[axis] > 1], shape[axis])
        for shape, layers in zip(shapes, read, strict=True)
    ]
    if any(layers for layers, _ in parts):
        result.append(_join(node, tracker, parts, axis, rank))
    tracker.write(node, result)


def _join(
    node: Node, tracker: Tracker, parts: list[tuple[list[Layer], int]], axis: int, rank: int
) -> Layer:
    """Layers along the axis, one after another; zeros where a part is not followed."""
    single = all(len(layers) <= 1 for layers, _ in parts)
    # Of the same shape but for the axis, which all follow, layers follow the same axes.
    shapes = {(x.shape[:axis], x.shape[axis + 1 :]) for layers, _ in parts for x in layers}
    if single and len(shapes) == 1:
        ((before, after),) = shapes
        pieces = [
            layers[0] if layers else np.zeros((*before, size, *after), np.int64)
            for layers, size in parts
        ]
        return np.concatenate(pieces, axis=axis)
    vectors = [tracker.vector(layers, axis, size, node) for layers, size in parts]
    return along(np.concatenate(vectors), axis, rank)


@rule("Pad")
def pad(node: Node, tracker: Tracker) -> None:  # 2
    shape = tracker.shape(node, 0)
    layers = tracker.read(node, 0)
    pads = _pads(node, tracker.value(node, 1), tracker.value(node, 3), len(shape))
    if pads is None:
        changed = [k for k in range(len(shape)) if tracker.out_shape(node)[k] != shape[k]]
        reason = "the padding is computed while the model runs"
        tracker.write(node, tracker.keep_axes(layers, changed or range(len(shape)), node, reason))
        return
    constant = node.attr("mode", "constant") == "constant"
    for axis, (before, after) in pads.items():
        if not constant and (before > 0 or after > 0):
            layers = tracker.keep_axes(layers, [axis], node, "the padding repeats its entries")
            continue
        left = [_padded(node, tracker, layer, axis, before, after) for layer in layers]
        if before < 0 or after < 0:
            tracker.pick([x for x, y in zip(left, layers, strict=True) if x is not y], node)
        layers = left
    tracker.write(node, layers)


def _padded(
    node: Node, tracker: Tracker, layer: Layer, axis: int, before: int, after: int
) -> Layer:
    if layer.shape[axis] == 1:
        return layer
    size = layer.shape[axis]
    layer = layer.take(np.arange(max(0, -before), size - max(0, -after)), axis=axis)
    repeats = [1 if k == axis else s for k, s in enumerate(layer.shape)]
    begin, end = (
        np.tile(along(tracker.made_up(node, axis, max(0, n)), axis, layer.ndim), repeats)
        for n in (before, after)
    )
    return np.concatenate([begin, layer, end], axis=axis)


@resize("Pad")
def resize_pad(node: Node, cutter: Cutter) -> None:
    """Made-up entries that went are padded no more; cropped ones that went, cropped no more."""
    old = cutter.old_shape(node.inputs[0])
    output = node.outputs[0]
    pads = _pads(node, cutter.value(node, 1), cutter.value(node, 3), len(old))
    if pads is None:
        return
    cut = [k for k in pads if not cutter.input_kept(node, 0, k).all() or cutter.is_cut(output, k)]
    if not cut:
        return
    begins, ends = [0] * len(old), [0] * len(old)
    for axis, (before, after) in pads.items():
        begins[axis], ends[axis] = before, after
        if axis in cut:
            source, target = cutter.input_kept(node, 0, axis), cutter.kept(output, axis)
            begins[axis] = _count(
                target[:before], source[:-before] if before else source[:0], before
            )
            ends[axis] = _count(target[target.size - after :], source[source.size + after :], after)
    numbers = begins + ends
    if "pads" in node.attrs:
        cutter.set_attr(node, "pads", numbers)
        return
    cutter.set_input(node, 1, np.asarray(numbers, dtype=np.int64))
    if node.has_input(3):
        cutter.set_input(node, 3, np.arange(len(old), dtype=np.int64))


def _count(made_up: Kept, cropped: Kept, entries: int) -> int:
    """Entries still to add (or, when negative, to crop) at one end of an axis."""
    if entries == 0:
        return 0
    return int(made_up.sum()) if entries > 0 else -int(cropped.sum())


def _pads(node: Node, value: object, axes: object, rank: int) -> dict[int, tuple[int, int]] | None:
    """Entries before and after, by axis; None where they are computed."""
    numbers = node.attr("pads")
    if numbers is None:
        if value is None or (node.has_input(3) and axes is None):
            return None
        numbers = np.asarray(value).tolist()
    places = range(rank) if axes is None else np.asarray(axes).tolist()
    half = len(numbers) // 2
    return {
        normal_axis(int(axis), rank): (int(numbers[i]), int(numbers[half + i]))
        for i, axis in enumerate(places)
    }


@rule("Expand")
def expand(node: Node, tracker: Tracker) -> None:  # 3
    old, new = tracker.shape(node, 0), tracker.out_shape(node)
    layers = [lift(layer, len(new)) for layer in tracker.read(node, 0)]
    wide = (1,) * (len(new) - len(old)) + tuple(old)
    grown = [k for k in range(len(new)) if wide[k] != new[k]]
    if tracker.value(node, 1) is None and any(
        tracker.model.varies(node.outputs[0], k) for k in grown
    ):
        # These entries of the target stay computed, so what they are computed from keeps its size.
        first = len(new) - tracker.shape(node, 1)[0]
        computed = [k for k in range(first, len(new)) if tracker.model.varies(node.outputs[0], k)]
        reason = "its size is used in a computation"
        tracker.keep_origins(node, 1, reason, elements=[k - first for k in computed])
        grown = [k for k in grown if k not in computed]
    layers += [along(tracker.made_up(node, k, new[k]), k, len(new)) for k in grown]
    tracker.write(node, layers)


@resize("Expand")
def resize_expand(node: Node, cutter: Cutter) -> None:
    """The target names the new sizes; 1 leaves an axis as it comes.

    Of a target that is computed from dynamic sizes, the entries that do not vary are written anew.
    """
    output = node.outputs[0]
    old, new = cutter.old_shape(output), cutter.new_shape(output)
    if old == new and not cutter.is_stale(node, 1):
        return
    source = cutter.old_shape(node.inputs[0])
    wide = (1,) * (len(old) - len(source)) + tuple(source)
    grown = [k for k in range(len(old)) if wide[k] != old[k]]
    if cutter.value(node, 1) is None and any(cutter.varies(output, k) for k in grown):
        first = len(old) - cutter.old_shape(node.inputs[1])[0]
        fixed = [k for k in range(first, len(old)) if not cutter.varies(output, k)]
        cutter.set_entries(node, 1, {k - first: new[k] if k in grown else 1 for k in fixed})
        return
    sizes = [new[k] if k in grown else 1 for k in range(len(new))]
    cutter.set_input(node, 1, np.asarray(sizes, dtype=np.int64))


@rule("Tile")
def tile(node: Node, tracker: Tracker) -> None:  # 4
    repeats = tracker.value(node, 1)
    layers = tracker.read(node, 0)
    old, new = tracker.shape(node, 0), tracker.out_shape(node)
    if repeats is None:
        changed = [k for k in range(len(old)) if old[k] != new[k]]
        reason = "the number of repeats is computed while the model runs"
        tracker.write(node, tracker.keep_axes(layers, changed, node, reason))
        return
    tiled = [_tiled(layer, repeats.tolist()) for layer in layers]
    grown = [k for k in range(len(old)) if old[k] == 1 < new[k]]
    made_up = [along(tracker.made_up(node, k, new[k]), k, len(new)) for k in grown]
    tracker.write(node, tiled + made_up)


@resize("Tile")
def resize_tile(node: Node, cutter: Cutter) -> None:
    """An axis of size 1 is repeated as often as is left of it."""
    repeats, output = cutter.value(node, 1), node.outputs[0]
    source = cutter.old_shape(node.inputs[0])
    cut = [k for k in range(len(source)) if source[k] == 1 and cutter.is_cut(output, k)]
    if repeats is None or not cut:
        return
    counts = repeats.copy()
    counts[cut] = [cutter.new_shape(output)[k] for k in cut]
    cutter.set_input(node, 1, counts)


def _tiled(layer: Layer, repeats: list[int]) -> Layer:
    counts = [int(r) if size > 1 else 1 for r, size in zip(repeats, layer.shape, strict=True)]
    return np.tile(layer, counts)
