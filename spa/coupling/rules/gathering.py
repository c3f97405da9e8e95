"""GatherElements and GatherND: entries of a tensor are picked one by one.

GatherElements   data: (..., A, ...)     indices: (..., M, ...)     y: (..., M, ...)
GatherND         data: (B..., K..., T...)   indices: (B..., M..., k)   y: (B..., M..., T...)

1. Known indices: an output layer is what the same operator makes of the data's layer, so a
   selection per channel is followed as any movement is. Surgery writes the indices anew. Indices
   that are expanded to a dynamic batch, and differ along the axis alone, are those of a Gather;
   surgery makes them one.
2. Computed indices: the axes that they count along are kept, the others pass. An axis that data
   and indices both have shrinks in both.

GatherElements picks among the first entries of the other axes, where the indices have fewer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from spa.coupling.align import align
from spa.coupling.connect import distinct
from spa.coupling.labels import Layer, along, collapse, support
from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.rules.selection import COMPUTED, where_fixed
from spa.coupling.tracker import Shape, Tracker
from spa.graph.model import Array, Model
from spa.graph.nodes import Node

AS_INDEX = "it is used as an index"


@rule("GatherElements", zero="each")
def gather_elements(node: Node, tracker: Tracker) -> None:
    wanted = tracker.shape(node, 1)
    axis = normal_axis(int(node.attr("axis", 0)), len(wanted))
    layers = [leading(layer, wanted, axis) for layer in tracker.read(node, 0)]
    indices = tracker.value(node, 1)
    if indices is None:
        indices = _as_of_gather(node, axis, tracker.model)
    if indices is not None:  # 1
        places = collapse(np.where(indices < 0, indices + tracker.shape(node, 0)[axis], indices))
        layers = where_fixed(node, tracker, layers, axis)
        found = [_picked(layer, places, axis) for layer in layers]
        tracker.pick(_fewer(found, tracker.read(node, 0)), node)
        tracker.write(node, found)
        return
    layers = tracker.keep_axes(layers, [axis], node, COMPUTED)  # 2
    counted = tracker.keep_axes(tracker.read(node, 1), [axis], node, AS_INDEX)
    tracker.write(node, align(tracker, node, [(wanted, layers), (wanted, counted)], len(wanted)))


@resize("GatherElements")
def resize_gather_elements(node: Node, cutter: Cutter) -> None:
    """Indices become ranks among the kept, for every entry of the output that stays."""
    output = node.outputs[0]
    rank = len(cutter.old_shape(output))
    axis = normal_axis(int(node.attr("axis", 0)), rank)
    indices = cutter.value(node, 1)
    moved = any(cutter.is_cut(output, k) for k in range(rank))
    if not moved and cutter.input_kept(node, 0, axis).all():
        return
    if indices is None:
        indices = _as_of_gather(node, axis, cutter.model)
        if indices is not None:
            _make_gather(node, cutter, axis, indices)
        return
    left = indices[np.ix_(*(np.flatnonzero(cutter.kept(output, k)) for k in range(rank)))]
    cutter.set_input(node, 1, ranked(left, cutter, node, axis))


def _as_of_gather(node: Node, axis: int, model: Model) -> Array | None:
    """Known indices that differ along the axis alone, where they are expanded to the data's axes.

    These axes must be the data's at any size of the inputs.
    """
    value = model.expanded_value(node.inputs[1])
    if value is None or value.shape[axis] != value.size:
        return None
    others = [k for k in range(value.ndim) if k != axis]
    same = all(model.same_size(node.inputs[0], k, node.inputs[1], k) for k in others)
    return value if same and value.size == model.shapes[node.inputs[1]][axis] else None


def _make_gather(node: Node, cutter: Cutter, axis: int, indices: Array) -> None:
    left = indices.reshape(-1)[cutter.kept(node.outputs[0], axis)]
    places = cutter.constant(node, "places", ranked(left, cutter, node, axis))
    inputs = [node.inputs[0], places]
    new = onnx.helper.make_node("Gather", inputs, list(node.outputs), name=node.name, axis=axis)
    cutter.replace(node, [new])


@rule("GatherND", zero="each")
def gather_nd(node: Node, tracker: Tracker) -> None:
    data, indices = tracker.shape(node, 0), tracker.shape(node, 1)
    b, k = int(node.attr("batch_dims", 0)), indices[-1]
    picks = len(indices) - 1  # leading axes of the output: batch axes and picks
    rank = len(tracker.out_shape(node))
    layers = tracker.read(node, 0)
    value = tracker.value(node, 1)
    if value is not None:  # 1
        places = np.where(value < 0, value + np.array(data[b : b + k]), value)
        for axis in range(b, b + k):
            layers = where_fixed(node, tracker, layers, axis)
        found = [_picked_nd(layer, places, data, b, k) for layer in layers]
        tracker.pick(_fewer(found, layers), node)
        tracker.write(node, found)
        return
    layers = tracker.keep_axes(layers, range(b, b + k), node, COMPUTED)  # 2
    layers = [x.reshape((*x.shape[:b], *(1,) * (picks - b), *x.shape[b + k :])) for x in layers]
    counted = tracker.keep_axes(tracker.read(node, 1), range(b, len(indices)), node, AS_INDEX)
    counted = [x.reshape((*x.shape[:picks], *(1,) * (rank - picks))) for x in counted]
    batch = (*data[:b], *(1,) * (rank - b))
    operands = [((*data[:b], *(1,) * (picks - b), *data[b + k :]), layers), (batch, counted)]
    tracker.write(node, align(tracker, node, operands, rank))


@resize("GatherND")
def resize_gather_nd(node: Node, cutter: Cutter) -> None:
    """Tuples of indices become tuples of ranks, for every pick that stays."""
    indices = cutter.value(node, 1)
    if indices is None:
        return
    b, picks = int(node.attr("batch_dims", 0)), indices.ndim - 1
    counted = range(b, b + indices.shape[-1])
    kept = [np.flatnonzero(cutter.kept(node.outputs[0], q)) for q in range(picks)]
    left = indices[np.ix_(*kept, np.arange(indices.shape[-1]))]
    columns = [ranked(left[..., i], cutter, node, axis) for i, axis in enumerate(counted)]
    new = np.stack(columns, axis=-1)
    if new.shape != indices.shape or not np.array_equal(new, indices):
        cutter.set_input(node, 1, new)


def _fewer(found: Sequence[Layer], layers: Sequence[Layer]) -> list[Layer]:
    """Layers of what was picked that lack labels of what it was picked from."""
    pairs = zip(found, layers, strict=True)
    return [x for x, y in pairs if x is not y and distinct(x).size < distinct(y).size]


def leading(layer: Layer, wanted: Shape, axis: int) -> Layer:
    """A layer's first entries along every axis but one, as many as are wanted."""
    for k in support(layer):
        if k != axis:
            layer = layer.take(np.arange(wanted[k]), axis=k)
    return layer


