"""Slice, Split and Gather: along the chosen axis, the output's labels are the input's, selected.

Any selection is a Gather of ranks among the kept. Surgery writes it as a Slice with new bounds
where the ranks are evenly spaced, and as a Gather where they are not. A selection by number along
an axis whose size follows an input (batch and heads in one) would be of other channels at another
size, so the axis is kept; a Slice that takes all of it, forwards or backwards, needs no numbers.

What picks nothing (the part behind a rotary embedding of whole heads) leaves an empty tensor. Its
other axes shrink nevertheless, as the shapes say that meet it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeGuard

import numpy as np
import numpy.typing as npt
import onnx

from spa.coupling.connect import distinct
from spa.coupling.labels import Labels, Layer, along
from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.tracker import Shape, Tracker
from spa.graph.model import Model
from spa.graph.nodes import Node
from spa.graph.sizes.families.selection import FAR

Index = npt.NDArray[np.int64]
Known = tuple[int, int, int]
Bound = tuple[int | None, int | None, int | None]


class Entries(Protocol):
    """What tells the numbers of a small input: a tracker, or surgery."""

    model: Model

    def entries(self, node: Node, i: int) -> list[int | None] | None:
        """Whole numbers, None for those that sizes or values decide."""


COMPUTED = "what is selected along this axis is computed while the model runs"
VARIES = "entries of this axis are selected by number, and its size varies with the inputs"


@rule("Split", zero="each", moves=True)
def split(node: Node, tracker: Tracker) -> None:
    axis = normal_axis(int(node.attr("axis", 0)), len(tracker.shape(node, 0)))
    layers = where_fixed(node, tracker, tracker.read(node, 0), axis)
    if node.has_input(1) and tracker.value(node, 1) is None:
        layers = tracker.keep_axes(layers, [axis], node, COMPUTED)
    start = 0
    for i, name in enumerate(node.outputs):
        size = tracker.out_shape(node, i)[axis] if name else 0
        if not name:  # an output nobody reads still takes its share
            size = _split_size(node, tracker, i, axis)
        chosen = np.arange(start, start + size)
        start += size
        if name:
            tracker.write(node, picked(node, tracker, layers, axis, chosen), i)


def _split_size(node: Node, tracker: Tracker, i: int, axis: int) -> int:
    sizes = node.attr("split") if not node.has_input(1) else tracker.value(node, 1)
    if sizes is not None:
        return int(sizes[i])
    return int(-(-tracker.shape(node, 0)[axis] // len(node.outputs)))


@resize("Split")
def resize_split(node: Node, cutter: Cutter) -> None:
    """The sizes of the parts are written out."""
    axis = normal_axis(int(node.attr("axis", 0)), len(cutter.old_shape(node.inputs[0])))
    if cutter.input_kept(node, 0, axis).all():
        return
    sizes = [cutter.new_shape(name)[axis] for name in node.outputs]
    if cutter.opset >= 13:
        cutter.set_input(node, 1, np.asarray(sizes, dtype=np.int64))
        cutter.set_attr(node, "num_outputs", None)
    else:
        cutter.set_attr(node, "split", sizes)


@rule("Slice", zero="each", moves=True)
def slice_(node: Node, tracker: Tracker) -> None:
    shape = tracker.shape(node, 0)
    layers = list(tracker.read(node, 0))
    bounds = _bounds(node, tracker, shape)
    if bounds is None:
        tracker.write(node, tracker.keep_axes(layers, range(len(shape)), node, COMPUTED))
        return
    for axis, bound in bounds.items():
        if not _is_known(bound):
            layers = tracker.keep_axes(layers, [axis], node, COMPUTED)
            continue
        chosen = np.arange(shape[axis])[slice(*_python_slice(*bound, shape[axis]))]
        if not _takes_all(*bound):
            layers = where_fixed(node, tracker, layers, axis)
        layers = picked(node, tracker, layers, axis, chosen)
    tracker.write(node, layers)


@resize("Slice")
def resize_slice(node: Node, cutter: Cutter) -> None:
    """Bounds along a cut axis follow; an uneven selection becomes a Gather before the Slice."""
    shape = cutter.old_shape(node.inputs[0])
    bounds = _bounds(node, cutter, shape)
    if bounds is None:
        return
    kept = {axis: cutter.input_kept(node, 0, axis) for axis in bounds}
    cut = [axis for axis in bounds if not kept[axis].all()]
    if not cut:
        return
    written: dict[int, Known] = {}
    gathers: dict[int, Index] = {}
    computed = False
    for axis, bound in bounds.items():
        if not _is_known(bound):
            computed = True
        elif axis not in cut or _takes_all(*bound):
            written[axis] = bound
        else:
            chosen = np.arange(shape[axis])[slice(*_python_slice(*bound, shape[axis]))]
            ranks = _ranks(chosen, kept[axis])
            even = _as_range(ranks)
            # Before opset 10 Slice has no steps.
            if even is None or (cutter.opset < 10 and even[2] != 1):
                gathers[axis] = ranks
            else:
                written[axis] = even
    nodes = []
    source = node.inputs[0]
    for axis, ranks in gathers.items():
        target = f"{node.outputs[0]}_gathered_{axis}"
        index = cutter.constant(node, f"indices_{axis}", ranks)
        nodes.append(onnx.helper.make_node("Gather", [source, index], [target], axis=axis))
        source = target
    if computed:
        nodes += _beside_computed(node, cutter, source, list(bounds), cut, written)
    else:
        nodes.append(_slice_node(node, cutter, source, written, node.outputs[0]))
    cutter.replace(node, nodes)


def _beside_computed(
    node: Node,
    cutter: Cutter,
    source: str,
    axes: list[int],
    cut: list[int],
    written: dict[int, Known],
) -> list[onnx.NodeProto]:
    """Axes that shrink are sliced first; the bounds of the others stay computed."""
    first = {axis: written[axis] for axis in cut if axis in written}
    places = [i for i, axis in enumerate(axes) if axis in cut]
    for i, whole in ((1, 0), (2, FAR), (4, 1)):
        if node.has_input(i):
            cutter.set_entries(node, i, dict.fromkeys(places, whole))
    target = f"{node.outputs[0]}_sliced"
    before = _slice_node(node, cutter, source, first, target)
    before.ClearField("name")
    inputs = [target, *cutter.inputs(node)[1:]]
    return [before, onnx.helper.make_node("Slice", inputs, list(node.outputs), name=node.name)]


@rule("Gather", weights=(0,), zero="each", moves=True)
def gather(node: Node, tracker: Tracker) -> None:
    """data: (..., axis, ...)   indices: any shape, which takes the axis's place."""
    shape = tracker.shape(node, 0)
    axis = normal_axis(int(node.attr("axis", 0)), len(shape))
    layers = tracker.read(node, 0)
    indices = tracker.value(node, 1)
    for layer in tracker.read(node, 1) if indices is None else ():
        tracker.keep(layer, node, "it is used as an index")
    wanted = tracker.shape(node, 1)
    rank = len(wanted)
    if indices is None:
        layers = tracker.keep_axes(layers, [axis], node, COMPUTED)
    else:
        layers = where_fixed(node, tracker, layers, axis)
        places = np.where(indices < 0, indices + shape[axis], indices).astype(np.int64)
        layers = picked(node, tracker, layers, axis, places.reshape(-1))
    result: list[Layer] = []
    for layer in layers:
        head, tail = layer.shape[:axis], layer.shape[axis + 1 :]
        middle = (1,) * rank if layer.shape[axis] == 1 else wanted
        result.append(layer.reshape(head + middle + tail))
    if indices is not None and shape[axis] == 1 < indices.size and rank == 1:
        # The same entry over and over: any of the repeats may go.
        result.append(along(tracker.made_up(node, axis, indices.size), axis, len(shape)))
    tracker.write(node, result)


