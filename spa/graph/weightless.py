"""Copies of a model that do not copy its weights.

Checking and running a model need its graph; copying, serialising and parsing gigabytes of weights
for that would take longer than the work itself. What a message is overwritten with does not take
the place of what it held: protobuf frees memory with the whole message alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import onnx

from spa.graph.deferred import is_deferred, size_of

# Types that ONNX Runtime takes from memory.
TYPES = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.INT8,
    onnx.TensorProto.UINT8,
    onnx.TensorProto.INT32,
    onnx.TensorProto.INT64,
)
# Smaller tensors stay in the graph: shape inference and constant folding read them.
LARGE = 1 << 16


def byte_size(proto: onnx.ModelProto) -> int:
    """Size of a model's file with all weights in it; protobuf itself counts to 2 GB."""
    light, large = without_weights(proto)
    total: int = light.ByteSize() + sum(map(size_of, large))
    return total


def copy_lacking(proto: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """Copies a model but for the values of some initializers, which get others at once."""
    result = shell(proto)
    for tensor in proto.graph.initializer:
        if tensor.name in names:
            result.graph.initializer.add(name=tensor.name)
        else:
            result.graph.initializer.append(tensor)
    return result


def without_weights(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, list[onnx.TensorProto]]:
    """Copies a model but for its large initializers.

    Returns:
        The copy, and the initializers of ``proto`` that it lacks (not copied).
    """
    light = shell(proto)
    large = []
    for tensor in proto.graph.initializer:
        if is_large(tensor):
            large.append(tensor)
        else:
            light.graph.initializer.append(tensor)
    return light, large


def is_large(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor is a large one that can be handed over as raw bytes, or is not held."""
    return is_deferred(tensor) or (
        tensor.HasField("raw_data")
        and tensor.data_location != onnx.TensorProto.EXTERNAL
        and is_handed_over(tensor)
    )


def is_handed_over(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor is so large, and of such a type, that it is left out of copies."""
    return (
        tensor.data_type in TYPES
        and min(tensor.dims, default=0) > 0
        and math.prod(tensor.dims) >= LARGE
    )


def shell(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without initializers."""
    result = onnx.ModelProto()
    for field, value in proto.ListFields():
        if field.name != "graph":
            _assign(result, field, value)
    for field, value in proto.graph.ListFields():
        if field.name != "initializer":
            _assign(result.graph, field, value)
    return result


def _assign(message: object, field: object, value: object) -> None:
    name = field.name  # type: ignore[attr-defined]
    target = getattr(message, name)
    if hasattr(target, "extend"):
        target.extend(value)
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)


def list_as_inputs(graph: onnx.GraphProto, tensors: Iterable[onnx.TensorProto]) -> None:
    """Declares tensors that a copy lacks as inputs of their types and shapes, where it does not."""
    listed = {value.name for value in graph.input}
    graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in tensors
        if tensor.name not in listed
    )
