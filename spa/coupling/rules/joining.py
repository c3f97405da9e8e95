"""Concat, Pad, Expand and Tile: tensors that grow along an axis.

1. Concat: along its axis, labels are put one after another, zeros (kept) for an operand that
   nothing follows there; over the other axes the operands are aligned, as in an elementwise
   operator. An operand that is empty along its axis is aligned with what the others give.
2. Pad: entries that a constant pad adds get fresh labels, so they may go too; other modes repeat
   entries, so they keep the axis. A negative pad crops.
3. Expand: entries made by repeating an axis of size 1 get fresh labels.
4. Tile: the labels of a repeated axis are repeated; repeats of an axis of size 1 get fresh ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spa.coupling.align import align
from spa.coupling.labels import Layer, along, lift
from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.tracker import Shape, Tracker
from spa.graph.model import Array, Model
from spa.graph.nodes import Node

COMPUTED = "the padding is computed while the model runs"
Kept = npt.NDArray[np.bool_]


@rule("Concat", moves=True)
def concat(node: Node, tracker: Tracker) -> None:  # 1
    rank = len(tracker.out_shape(node))
    axis = normal_axis(int(node.attr("axis", 1)), rank)
    read = [tracker.read(node, i) for i in range(len(node.inputs))]
    alone = [layers[0] for layers in read if len(layers) == 1]
    if len(alone) == len(read) and all([1 < x.size == x.shape[axis] for x in alone]):  # usual
        tracker.write(node, [np.concatenate(alone, axis=axis)])
        return
    shapes = [tracker.shape(node, i) for i in range(len(node.inputs))]
    empty = [i for i, shape in enumerate(shapes) if not shape[axis]]
    if 0 < len(empty) < len(shapes):
        left = [i for i in range(len(shapes)) if i not in empty]
        result = _joined(node, tracker, [shapes[i] for i in left], [read[i] for i in left], axis)
        # They add nothing, but their other axes have to be those of the rest.
        out = tracker.out_shape(node)
        beside = [((*out[:axis], 1, *out[axis + 1 :]), read[i]) for i in empty]
        tracker.write(node, align(tracker, node, [(out, result), *beside], rank))
        return
    tracker.write(node, _joined(node, tracker, shapes, read, axis))


def _joined(
    node: Node, tracker: Tracker, shapes: list[Shape], read: list[list[Layer]], axis: int
) -> list[Layer]:
    """Layers of what operands give together."""
    rank = len(shapes[0])
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
    return result


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


@rule("Pad", steady=True)
def pad(node: Node, tracker: Tracker) -> None:  # 2
    rank = len(tracker.shape(node, 0))
    layers = tracker.read(node, 0)
    pads = _pads(node, tracker.entries(node, 1), tracker.value(node, 3), rank)
    if pads is None:
        tracker.write(node, tracker.keep_axes(layers, range(rank), node, COMPUTED))
        return
    constant = node.attr("mode", "constant") == "constant"
    for axis, (before, after) in pads.items():
        if before is None or after is None:
            layers = tracker.keep_axes(layers, [axis], node, COMPUTED)
        elif not constant and (before > 0 or after > 0):
            layers = tracker.keep_axes(layers, [axis], node, "the padding repeats its entries")
        else:
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
    pads = _pads(node, cutter.entries(node, 1), cutter.value(node, 3), len(old))
    if pads is None:
        return
    cut = [k for k in pads if not cutter.input_kept(node, 0, k).all() or cutter.is_cut(output, k)]
    if not cut:
        return
    numbers: list[int | None] = [None] * (2 * len(pads))
    for i, (axis, (before, after)) in enumerate(pads.items()):
        if axis in cut and before is not None and after is not None:
            source, target = cutter.input_kept(node, 0, axis), cutter.kept(output, axis)
            before, after = (
                _count(target[:before], source[:-before] if before else source[:0], before),
                _count(target[target.size - after :], source[source.size + after :], after),
            )
        numbers[i], numbers[i + len(pads)] = before, after
    if "pads" in node.attrs:
        cutter.set_attr(node, "pads", numbers)
    else:
        cutter.set_entries(node, 1, {i: n for i, n in enumerate(numbers) if n is not None})


def _count(made_up: Kept, cropped: Kept, entries: int) -> int:
    """Entries still to add (or, when negative, to crop) at one end of an axis."""
    if entries == 0:
        return 0
    return int(made_up.sum()) if entries > 0 else -int(cropped.sum())


def _pads(
    node: Node, entries: Sequence[int | None] | None, axes: Array | None, rank: int
) -> dict[int, tuple[int | None, int | None]] | None:
    """Entries before and after, by axis, None for what is computed; None where the axes are."""
    numbers = node.attr("pads", entries)
    if numbers is None or (node.has_input(3) and axes is None):
        return None
    places = range(rank) if axes is None else np.reshape(axes, -1).tolist()
    half = len(numbers) // 2
    return {
        normal_axis(int(k), rank): (numbers[i], numbers[half + i]) for i, k in enumerate(places)
    }


@rule("Expand", zero="each", moves=True)
def expand(node: Node, tracker: Tracker) -> None:  # 3
    old, new = tracker.shape(node, 0), tracker.out_shape(node)
    layers = [lift(layer, len(new)) for layer in tracker.read(node, 0)]
    grown = _grown(node, tracker.model, old, new)
    layers += [along(tracker.made_up(node, k, new[k]), k, len(new)) for k in grown]
    tracker.write(node, layers)


def _grown(node: Node, model: Model, old: Shape, new: Shape) -> list[int]:
    """Axes that are repeated to a fixed size."""
    wide = (1,) * (len(new) - len(old)) + tuple(old)
    return [
        k for k in range(len(new)) if wide[k] != new[k] and not model.varies(node.outputs[0], k)
    ]


@resize("Expand")
def resize_expand(node: Node, cutter: Cutter) -> None:
    """The target names the new sizes; 1 leaves an axis as it comes.

    Of a target that is computed, the entries of axes that shrink are written anew.
    """
    output = node.outputs[0]
    old, new = cutter.old_shape(output), cutter.new_shape(output)
    if old == new:
        return
    grown = _grown(node, cutter.model, cutter.old_shape(node.inputs[0]), old)
    sizes = [new[k] if k in grown else 1 for k in range(len(new))]
    if cutter.value(node, 1) is not None:
        cutter.set_input(node, 1, np.asarray(sizes, dtype=np.int64))
        return
    first = len(old) - cutter.old_shape(node.inputs[1])[0]
    cut = [k for k in range(first, len(old)) if old[k] != new[k]]
    cutter.set_entries(node, 1, {k - first: sizes[k] for k in cut})


@rule("Tile", zero="each", moves=True)
def tile(node: Node, tracker: Tracker) -> None:  # 4
    layers = tracker.read(node, 0)
    old, new = tracker.shape(node, 0), tracker.out_shape(node)
    repeats = tracker.entries(node, 1) or [None] * len(old)
    computed = [k for k, count in enumerate(repeats) if count is None]
    reason = "the number of repeats is computed while the model runs"
    layers = tracker.keep_axes(layers, computed, node, reason)
    tiled = [_tiled(layer, [count or 1 for count in repeats]) for layer in layers]
    grown = [k for k in range(len(old)) if old[k] == 1 < new[k] and k not in computed]
    made_up = [along(tracker.made_up(node, k, new[k]), k, len(new)) for k in grown]
    tracker.write(node, tiled + made_up)


@resize("Tile")
def resize_tile(node: Node, cutter: Cutter) -> None:
    """An axis of size 1 is repeated as often as is left of it."""
    output = node.outputs[0]
    source = cutter.old_shape(node.inputs[0])
    cut = [k for k in range(len(source)) if source[k] == 1 and cutter.is_cut(output, k)]
    counts = {k: cutter.new_shape(output)[k] for k in cut}
    cutter.set_entries(node, 1, counts)


def _tiled(layer: Layer, repeats: list[int]) -> Layer:
    counts = [int(r) if size > 1 else 1 for r, size in zip(repeats, layer.shape, strict=True)]
    return np.tile(layer, counts)
