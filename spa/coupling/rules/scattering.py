"""Scatter operators: entries of a tensor are overwritten (or added to) one by one.

ScatterElements  data: (..., A, ...)   indices, updates: (..., M, ...)             y as data
ScatterND        data: (K..., T...)    indices: (M..., k)   updates: (M..., T...)   y as data
TensorScatter    past: (N, ..., S, ...)   update: (N, ..., L, ...)   indices: (N,)   y as past

A slice assignment, ``x[:, 2:5] = y``, comes as one of these with known indices.

1. An axis that is not counted along is shared by data and updates (and indices), so they shrink
   together. ScatterElements may touch its first entries only.
2. An axis that is counted along by known indices, each place at one place of one axis of the
   updates: an entry of the data goes with the updates that fall on it.
3. Everything else that is counted along is kept, in data and updates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spa.coupling.align import Operand, align
from spa.coupling.labels import Labels, Layer, along, collapse, support
from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.rules.gathering import AS_INDEX, leading, ranked
from spa.coupling.rules.selection import COMPUTED, VARIES
from spa.coupling.tracker import Tracker
from spa.graph.model import Array
from spa.graph.nodes import Node

APART = "its entries are scattered over several axes"


@rule("ScatterElements", "Scatter")
def scatter_elements(node: Node, tracker: Tracker) -> None:
    shape, wanted = tracker.shape(node, 0), tracker.shape(node, 1)
    rank = len(shape)
    axis = normal_axis(int(node.attr("axis", 0)), rank)
    value = tracker.value(node, 1)
    data, updates = tracker.read(node, 0), tracker.read(node, 2)
    flat = tuple(1 if k == axis else size for k, size in enumerate(wanted))
    counted: list[Layer] = []
    operands: list[Operand] = []
    varies = tracker.model.varies(node.inputs[0], axis)
    spot = None if value is None or varies else collapse(_from_the_front(value, shape[axis]))
    if spot is not None and not set(support(spot)) - {axis}:  # 2
        spot = np.broadcast_to(spot.reshape(-1), wanted[axis])
        labels = _counted(node, tracker, data, axis, updates, axis, spot)
        counted = [along(labels, axis, rank)] if labels.any() else []
    else:  # 3
        reason = COMPUTED if value is None else VARIES if varies else APART
        data = tracker.keep_axes(data, [axis], node, reason)
        updates = tracker.keep_axes(updates, [axis], node, reason)
    if value is None:
        operands.append((flat, tracker.keep_axes(tracker.read(node, 1), [axis], node, AS_INDEX)))
    data, updates = _without(data, [axis]), _without(updates, [axis])
    operands += [(flat, updates), (flat, [leading(layer, wanted, axis) for layer in data])]
    align(tracker, node, operands, rank)  # 1
    tracker.write(node, [*data, *counted])


@resize("ScatterElements", "Scatter")
def resize_scatter_elements(node: Node, cutter: Cutter) -> None:
    """Indices become ranks among the kept, for every update that stays."""
    rank = len(cutter.old_shape(node.inputs[0]))
    axis = normal_axis(int(node.attr("axis", 0)), rank)
    indices = cutter.value(node, 1)
    masks = [cutter.input_kept(node, 2, k) for k in range(rank)]
    if indices is None or (
        all(mask.all() for mask in masks) and cutter.input_kept(node, 0, axis).all()
    ):
        return
    left = indices[np.ix_(*(np.flatnonzero(mask) for mask in masks))]
    cutter.set_input(node, 1, ranked(left, cutter, node, axis))


@rule("ScatterND")
def scatter_nd(node: Node, tracker: Tracker) -> None:
    shape, places = tracker.shape(node, 0), tracker.shape(node, 1)
    rank, k, picks = len(shape), places[-1], len(places) - 1
    data, updates = tracker.read(node, 0), tracker.read(node, 2)
    value = tracker.value(node, 1)
    reason = COMPUTED if value is None else APART
    spots: dict[int, Labels] = {}
    if value is None:
        tracker.keep_layers(tracker.read(node, 1), node, AS_INDEX)
    else:
        followed = [axis for axis in range(k) if any(layer.shape[axis] > 1 for layer in data)]
        spots = {
            axis: collapse(_from_the_front(value[..., axis], shape[axis])) for axis in followed
        }
    # Axes of the updates over which the places on an axis of the data change.
    over = {axis: support(spot) for axis, spot in spots.items()}
    alone = [q for q in range(picks) if sum(q in axes for axes in over.values()) == 1]
    single = [
        axis
        for axis, axes in over.items()
        if len(axes) < 2
        and set(axes) <= set(alone)
        and not tracker.model.varies(node.inputs[0], axis)
    ]
    matched = {q for axis in single for q in over[axis]}
    data = tracker.keep_axes(data, set(range(k)).difference(single), node, reason)  # 3
    updates = tracker.keep_axes(updates, set(range(picks)) - matched, node, reason)
    counted = []
    for axis in single:  # 2
        spot, (q, *_) = spots[axis].reshape(-1), (*over[axis], None)
        counted.append(_counted(node, tracker, data, axis, updates, q, spot))
    flat = (*(1,) * k, *shape[k:])
    tail = [x.reshape((*(1,) * k, *x.shape[picks:])) for x in _without(updates, range(picks))]
    layers = align(tracker, node, [(flat, _without(data, range(k))), (flat, tail)], rank)  # 1
    layers += [along(x, axis, rank) for axis, x in zip(single, counted, strict=True) if x.any()]
    tracker.write(node, layers)


@resize("ScatterND")
def resize_scatter_nd(node: Node, cutter: Cutter) -> None:
    """Tuples of indices become tuples of ranks, for every update that stays."""
    indices = cutter.value(node, 1)
    if indices is None:
        return
    picks, k = indices.ndim - 1, indices.shape[-1]
    kept = [np.flatnonzero(cutter.input_kept(node, 2, q)) for q in range(picks)]
    left = indices[np.ix_(*kept, np.arange(k))]
    new = np.stack([ranked(left[..., axis], cutter, node, axis) for axis in range(k)], axis=-1)
    if new.shape != indices.shape or not np.array_equal(new, indices):
        cutter.set_input(node, 1, new)


@rule("TensorScatter")
def tensor_scatter(node: Node, tracker: Tracker) -> None:
    shape = tracker.shape(node, 0)
    axis = normal_axis(int(node.attr("axis", -2)), len(shape))
    flat = tuple(1 if k == axis else size for k, size in enumerate(shape))
    operands = [
        (flat, tracker.keep_axes(tracker.read(node, i), [axis], node, COMPUTED)) for i in (0, 1)
    ]
    if node.has_input(2):
        ones = (1,) * (len(shape) - 1)
        operands.append(
            ((shape[0], *ones), [x.reshape((-1, *ones)) for x in tracker.read(node, 2)])
        )
    tracker.write(node, align(tracker, node, operands, len(shape)))


def _counted(
    node: Node,
    tracker: Tracker,
    data: Sequence[Layer],
    axis: int,
    updates: Sequence[Layer],
    over: int | None,
    spot: Array,
) -> Labels:
    """Labels of an axis of the data; update i of axis ``over`` falls on entry ``spot[i]``."""
    labels = tracker.vector(data, axis, tracker.shape(node, 0)[axis], node)
    theirs = np.zeros(spot.size, dtype=np.int64)
    if over is not None:
        theirs = tracker.vector(updates, over, spot.size, node)
    tracker.equal(labels[spot], theirs, node)
    return labels


def _from_the_front(indices: Array, size: int) -> Labels:
    return np.where(indices < 0, indices + size, indices).astype(np.int64)


def _without(layers: Sequence[Layer], axes: Sequence[int]) -> list[Layer]:
    """Layers that follow none of some axes."""
    return [layer for layer in layers if not set(support(layer)) & set(axes)]