def ranked(indices: Array, cutter: Cutter, node: Node, axis: int) -> Array:
    """Indices along an axis of input 0, counted among those that stay."""
    kept = cutter.input_kept(node, 0, axis)
    ranks = np.cumsum(kept) - 1
    return ranks[np.where(indices < 0, indices + kept.size, indices)].astype(np.int64)


def _picked(layer: Layer, places: Array, axis: int) -> Layer:
    """places: (..., M, ...), of size 1 along the axes on which they do not depend."""
    if layer.shape[axis] == 1:
        return layer
    others = np.broadcast_shapes(
        *(tuple(1 if k == axis else s for k, s in enumerate(x.shape)) for x in (layer, places))
    )
    full, chosen = (
        np.broadcast_to(x, [x.shape[k] if k == axis else s for k, s in enumerate(others)])
        for x in (layer, places)
    )
    return np.take_along_axis(full, chosen.astype(np.int64), axis=axis)


def _picked_nd(layer: Layer, places: Array, data: Shape, b: int, k: int) -> Layer:
    """places: (B..., M..., k)."""
    picks = places.ndim - 1
    if all(size == 1 for size in layer.shape[b : b + k]):
        return layer.reshape((*layer.shape[:b], *(1,) * (picks - b), *layer.shape[b + k :]))
    full = np.broadcast_to(layer, (*data[: b + k], *layer.shape[b + k :]))
    batch = tuple(along(np.arange(data[axis]), axis, picks) for axis in range(b))
    picked: Layer = full[(*batch, *(places[..., i].astype(np.int64) for i in range(k)))]
    return picked