@resize("Gather")
def resize_gather(node: Node, cutter: Cutter) -> None:
    """Indices become ranks among the kept; those that went are left out."""
    shape = cutter.old_shape(node.inputs[0])
    axis = normal_axis(int(node.attr("axis", 0)), len(shape))
    kept = cutter.input_kept(node, 0, axis)
    indices = cutter.value(node, 1)
    if indices is None:
        return
    output = node.outputs[0]
    stays = [cutter.kept(output, axis + k) for k in range(np.ndim(indices))]
    if kept.all() and all(mask.all() for mask in stays):
        return
    places = [np.flatnonzero(mask) for mask in stays]
    left = indices[np.ix_(*places)] if places else indices
    ranks = np.cumsum(kept) - 1
    cutter.set_input(node, 1, np.asarray(ranks[left], dtype=np.int64).reshape(np.shape(left)))


def where_fixed(node: Node, tracker: Tracker, layers: Sequence[Layer], axis: int) -> list[Layer]:
    """Keeps an axis whose entries are selected by number where its size varies."""
    if not tracker.model.varies(node.inputs[0], axis):
        return list(layers)
    return tracker.keep_axes(layers, [axis], node, VARIES)


def _is_known(bound: Bound) -> TypeGuard[Known]:
    return None not in bound


