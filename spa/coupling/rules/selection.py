"""Slice, Split and Gather: along the chosen axis, the output's labels are the input's, selected.

Any selection is a Gather of ranks among the kept. Surgery writes it as a Slice with new bounds
where the ranks are evenly spaced, and as a Gather where they are not. A selection by number along
an axis whose size follows an input (batch and heads in one) would be of other channels at another
size, so the axis is kept; a Slice that takes all of it, forwards or backwards, needs no numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx

from spa.coupling.connect import distinct
from spa.coupling.labels import Labels, Layer, along
from spa.coupling.rules.base import Cutter, normal_axis, resize, rule
from spa.coupling.tracker import Shape, Tracker
from spa.graph.model import Array
from spa.graph.nodes import Node

Index = npt.NDArray[np.int64]
COMPUTED = "what is selected along this axis is computed while the model runs"
# What exporters write for "to the end".
FAR = 2**31 - 1
VARIES = "entries of this axis are selected by number, and its size varies with the inputs"


@rule("Split")
def split(node: Node, tracker: Tracker) -> None:
    axis = normal_axis(int(node.attr("axis", 0)), len(tracker.shape(node, 0)))
    layers = _fixed(node, tracker, tracker.read(node, 0), axis)
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


@rule("Slice")
def slice_(node: Node, tracker: Tracker) -> None:
    shape = tracker.shape(node, 0)
    layers = list(tracker.read(node, 0))
    bounds = _bounds(node, [tracker.value(node, i) for i in (1, 2, 3, 4)], shape)
    if bounds is None:
        axes = [k for k in range(len(shape)) if tracker.out_shape(node)[k] != shape[k]]
        known = tracker.value(node, 3) if node.has_input(3) else None
        if known is not None:
            axes = sorted({*axes, *(normal_axis(int(k), len(shape)) for k in known)})
        else:
            axes = list(range(len(shape)))
        tracker.write(node, tracker.keep_axes(layers, axes, node, COMPUTED))
        return
    for axis, bound in bounds.items():
        chosen = np.arange(shape[axis])[slice(*_python_slice(*bound, shape[axis]))]
        if not _takes_all(*bound):
            layers = _fixed(node, tracker, layers, axis)
        layers = picked(node, tracker, layers, axis, chosen)
    tracker.write(node, layers)


@resize("Slice")
def resize_slice(node: Node, cutter: Cutter) -> None:
    """Bounds along a cut axis follow; an uneven selection becomes a Gather before the Slice."""
    shape = cutter.old_shape(node.inputs[0])
    values = [cutter.value(node, i) for i in (1, 2, 3, 4)]
    bounds = _bounds(node, values, shape)
    if bounds is None:
        return
    kept = {axis: cutter.input_kept(node, 0, axis) for axis in bounds}
    if all(mask.all() for mask in kept.values()):
        return
    written: dict[int, tuple[int, int, int]] = {}
    gathers: dict[int, Index] = {}
    for axis, (start, end, step) in bounds.items():
        if kept[axis].all() or _takes_all(start, end, step):
            written[axis] = (start, end, step)
            continue
        chosen = np.arange(shape[axis])[slice(*_python_slice(start, end, step, shape[axis]))]
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
    nodes.append(_slice_node(node, cutter, source, written))
    cutter.replace(node, nodes)


@rule("Gather", weights=(0,))
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
        layers = _fixed(node, tracker, layers, axis)
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


def _fixed(node: Node, tracker: Tracker, layers: Sequence[Layer], axis: int) -> list[Layer]:
    """Keeps an axis whose entries are selected by number where its size varies."""
    if not tracker.model.varies(node.inputs[0], axis):
        return list(layers)
    return tracker.keep_axes(layers, [axis], node, VARIES)


def _takes_all(start: int, end: int, step: int) -> bool:
    """Whether bounds take every entry of an axis of any size, forwards or backwards."""
    if step == 1:
        return start == 0 and end >= FAR
    return step == -1 and (start == -1 or start >= FAR) and end <= -FAR


def picked(
    node: Node, tracker: Tracker, layers: Sequence[Layer], axis: int, chosen: Index
) -> list[Layer]:
    """Layers of what a node picks along an axis of input 0; some of it must be left."""
    taken = [x.take(chosen, axis=axis) if x.shape[axis] > 1 else x for x in layers]
    if distinct(chosen).size < tracker.shape(node, 0)[axis]:
        tracker.pick([x for x, y in zip(taken, layers, strict=True) if x is not y], node)
    return taken


def _bounds(
    node: Node, values: Sequence[Array | None], shape: Shape
) -> dict[int, tuple[int, int, int]] | None:
    """Start, end and step by axis, as the file writes them; None where they are computed."""
    if "starts" in node.attrs:  # opset 1 to 9
        starts, ends = node.attrs["starts"], node.attrs["ends"]
        axes = node.attr("axes", list(range(len(starts))))
        steps = [1] * len(starts)
    else:
        for i, value in enumerate(values):
            if node.has_input(i + 1) and value is None:
                return None
        if values[0] is None or values[1] is None:
            return None
        starts, ends = values[0].tolist(), values[1].tolist()
        axes = values[2].tolist() if values[2] is not None else list(range(len(starts)))
        steps = values[3].tolist() if values[3] is not None else [1] * len(starts)
    return {
        normal_axis(int(axis), len(shape)): (int(start), int(end), int(step))
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
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
    node: Node, cutter: Cutter, source: str, bounds: dict[int, tuple[int, int, int]]
) -> onnx.NodeProto:
    if not bounds:
        return onnx.helper.make_node("Identity", [source], [node.outputs[0]])
    axes = sorted(bounds)
    columns = [[bounds[axis][k] for axis in axes] for k in range(3)]
    if cutter.opset < 10:
        return onnx.helper.make_node(
            "Slice", [source], list(node.outputs), name=node.name,
            starts=columns[0], ends=columns[1], axes=axes,
        )  # fmt: skip
    inputs = [source]
    for hint, numbers in zip(
        ("starts", "ends", "axes", "steps"), (columns[0], columns[1], axes, columns[2]), strict=True
    ):
        inputs.append(cutter.constant(node, hint, np.asarray(numbers, dtype=np.int64)))
    return onnx.helper.make_node("Slice", inputs, list(node.outputs), name=node.name)
