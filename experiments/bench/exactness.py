"""Whether a smaller network is the dense one with slices set to zero, whoever made it.

No tool says which channels it removed, but its file shows it: the weights that are left are slices
of the dense ones, and random weights hardly ever repeat. So each weight's kept indices are read off
its values, everything else is set to zero in the dense network (in what multiplies, and in biases
right behind; norms keep theirs), and both must compute the same. This knows nothing of how channels
depend on one another, nor of SPA's rules.

Where channels that a norm averages over went, nothing can be the same; then the dense network's
norms are made to pass over them (`experiments.bench.norms`), and all else must agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from experiments.bench.norms import Kept, over_what_is_left
from spa.errors import SpaError

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
EXACT, BUT_FOR_NORMS, WRONG, UNTOLD = "yes", "but for norms", "no", "untold"
VERDICTS = (EXACT, BUT_FOR_NORMS, WRONG, UNTOLD)
TOLERANCE = 1e-3
MOST_PLACES = 50
FEW = 8


def compare(dense: onnx.ModelProto, pruned: onnx.ModelProto, feeds: Mapping[str, Array]) -> str:
    """Compares a smaller network with the dense one, less what the smaller one lacks.

    Args:
        dense: the network that came in.
        pruned: what a tool made of it.
        feeds: an example.

    Returns:
        `EXACT`, `BUT_FOR_NORMS` or `WRONG`; `UNTOLD` where a weight's values do not tell which they
        are, where norms are of another kind, or the dense network gives constants or no numbers.
    """
    from spa.graph.execute import run

    kept = kept_indices(dense, pruned)
    if kept is None:
        return UNTOLD
    have = run(pruned, feeds, optimize=False)
    zeroed = run(
        _zeroed(dense, _multiplying(dense.graph) & kept.keys(), kept), feeds, optimize=False
    )
    verdict = _compared(zeroed, have)
    if verdict != WRONG:
        return verdict
    normed = _zeroed(dense, kept.keys(), kept)
    followed = over_what_is_left(normed, kept)
    try:
        agrees = _compared(run(normed, feeds, optimize=False), have) == EXACT
    except SpaError:  # a mean that is no norm's
        return UNTOLD
    if agrees:
        return BUT_FOR_NORMS
    return WRONG if followed else UNTOLD


def _compared(want: Sequence[Array], have: Sequence[Array]) -> str:
    varies = False
    for a, b in zip(want, have, strict=True):
        if a.shape != b.shape:
            return WRONG
        if a.dtype.kind != "f" or not a.size:
            continue
        scale = float(np.abs(a).max())
        if not np.isfinite(scale):
            return UNTOLD
        varies = varies or float(a.std()) > 1e-6 * scale
        if not np.abs(a - b).max() <= TOLERANCE * scale:
            return WRONG
    return EXACT if varies else UNTOLD


def kept_indices(
    dense: onnx.ModelProto, pruned: onnx.ModelProto
) -> dict[str, tuple[Array, ...]] | None:
    """By weight of the dense network, the indices of each axis that the smaller one has.

    None where a weight of the smaller network is no slice of one, or may be of several, where two
    have one name, or where weights are filled with one number.
    """
    names = [name for name, tensor in _named_tensors(dense.graph) if tensor.dims]
    if len(set(names)) < len(names):
        return None  # branches share a name
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


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph, and those inside of it: a network may lie in the branches of an If."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for sub in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(sub)


def _named_tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    for each in _graphs(graph):
        yield from ((tensor.name, tensor) for tensor in each.initializer)
        for node in each.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    yield node.output[0], attribute.t


def _tensors(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Initializers and constants by name."""
    return dict(_named_tensors(graph))


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


def _zeroed(dense: onnx.ModelProto, names: Set[str], kept: Kept) -> onnx.ModelProto:
    """A copy of a network in which what is not left of some weights is zero."""
    result = onnx.ModelProto()
    result.CopyFrom(dense)
    tensors = _tensors(result.graph)
    for name in names:
        old = numpy_helper.to_array(tensors[name])
        new = np.zeros_like(old)
        new[np.ix_(*kept[name])] = old[np.ix_(*kept[name])]
        tensors[name].CopyFrom(numpy_helper.from_array(new, tensors[name].name))
    return result


def _multiplying(graph: onnx.GraphProto) -> set[str]:
    """Weights that are multiplied with, and biases: those added to what they made too."""
    names: set[str] = set()
    made: set[str] = set()
    nodes = [node for each in _graphs(graph) for node in each.node]
    for node in nodes:
        inputs = _MULTIPLIES.get(node.op_type, ())
        names.update(node.input[i] for i in inputs if i < len(node.input))
        if inputs:
            made.update(node.output)
        elif node.op_type == "Add" and made.intersection(node.input):
            names.update(node.input)
    for node in reversed(nodes):  # exporters cut and join an LSTM's weights before it
        if node.op_type in _MOVES and names.intersection(node.output):
            names.update(node.input)
    return names
