"""Integer weights that are dequantised by plain arithmetic.

    Cast(x) * scale   (Cast(x) - zero point) * scale   Cast(x - zero point) / inverse scale

Scale and zero point broadcast to x. The integers may be moved on the way, and rows of a table
looked up. They must be weights, of 16 bits at most: masks and positions are multiplied too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from spa.graph.nodes import Node
from spa.graph.quantised import Quantised

if TYPE_CHECKING:
    from spa.graph.model import Model

Array = npt.NDArray[Any]

# Operators that multiply with their constants; Gather looks rows of a table up.
WEIGHING = (
    "Conv", "ConvTranspose", "DeformConv", "Einsum", "Gather", "Gemm", "GRU", "LSTM", "MatMul",
    "RNN", "com.microsoft::Attention", "com.microsoft::FusedMatMul",
)  # fmt: skip
# Wider ones are indices, or positions.
NARROW = frozenset(
    getattr(TensorProto, name)
    for name in ("INT2", "UINT2", "INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16")
    if hasattr(TensorProto, name)
)
KEEPS_ORDER = ("Cast", "CastLike", "Identity", "Reshape", "Squeeze", "Unsqueeze")


def spelled_parameters(model: Model) -> dict[str, Quantised]:
    """Parameters that are dequantised so, where scale and zero point are in the file.

    Reads that do not agree on what stands for zero are left out.
    """
    narrow = {name for name, t in model.parameters.items() if t and t.data_type in NARROW}
    if not narrow:
        return {}
    weights = _weights(model)
    found: dict[str, list[Quantised]] = {}
    for node in model.graph.nodes:
        for i in {"Mul": (0, 1), "Div": (0,)}.get(node.op, ()):
            entry = _read_as(model, node, i, narrow)
            if entry is not None and weights.intersection((entry[0], node.outputs[0])):
                found.setdefault(entry[0], []).append(entry[1])
    return {
        root: Quantised(
            first.scale,
            first.zero_point,
            tuple([name for way in (first, *others) for name in way.outputs]),
            tuple([name for way in (first, *others) for name in way.scaling]),
        )
        for root, (first, *others) in found.items()
        if all(np.array_equal(first.zero_point, way.zero_point) for way in others)
    }


def _read_as(model: Model, node: Node, i: int, narrow: set[str]) -> tuple[str, Quantised] | None:
    """The integers behind input ``i`` of a product, and what the other input makes of them.

    What lies between has no other reader: only its end is zero where weights are zeroed.
    """
    factor = _held(model, node.inputs[1 - i])
    if factor is None or factor[1].dtype.kind in "iu":
        return None
    name, point = node.inputs[i], None
    path: list[Node] = []
    after_point: list[Node] = []
    while model.root(name) not in narrow:
        producer = model.graph.producers.get(name)
        if producer is None or len(model.graph.uses[name]) > 1 or name in model.graph.outputs:
            return None
        if producer.op == "Sub" and point is None:
            point = _held(model, producer.inputs[1])
            if point is None or model.shapes[producer.inputs[0]] != model.shapes[name]:
                return None
            after_point = [producer]
        elif producer.op in ("Gather", "Transpose", *KEEPS_ORDER):
            after_point.append(producer)
        else:
            return None
        path.append(producer)
        name = producer.inputs[0]
    root = model.root(name)
    with np.errstate(divide="ignore"):
        scale = factor[1] if node.op == "Mul" else 1 / factor[1]
    scale_there = _brought_back(model, scale, model.shapes[node.inputs[i]], path)
    if scale_there is None:
        return None
    if point is None:
        zero = np.zeros((1,) * len(model.shapes[root]), model.dtype(root))
        return root, Quantised(scale_there, zero, node.outputs[:1], factor[:1])
    reals = _brought_back(model, point[1], model.shapes[after_point[0].outputs[0]], after_point)
    if reals is None:
        return None
    zero = reals.astype(model.dtype(root))
    if not np.array_equal(zero.astype(np.float64), reals.astype(np.float64)):
        return None  # no integer stands for zero
    return root, Quantised(scale_there, zero, node.outputs[:1], (factor[0], point[0]))


def _held(model: Model, name: str) -> tuple[str, Array] | None:
    """A constant's parameter, and its values in the tensor's own shape."""
    source = name
    while model.root(source) not in model.parameters:
        node = model.graph.producers.get(source)
        if node is None or node.op not in KEEPS_ORDER:
            return None
        source = node.inputs[0]
    root = model.root(source)
    return root, model.array(root).reshape(model.shapes[name])


def _brought_back(
    model: Model, array: Array, shape: tuple[int, ...], path: Sequence[Node]
) -> Array | None:
    """An operand as it stands to what went in, given how it stands to what came out.

    Args:
        model: the model.
        array: broadcasts to ``shape``, else there is none.
        shape: of what came out.
        path: the nodes that it came through, the last one first; some may only change the type.
    """
    if array.ndim > len(shape):
        return None
    array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    for node in path:
        old, new = model.shapes[node.inputs[0]], model.shapes[node.outputs[0]]
        if any(mine not in (1, size) for mine, size in zip(array.shape, new, strict=True)):
            return None
        if node.op == "Transpose":
            perm = node.attr("perm", list(range(len(old)))[::-1])
            array = array.transpose(np.argsort(perm))
        elif node.op == "Gather":
            # Rows are looked up: what scales them must be the same for all.
            rows = len(new) - len(old) + 1
            if int(node.attr("axis", 0)) != 0 or array.shape[:rows] != (1,) * rows:
                return None
            array = array.reshape((1, *array.shape[rows:]))
        elif old == new:
            continue
        elif array.size == 1:
            array = array.reshape((1,) * len(old))
        else:
            array = np.broadcast_to(array, new).reshape(old)
    return array


def _weights(model: Model) -> set[str]:
    """Constants that operators with weights read, and all constants that these are made of."""
    pending = [
        name
        for node in model.graph.nodes
        if node.op in WEIGHING
        for name in node.inputs
        if name in model.constants
    ]
    found: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            node = model.graph.producers.get(name)
            pending += [] if node is None else [source for source in node.inputs if source]
    return found
