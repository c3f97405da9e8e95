"""Whether a smaller network is the dense one with slices set to zero, whoever made it.

No tool says which channels it removed, but its file shows it: the weights that are left are slices
of the dense ones, and random weights hardly ever repeat. So each weight's kept indices are read off
its values, everything else is set to zero in the dense network (in what multiplies, and in biases
right behind; norms keep theirs), and both must compute the same. This knows nothing of how channels
depend on one another, nor of SPA's rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Array = npt.NDArray[Any]

# Which inputs of an operator are weights and biases that go with its channels.
_MULTIPLIES = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (0, 1, 2), "MatMul": (0, 1),
    "Einsum": (0, 1, 2), "LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3), "Gather": (0,),
}  # fmt: skip
_MOVES = frozenset({
    "Cast", "Concat", "Flatten", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
})  # fmt: skip
TOLERANCE = 1e-3
MOST_PLACES = 50
FEW = 8


def is_exact(
    dense: onnx.ModelProto, pruned: onnx.ModelProto, feeds: Mapping[str, Array]
) -> bool | None:
    """Compares a smaller network with the dense one, less what the smaller one lacks.

    Args:
        dense: the network that came in.
        pruned: what a tool made of it.
        feeds: an example.

    Returns:
        Whether their outputs agree; None where it can't be said: a weight's values do not tell
        which they are, or the dense network gives constants or no numbers.
    """
    from spa.graph.execute import run

    kept = kept_indices(dense, pruned)
    if kept is None:
        return None
    want = run(_zeroed(dense, kept), feeds, optimize=False)
    have = run(pruned, feeds, optimize=False)
    varies = False
    for a, b in zip(want, have, strict=True):
        if a.shape != b.shape:
            return False
        if a.dtype.kind != "f" or not a.size:
            continue
        scale = float(np.abs(a).max())
        if not np.isfinite(scale):
            return None
        varies = varies or float(a.std()) > 1e-6 * scale
        if not np.abs(a - b).max() <= TOLERANCE * scale:
            return False
    return True if varies else None


def kept_indices(
    dense: onnx.ModelProto, pruned: onnx.ModelProto
) -> dict[str, tuple[Array, ...]] | None:
    """By weight of the dense network, the indices of each axis that the smaller one has.

    None where a weight of the smaller network is no slice of one, or may be of several, or where
    weights are filled with one number.
    """
    known = _tensors(dense.graph)
    filled = {
        node.output[0]
        for node in dense.graph.node
        # Lines are biases, whose values may repeat; one of a computed shape is no weight.
        if node.op_type == "ConstantOfShape"
        and node.input[0] in known
        and known[node.input[0]].dims[0] > 1
    }
    if filled & _multiplying(dense.graph):
        return None
    smaller = _weights(pruned)
    larger = _weights(dense)
    found: dict[str, tuple[Array, ...]] = {}
    # By name where names agree; exporters number some weights, and the others then by their values.
    pairs = [(name, name) for name in smaller if name in larger]
    unnamed = [name for name in smaller if name not in larger]
    free = [name for name in larger if name not in smaller]
    for name in unnamed:
        matches = [other for other in free if _slice_of(smaller[name], larger[other]) is not None]
        if smaller[name].size > 1 and smaller[name].ndim > 1 and len(matches) != 1:
            return None
        pairs.extend((name, other) for other in matches[:1])
    for name, other in pairs:
        if smaller[name].shape == larger[other].shape:
            continue
        indices = _slice_of(smaller[name], larger[other])
        if indices is not None:
            found[other] = indices
        elif larger[other].ndim > 1 or not _repeats(larger[other]):
            return None
    return found


def _tensors(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Initializers and constants by name."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    return tensors


def _weights(proto: onnx.ModelProto) -> dict[str, Array]:
    """Those of floats."""
    arrays = {name: numpy_helper.to_array(t) for name, t in _tensors(proto.graph).items()}
    return {name: array for name, array in arrays.items() if array.dtype.kind == "f"}


def _repeats(array: Array) -> bool:
    """Whether values repeat: a bias of zeros, a scale of ones."""
    return np.unique(array).size < array.size


def _slice_of(part: Array, whole: Array) -> tuple[Array, ...] | None:
    """The indices by which one array is a slice of another; None where it is not."""
    if part.ndim != whole.ndim or not part.size:
        return None
    if any(p > w for p, w in zip(part.shape, whole.shape, strict=True)):
        return None
    # The first entry of the part may lie at several places; one of them begins the others' lines.
    for start in np.argwhere(whole == part[(0,) * part.ndim])[:MOST_PLACES]:
        # Lines through the first entry say where the next few entries lie; values may repeat within
        # a line, hardly within so many.
        near = [np.array([k]) for k in start]
        for axis in range(part.ndim):
            near[axis] = _places(part, whole, axis, near)[:FEW]
        indices = [_places(part, whole, axis, near) for axis in range(part.ndim)]
        once = all(np.unique(index).size == index.size for index in indices)
        if once and np.array_equal(whole[np.ix_(*indices)], part):
            return tuple(indices)
    return None


def _places(part: Array, whole: Array, axis: int, near: Sequence[Array]) -> Array:
    """Where each slice of the part along an axis lies in the whole, by its first entries."""
    first = [np.arange(len(n)) if a != axis else np.arange(part.shape[a])
             for a, n in enumerate(near)]  # fmt: skip
    there = [n if a != axis else np.arange(whole.shape[a]) for a, n in enumerate(near)]
    mine, theirs = (
        np.moveaxis(array[np.ix_(*index)], axis, 0).reshape(array.shape[axis], -1)
        for array, index in ((part, first), (whole, there))
    )
    place = {row.tobytes(): k for k, row in reversed(list(enumerate(theirs)))}
    return np.array([place.get(row.tobytes(), 0) for row in mine])


def _zeroed(dense: onnx.ModelProto, kept: Mapping[str, tuple[Array, ...]]) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(dense)
    tensors = _tensors(result.graph)
    for name in _multiplying(result.graph) & kept.keys():
        old = numpy_helper.to_array(tensors[name])
        new = np.zeros_like(old)
        new[np.ix_(*kept[name])] = old[np.ix_(*kept[name])]
        tensors[name].CopyFrom(numpy_helper.from_array(new, tensors[name].name))
    return result


def _multiplying(graph: onnx.GraphProto) -> set[str]:
    """Weights that are multiplied with, and biases: those added to what they made too."""
    names: set[str] = set()
    made: set[str] = set()
    for node in graph.node:
        inputs = _MULTIPLIES.get(node.op_type, ())
        names.update(node.input[i] for i in inputs if i < len(node.input))
        if inputs:
            made.update(node.output)
        elif node.op_type == "Add" and made.intersection(node.input):
            names.update(node.input)
    for node in reversed(graph.node):  # exporters cut and join an LSTM's weights before it
        if node.op_type in _MOVES and names.intersection(node.output):
            names.update(node.input)
    return names
