"""Norms over the channels that are left, put into a dense network.

A norm over channels divides by what all of them have in common, so that a network which lost some
cannot equal the dense one with slices set to zero. It can equal one whose norms pass over what was
lost: they gather the entries that are left, and put the result back in its places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Indices = npt.NDArray[Any]
# By weight, the indices of each axis that are left.
Kept = Mapping[str, tuple[Indices, ...]]

FUSED = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
# What stands between a mean and the scale of its norm, where a norm is written out.
_WRITTEN = frozenset(
    {"Add", "Cast", "Div", "Mul", "Neg", "Pow", "Reciprocal", "ReduceMean", "Sqrt", "Sub"}
)  # fmt: skip
_FURTHEST = 12
# What gives a scale the axes or the type of what it scales.
_SHAPES = frozenset({"Cast", "Reshape", "Unsqueeze"})
# Norms that are not followed: over groups, and by other means.
_OTHERS = frozenset({
    "GroupNormalization", "InstanceNormalization", "LpNormalization", "ReduceL2", "ReduceSum",
})  # fmt: skip


def over_what_is_left(proto: onnx.ModelProto, kept: Kept) -> bool:
    """Makes the norms of a network, in place, pass over what is not left of their scales.

    Args:
        proto: the dense network.
        kept: what is left of its weights.

    Returns:
        Whether there are none beside them that may norm over lost channels.
    """
    graph = proto.graph
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    # A scale that is given other axes, or that is one more than a weight, is still the scale.
    kept = dict(kept)
    numbers = _numbers(graph)
    for node in graph.node:
        given = [name for name in node.input if len(kept.get(name, ())) == 1]
        shifted = node.op_type == "Add" and numbers & set(node.input)
        if len(given) == 1 and (shifted or (node.op_type in _SHAPES and given[0] == node.input[0])):
            kept[node.output[0]] = kept[given[0]]
    nodes: list[onnx.NodeProto] = []
    followed = True
    constant = _constants(graph)
    for node in graph.node:
        if node.op_type == "ReduceMean" and node.input[0] in constant:
            followed = False  # a weight that is brought to mean zero, over fewer entries then
            nodes.append(node)
            continue
        if node.op_type in FUSED and node.input[1] in kept:
            nodes.extend(_gathered(graph, node, kept))
            continue
        if node.op_type == "ReduceMean":
            found = _scale_after(node, readers, kept)
            if found is not None:
                nodes.append(_select(graph, node, 0, found, _only_axis(graph, node)))
        followed = followed and node.op_type not in _OTHERS
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return followed


def _constants(graph: onnx.GraphProto) -> set[str]:
    """What is computed from weights alone."""
    found = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        reads = set(filter(None, node.input))
        if node.op_type == "Constant" or (reads and reads <= found):
            found.update(node.output)
    return found


def _numbers(graph: onnx.GraphProto) -> set[str]:
    """Constants of one entry."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = node.attribute[0].t
    return {name for name, tensor in tensors.items() if int(np.prod(tensor.dims)) == 1}


def _gathered(graph: onnx.GraphProto, node: onnx.NodeProto, kept: Kept) -> list[onnx.NodeProto]:
    """A fused norm over the last axis: of the entries that are left, each put in its place."""
    (left,) = kept[node.input[1]]
    size = int(_tensor(graph, node.input[1]).dims[0])
    before = [_select(graph, node, 0, left, -1)]
    before += [_select(graph, node, i, left, 0) for i in range(1, len(node.input)) if node.input[i]]
    places = np.zeros((left.size, size), np.float32)
    places[np.arange(left.size), left] = 1
    output = node.output[0]
    node.output[0] = f"{output}/left"
    name = _constant(graph, f"{output}/places", places)
    return [*before, node, helper.make_node("MatMul", [node.output[0], name], [output])]


def _select(
    graph: onnx.GraphProto, node: onnx.NodeProto, i: int, left: Indices, axis: int
) -> onnx.NodeProto:
    """Lets a node read some entries of an input; returns what gathers them."""
    result = f"{node.output[0]}/of{i}"
    indices = _constant(graph, f"{result}/indices", left.astype(np.int64))
    gather = helper.make_node("Gather", [node.input[i], indices], [result], axis=axis)
    node.input[i] = result
    return gather


def _scale_after(
    mean: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]], kept: Kept
) -> Indices | None:
    """What is left of the vector by which a norm that is written out scales, behind its mean."""
    pending, seen = [mean.output[0]], set()
    while pending and len(seen) < _FURTHEST:
        name = pending.pop(0)
        for node in readers.get(name, ()):
            if node.op_type not in _WRITTEN or node.output[0] in seen:
                continue
            seen.add(node.output[0])
            for other in node.input:
                if node.op_type == "Mul" and other in kept and len(kept[other]) == 1:
                    return kept[other][0]
            pending.append(node.output[0])
    return None


def _only_axis(graph: onnx.GraphProto, node: onnx.NodeProto) -> int:
    for attribute in node.attribute:
        if attribute.name == "axes":
            return int(attribute.ints[0])
    return int(numpy_helper.to_array(_tensor(graph, node.input[1])).reshape(-1)[0])


def _tensor(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    for tensor in graph.initializer:
        if tensor.name == name:
            return tensor
    (found,) = (
        attribute.t
        for node in graph.node
        if name in node.output
        for attribute in node.attribute
        if attribute.name == "value"
    )
    return found


def _constant(graph: onnx.GraphProto, name: str, value: npt.NDArray[Any]) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name