def _takes_all(start: int, end: int, step: int) -> bool:
    """Whether bounds take every entry of an axis of any size, forwards or backwards."""
    if step == 1:
        return start == 0 and end >= FAR
    return step == -1 and (start == -1 or start >= FAR) and end <= -FAR


def picked(
    node: Node, tracker: Tracker, layers: Sequence[Layer], axis: int, chosen: Index
) -> list[Layer]:
    """Layers of what a node picks along an axis of input 0; some of it must be left."""
    if not chosen.size:
        return [part for layer in layers for part in tracker.emptied(layer, axis)]
    taken = [x.take(chosen, axis=axis) if x.shape[axis] > 1 else x for x in layers]
    if distinct(chosen).size < tracker.shape(node, 0)[axis]:
        tracker.pick([x for x, y in zip(taken, layers, strict=True) if x is not y], node)
    return taken


def _bounds(node: Node, known: Entries, shape: Shape) -> dict[int, Bound] | None:
    """Start, end and step by axis, None for what is computed; None where the axes are."""
    starts: list[int | None]
    if "starts" in node.attrs:  # opset 1 to 9
        starts, ends = list(node.attrs["starts"]), list(node.attrs["ends"])
        axes: list[int | None] = list(node.attr("axes", range(len(starts))))
        steps: list[int | None] = [1] * len(starts)
    else:
        count = int(np.prod(known.model.shapes[node.inputs[1]], dtype=np.int64))
        defaults: list[list[int | None]] = [[], [], list(range(count)), [1] * count]
        starts, ends, axes, steps = (
            (known.entries(node, i) or [None for _ in range(count)]) if node.has_input(i) else usual
            for i, usual in enumerate(defaults, start=1)
        )
    if None in axes:
        return None
    return {
        normal_axis(axis, len(shape)): (start, end, step)
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
        if axis is not None
    }


def _python_slice(start: int, end: int, step: int, size: int) -> tuple[int, int | None, int]:
    """Bounds as Python takes them.

    ONNX clamps as Python does, except that with a negative step a far negative end means "past the
    first".
    """
    if step < 0:
        start = min(start + size if start < 0 else start, size - 1)
        end = end + size if end < 0 else end
        return start, (None if end < 0 else end), step
    return start, end, step


def _ranks(chosen: Index, kept: npt.NDArray[np.bool_]) -> Index:
    """Places of the kept among the chosen, counted among the kept of the input."""
    ranks = np.cumsum(kept) - 1
    return ranks[chosen[kept[chosen]]].astype(np.int64)


def _as_range(ranks: Labels) -> tuple[int, int, int] | None:
    """Start, end and step of evenly spaced ranks."""
    if ranks.size == 1:
        return int(ranks[0]), int(ranks[0]) + 1, 1
    steps = np.diff(ranks)
    if ranks.size == 0 or not (steps == steps[0]).all() or steps[0] == 0:
        return None
    step = int(steps[0])
    end = int(ranks[-1]) + step
    return int(ranks[0]), end if end >= 0 else -(2**31), step


def _slice_node(
    node: Node, cutter: Cutter, source: str, bounds: dict[int, Known], target: str
) -> onnx.NodeProto:
    if not bounds:
        return onnx.helper.make_node("Identity", [source], [target])
    axes = sorted(bounds)
    columns = [[bounds[axis][k] for axis in axes] for k in range(3)]
    if cutter.opset < 10:
        return onnx.helper.make_node(
            "Slice", [source], [target], name=node.name,
            starts=columns[0], ends=columns[1], axes=axes,
        )  # fmt: skip
    inputs = [source]
    for hint, numbers in zip(
        ("starts", "ends", "axes", "steps"), (columns[0], columns[1], axes, columns[2]), strict=True
    ):
        inputs.append(cutter.constant(node, hint, np.asarray(numbers, dtype=np.int64)))
    return onnx.helper.make_node("Slice", inputs, [target], name=node.name)
